"""The paper's profile without a GPU: what it lists, what it refuses, what it submits."""

import json
import shlex
import time

import pytest

from entropy_mech.cli import main
from entropy_mech.config.files import load_config
from entropy_mech.errors import UserError
from entropy_mech.reproduction.runner import Request, dry_run, reproduce
from entropy_mech.reproduction.targets import run_config
from entropy_mech.runs.cluster import ClusterRun, Training, submit_runs
from entropy_mech.runs.launch import ensure_runs, gpus_here
from entropy_mech.runs.store import RunStore, project_root
from tests.conftest import tiny

WITHOUT_GPU = pytest.mark.skipif(gpus_here() > 0, reason="this computer has a GPU")


def _lines(**more):
    return dry_run(Request(profile="paper", seeds=1, **more), gpu_memory_gib=80.0)


def test_dry_run_lists_each_run_once_with_a_command_that_trains_it():
    lines = _lines(names=("fig11", "tab02", "fig12"))
    commands = [line for line in lines if line.startswith("torchrun ")]
    assert lines[0] == f"{len(commands)} runs are missing"
    names = [command.split("/")[-1].split(".toml")[0] for command in commands]
    assert len(set(names)) == len(names) == 15  # 8 of Figure 11, Table 2 needs no more, 7 of 12
    for command in commands:
        words = shlex.split(command)
        path, override = words[words.index("train") + 1], words[words.index("--set") + 1]
        config = load_config(project_root() / path, [override])
        assert config.seed == 1
        big = "32B" in config.model.path
        assert ("--nnodes" in words) == big  # 32B needs 4 nodes of 8 GPUs, 7B one
    text = "\n".join(lines)
    for word in ("GPUs", "disk", "models      Qwen/Qwen2.5-7B, Qwen/Qwen2.5-32B", "dapo_math"):
        assert word in text


def test_checks_of_the_toys_are_left_out_and_said():
    assert _lines(names=("lemma1_transformer",))[-1] == (
        "left out: lemma1_transformer: not in this profile"
    )


@WITHOUT_GPU
def test_without_gpus_one_line_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("ENTROPY_MECH_RUNS", str(tmp_path))
    with pytest.raises(UserError) as caught:
        reproduce(Request(names=("tab01",), profile="paper", seeds=1))
    said = str(caught.value)
    assert said.startswith("profile = paper: 1 run is missing, the largest needs 8 GPUs and none")
    for word in ("--dry-run", "--slurm", "import-run"):
        assert word in said
    config = run_config("tab01", profile="paper", seed=1)
    with pytest.raises(UserError, match="profile = paper: 1 run is missing"):
        ensure_runs([config], RunStore(tmp_path))  # as a notebook opened alone does


def test_toy_dry_run_starts_nothing(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("ENTROPY_MECH_RUNS", str(tmp_path / "runs"))
    assert main(["reproduce", "fig01", "--profile", "toy", "--seeds", "2", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "2 runs, 1 notebook" in out
    assert "fig03_qwen2.5_7b seed 2" in out
    assert not (tmp_path / "runs").exists()


def test_one_node_or_several():
    one, several = (Training("s", "c", nodes, 8).command("first") for nodes in (1, 4))
    assert "--standalone" in one
    assert several[several.index("--rdzv-endpoint") + 1] == "first:29500"
    assert one[-4:] == several[-4:] == ["--store", "s", "--config", "c"]


def test_runs_are_submitted_once_and_trained(store):
    """With submitit's own local cluster: the same way but for who starts the process."""
    pytest.importorskip("submitit", reason="the optional extra 'slurm' is not installed")
    run = store.run(tiny(steps=2, seed=41))
    orders = [ClusterRun("tiny", run)]
    options = {"cluster": "local", "timeout_min": 5}
    (first,) = submit_runs(orders, store, options)
    assert "submitted, log" in first
    (second,) = submit_runs(orders, store, options)
    assert second.endswith("is in the queue already")
    until = time.monotonic() + 240
    while not run.complete:
        assert time.monotonic() < until, first
        time.sleep(0.5)
    assert run.steps_done == 2
    note = json.loads((store.root / "cluster" / f"{run.path.name}.json").read_text())
    assert note["job"] in first


def test_an_option_that_is_none_is_refused(tmp_path):
    pytest.importorskip("submitit", reason="the optional extra 'slurm' is not installed")
    store = RunStore(tmp_path)
    with pytest.raises(UserError, match="cluster = sge: give slurm or local"):
        submit_runs([], store, {"cluster": "sge"})
    assert main(["reproduce", "fig01", "--profile", "toy", "--slurm-set", "partition"]) == 2
