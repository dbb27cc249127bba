"""Profiles smollm and one_gpu as requests: what would be trained, where, and by which command."""

import shlex

import pytest

from entropy_mech.config.files import load_config
from entropy_mech.errors import UserError
from entropy_mech.paper.published import model_of_run
from entropy_mech.reproduction.runner import Request, dry_run, reproduce
from entropy_mech.reproduction.targets import find_target, load_targets, run_config
from entropy_mech.runs.launch import gpus_here, training_jobs
from entropy_mech.runs.store import RunStore, project_root


@pytest.fixture(autouse=True)
def empty_store(monkeypatch, tmp_path):
    monkeypatch.setenv("ENTROPY_MECH_RUNS", str(tmp_path))


def _lines(profile, *names):
    return dry_run(Request(names, profile=profile, seeds=1), gpu_memory_gib=80.0)


def test_the_small_model_trains_here_and_its_base_model_comes_first_and_once():
    lines = _lines("smollm", "fig11", "fig01", "tab01")
    assert lines[0].startswith("1 base model, 6 runs, 3 notebooks: about ")
    assert sum("fig11_7b" in line or "tab01" in line for line in lines) >= 6
    store = RunStore(project_root() / "no-such-store")
    jobs = training_jobs([run_config("fig06_rloo", profile="smollm", seed=1)], store)
    assert [job.kind for job in jobs] == ["base model", "run"]
    assert jobs[1].needs == {jobs[0].name}
    assert "--gpus" not in jobs[1].command


def test_one_gpu_lists_each_run_once_with_a_command_that_trains_it():
    lines = _lines("one_gpu", "fig03", "fig12", "fig14")
    commands = [line for line in lines if line.startswith("entropy-mech train ")]
    assert lines[0] == f"{len(commands)} runs are missing"
    assert len(set(commands)) == len(commands) == 8 + 10 + 2  # of Figure 3's nine two are one
    for command in commands:
        words = shlex.split(command)
        config = load_config(project_root() / words[2], [words[4]])
        assert (config.seed, config.engine.kind) == (1, "torch")
    assert not any(line.startswith("warning") for line in lines)


@pytest.mark.skipif(gpus_here() > 0, reason="this computer has a GPU")
def test_without_a_gpu_one_line_says_what_to_do():
    with pytest.raises(UserError) as caught:
        reproduce(Request(("tab01",), profile="one_gpu", seeds=1))
    said = str(caught.value)
    assert said.startswith("profile = one_gpu: 1 run is missing, the largest needs 1 GPU and none")
    assert "--profile one_gpu" in said
    assert "\n" not in said


def test_a_figure_without_a_run_in_the_profile_is_left_out_and_said():
    said = "left out: lemma1_transformer: not in this profile"
    assert said in _lines("one_gpu", "lemma1_transformer", "tab01")
    assert find_target("fig14").there_in("smollm") is False
    assert find_target("fig14").there_in("one_gpu")
    assert find_target("lemma1").there_in("smollm")  # needs no run
    for target in load_targets().values():
        assert target.there_in("toy")
        assert not set(target.run_names("toy")) & set(target.one_gpu_runs)


@pytest.mark.parametrize(
    ("run", "profile", "label"),
    [
        ("fig11_7b_grpo", "toy", "Qwen2.5-7B"),
        ("fig11_7b_grpo", "smollm", "SmolLM2-135M-Instruct"),
        ("fig11_7b_grpo", "one_gpu", "Qwen2.5-1.5B"),
        ("fig03_qwen2.5_7b", "one_gpu", "Qwen2.5-1.5B"),
        ("fig03_qwen2.5_3b", "one_gpu", "Qwen2.5-3B"),
        ("fig03_smollm2_1.7b", "one_gpu", "SmolLM2-1.7B"),
        ("fig03_llama3.2_1b", "one_gpu", "LLaMA3.2-1B"),
        ("fig14_0.5b_instruct", "one_gpu", "Qwen2.5-0.5B-Instruct"),
    ],
)
def test_a_run_is_labelled_by_the_model_that_it_trains(run, profile, label):
    assert model_of_run(run, profile).label == label
