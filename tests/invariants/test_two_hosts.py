"""Two hosts train as one does; when one dies the other says so, and both together go on.

The hosts are network namespaces of this machine with a cable between them: they share its files,
and reach each other over TCP alone.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack

import numpy as np
import pytest

from entropy_mech.runs import RunStore
from tests.conftest import CLIP_COV, TINY, tiny
from tests.needs import needs_deepspeed

TIMEOUT_S = 10  # of an exchange, where a host is to be lost
STEPS = 12
CHANGES = {
    "steps": STEPS,
    "record_tokens_every": 1,
    "checkpoint": {"every": 2},
    "loss": CLIP_COV,
    "engine": {"kind": "deepspeed", "zero_stage": 2, "collective_timeout_s": 120},
}


def _cannot():
    if shutil.which("ip") is None:
        return "iproute2 is not installed"
    if os.geteuid() != 0:
        return "network namespaces need root"
    name = f"probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    subprocess.run(["ip", "netns", "del", name], capture_output=True)
    return f"no network namespaces: {made.stderr.strip()}" if made.returncode else ""


pytestmark = [
    pytest.mark.long,
    needs_deepspeed,
    pytest.mark.skipif(bool(_cannot()), reason=_cannot()),
]


class Hosts:
    """Two network namespaces, 10.213.7.1 and .2, with a veth pair between them."""

    def __init__(self):
        self.names = [f"host{n}-{os.getpid()}" for n in (0, 1)]
        with ExitStack() as undo:
            for name in self.names:
                _ip("netns", "add", name)
                undo.callback(_ip, "netns", "del", name)
            peer = ["peer", "name", "eth0", "netns", self.names[1]]
            _ip("link", "add", "eth0", "netns", self.names[0], "type", "veth", *peer)
            for n, name in enumerate(self.names):
                _ip("-n", name, "addr", "add", f"10.213.7.{n + 1}/24", "dev", "eth0")
                _ip("-n", name, "link", "set", "lo", "up")
                _ip("-n", name, "link", "set", "eth0", "up")
            undo.pop_all()

    def start(self, config, store):
        """Start one process of the run on each; return the launchers."""
        torchrun = ["-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
        torchrun += ["--master-addr", "10.213.7.1", "--master-port", "29500", "--node-rank"]
        return [
            _start(["ip", "netns", "exec", name], [*torchrun, str(n)], config, store)
            for n, name in enumerate(self.names)
        ]

    def lose(self, n):
        """Pull a host's cable, so that not even its death is told, and kill all that runs on it."""
        _ip("-n", self.names[n], "link", "set", "eth0", "down")
        self._kill(n)

    def mend(self):
        _ip("-n", self.names[1], "link", "set", "eth0", "up")

    def close(self):
        for n, name in enumerate(self.names):
            self._kill(n)
            _ip("netns", "del", name)

    def _kill(self, n):
        for pid in _ip("netns", "pids", self.names[n]).split():
            os.kill(int(pid), signal.SIGKILL)


def _ip(*words):
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


def _start(before, launcher, config, store):
    return subprocess.Popen(
        [*before, sys.executable, *launcher, "-m", "entropy_mech", "train", str(config)],
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "GLOO_SOCKET_IFNAME": "eth0" if before else "lo",
            "ENTROPY_MECH_RUNS": str(store),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _end(process, timeout_s=300):
    said, _ = process.communicate(timeout=timeout_s)
    return process.returncode, said


def _toml(table):
    """Return nested tables as TOML, those below the first level inline."""

    def value(v):
        if isinstance(v, dict):
            return "{" + ", ".join(f"{k} = {value(x)}" for k, x in v.items()) + "}"
        return json.dumps(v)

    return "".join(f"{k} = {value(v)}\n" for k, v in table.items())


@pytest.fixture(scope="module")
def hosts():
    made = Hosts()
    yield made
    made.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A shared folder with the configurations; the run of one host with two processes is in it."""
    folder = tmp_path_factory.mktemp("hosts")
    patience = {"engine": {**CHANGES["engine"], "collective_timeout_s": TIMEOUT_S}}
    (folder / "run.toml").write_text(_toml({**TINY, **CHANGES}))
    (folder / "hasty.toml").write_text(_toml({**TINY, **CHANGES, **patience}))
    standalone = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    code, said = _end(_start([], standalone, folder / "run.toml", folder / "one"))
    assert code == 0, said[-6000:]
    return folder


@pytest.fixture(scope="module")
def one(folder):
    return RunStore(folder / "one").run(tiny(**CHANGES))


@pytest.fixture(scope="module")
def two(folder, one, hosts):
    """The same run by one process on each of two hosts."""
    shutil.copytree(folder / "one" / "base_models", folder / "two" / "base_models")
    ends = [_end(p) for p in hosts.start(folder / "run.toml", folder / "two")]
    assert [code for code, _ in ends] == [0, 0], "".join(said[-3000:] for _, said in ends)
    return RunStore(folder / "two").run(tiny(**CHANGES))


def test_two_hosts_train_as_one(one, two):
    assert len(two.metrics()) == STEPS
    # Sums of two numbers have one order: no tolerance is needed for two processes.
    assert two.metrics_file.path.read_bytes() == one.metrics_file.path.read_bytes()
    for step in range(STEPS):
        mine, theirs = two.tokens(step), one.tokens(step)
        assert mine.keys() == theirs.keys()
        for name in mine:
            np.testing.assert_array_equal(mine[name], theirs[name], err_msg=name)


def test_a_lost_host_is_named_and_both_go_on_together(folder, two, hosts):
    store = folder / "killed"
    shutil.copytree(folder / "one" / "base_models", store / "base_models")
    run = RunStore(store).run(tiny(**CHANGES))
    processes = hosts.start(folder / "hasty.toml", store)
    while run.steps_done < 5 and processes[0].poll() is None:
        time.sleep(0.002)
    hosts.lose(1)
    _end(processes[1])
    code, said = _end(processes[0], timeout_s=10 * TIMEOUT_S)
    hosts.mend()
    assert code == 1, said[-3000:]
    assert 5 <= run.steps_done < STEPS
    named = [line for line in said.splitlines() if "rank 0 of 2: lost rank 1 on" in line]
    assert len(named) == 1, said[-3000:]
    assert "(10.213.7.2) at" in named[0]
    assert "start again: the run resumes" in named[0]
    assert "train/loop.py" not in said  # no traceback but the launcher's own
    assert run.status()["error"].startswith("PeerLost: rank 0 of 2: lost rank 1 on")

    ends = [_end(p) for p in hosts.start(folder / "run.toml", store)]
    assert [code for code, _ in ends] == [0, 0], "".join(said[-3000:] for _, said in ends)
    assert run.metrics_file.path.read_bytes() == two.metrics_file.path.read_bytes()
