"""Who is missing is named, by every process that waits for it, within the timeout."""

import re
import socket
import subprocess
import sys

import pytest

# Forks the processes of a run; each prints what it is told. Rank 2 does what the argument says
# where the others meet; "absent": it never came at all.
WORLD = """
import os, sys, time
from entropy_mech.train.distributed import PeerLost, join_ranks

size, last = 3, sys.argv[1]
os.environ |= {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": sys.argv[2]}

def be(rank):
    os.environ["RANK"] = os.environ["LOCAL_RANK"] = str(rank)
    try:
        ranks = join_ranks(timeout_s=30 if last != "absent" else 4)
        ranks.meet("the first step")
        ranks.timeout_s = 4
        if rank == 2:
            os._exit(0) if last == "dies" else time.sleep(20)
        ranks.meet("the second step")
    except PeerLost as error:
        print(f"{rank}> {error}", flush=True)

children = []
for rank in range(size - (last == "absent")):
    child = os.fork()
    if not child:
        be(rank)
        os._exit(0)
    children.append(child)
for child in children[:2]:
    os.waitpid(child, 0)
for child in children[2:]:
    os.kill(child, 9)
"""


def _said(last):
    """Return what each rank printed."""
    with socket.socket() as probe:  # a free port
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    done = subprocess.run(
        [sys.executable, "-c", WORLD, last, port], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split("> ", 1) for line in done.stdout.splitlines() if re.match(r"\d> ", line)]
    return {int(rank): words for rank, words in lines}


@pytest.mark.parametrize("last", ["dies", "sleeps"])
def test_a_dead_or_silent_rank_is_named(last):
    said = _said(last)
    assert re.match(r"rank 0 of 3: lost rank 2 on \S+ \(127\.0\.0\.1\) at the second step", said[0])
    # Rank 1 waits for rank 0, which waits for rank 2: it names whom it waited for.
    assert re.match(r"rank 1 of 3: lost (rank 0|a peer).* at the second step", said[1])
    assert all(words.endswith("start again: the run resumes") for words in said.values())


def test_a_rank_that_never_came_is_one_line():
    said = _said("absent")
    for rank in (0, 1):
        words = rf"rank {rank} of 3: not all processes of the run met at 127\.0\.0\.1:\d+ within 4"
        assert re.match(words, said[rank]), said[rank]
