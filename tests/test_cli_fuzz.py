"""Every option of every command with values that mean nothing: one line, exit code 2, no file."""

import json

import pytest

from entropy_mech.cli import main
from entropy_mech.runs import RunStore
from entropy_mech.runs.status import run_or_model
from tests.conftest import tiny

PAPER_RUN = "reproduce/runs/paper/fig11_7b_kl_cov.toml"
TOY_RUN = "reproduce/runs/grpo.toml"
NO_COUNT = ("-1", "x", "", " ", "1.5", "nan", "1e3", "true", "[1]", "0x1", "--")
NO_SIZE = ("-1", "0", "x", "", "nan", "inf", "-inf", "true")
NO_NAME = ("", " ", "nonsense", "TOY", "3")
NO_FOLDER = ("", "/etc/passwd", "/etc/passwd/below")
NO_WHOLE = ("two", "-1", "1.5", "nan", "true", "", "[1]", "1e3", "null", "{}")
REPRODUCE = ("reproduce", "fig11", "--profile", "toy", "--dry-run")

OPTIONS = [
    (("train", PAPER_RUN, "--dry-run", "--gpus"), (*NO_COUNT, "0")),
    (("train", PAPER_RUN, "--dry-run", "--gpu-memory-gib"), NO_SIZE),
    (("train", PAPER_RUN, "--dry-run", "--response-tokens"), (*NO_COUNT, "0", "100000000")),
    (("train", TOY_RUN, "--dry-run", "--set"), (
        "", "=", "seed", ".=1", "a..b=1", "seed=", "seed.x=1",
        "seed=true", "seed=nan", "seed=-1", "seed=1e400", "steps=0", "steps=[1]", "loss=1", "x=1",
        "loss.reference_kl=true", "loss.method=KL_COV", "update.learning_rate=nan", "sampler=vllm",
        "rollout.group_filter=1", "problems.operations=%", "problems.level_shares={}",
        "problems.level_shares={2=-1}", "problems.validation_counts={}", "threads=100000",
        "model.family=Qwen2", "mirror.kind=WandB", "mirror.project=", "problems.domain=Code")),
    (("train",), ("", "/", "/etc/passwd", "none.toml", "fig11_7b_kl_cov", "none")),
    (("runs", "--state"), NO_NAME),
    (("follow",), ("nonsense", "/etc/passwd", "abcdef", "tests", "none.toml")),
    (("follow", "fig11_7b_kl_cov", "--seed"), NO_COUNT),
    (("follow", "fig11_7b_kl_cov", "--profile"), NO_NAME),
    (("evaluate",), ("", " ", "abcdef0123456789", "0", "fig11_7b_kl_kov", "none.toml", TOY_RUN)),
    (("evaluate", "some/model", "--benchmarks"), NO_NAME),
    (("evaluate", "some/model", "--data-dir"), ("/etc/passwd", "/none")),
    (("evaluate", "some/model", "--out"), NO_FOLDER[1:]),
    (("evaluate", "some/model", "--limit"), NO_COUNT),
    (("evaluate", "some/model", "--samples"), NO_COUNT),
    (("evaluate", "some/model", "--max-new-tokens"), NO_COUNT),
    (("evaluate", "some/model", "--batch-size"), NO_COUNT),
    (("evaluate", "some/model", "--tensor-parallel"), (*NO_COUNT, "0")),
    (("evaluate", "some/model", "--seed"), NO_COUNT),
    (("evaluate", "some/model", "--sampler"), NO_NAME),
    (("evaluate", "some/model", "--profile"), NO_NAME),
    (("reproduce", "--dry-run"), ("nonsense", "", "FIG99")),
    ((*REPRODUCE, "--profile"), NO_NAME),
    ((*REPRODUCE, "--seed"), NO_COUNT),
    ((*REPRODUCE, "--seeds"), NO_COUNT),
    ((*REPRODUCE, "--check"), NO_COUNT),
    ((*REPRODUCE, "--workers"), NO_COUNT),
    ((*REPRODUCE, "--gpu-memory-gib"), NO_SIZE),
    ((*REPRODUCE, "--slurm-set"), ("", "x", "=1")),
    ((*REPRODUCE, "--write-verdicts"), NO_FOLDER),
    ((*REPRODUCE, "-p", "seed"), NO_WHOLE),
    ((*REPRODUCE, "-p", "seeds"), NO_WHOLE),
    ((*REPRODUCE, "-p", "steps"), NO_WHOLE),
    ((*REPRODUCE, "-p", "profile"), NO_NAME),
    ((*REPRODUCE, "-p", "methods"), (
        "kl_cov", "kl_cov,grpo", "[1]", "true", "{}", '["kl_kov"]', '[["kl_cov"]]', "3", "")),
    ((*REPRODUCE, "-p", "models"), ("qwen2.5_7b", "[1]", "null", '["qwen"]', "1.5")),
    ((*REPRODUCE, "-p", "out_dir"), NO_FOLDER[1:]),
    ((*REPRODUCE, "-p", "stepz"), ("1",)),
    (("reproduce", "theory_beyond_lemma1", "--dry-run", "-p", "policies"), (*NO_WHOLE, "0")),
    (("reproduce", "listing1", "--dry-run", "-p", "clip_fraction"), (
        "x", "true", "nan", "inf", "[]", "")),
]  # fmt: skip
CASES = [(*words, value) for words, values in OPTIONS for value in values]


@pytest.fixture(autouse=True)
def no_hub(monkeypatch):
    """A command that asks the hub where it need not, fails."""
    monkeypatch.setattr("entropy_mech.hub.hub_answers", lambda *_: pytest.fail("asked the hub"))


@pytest.mark.parametrize("words", CASES, ids=lambda words: " ".join(words))
def test_a_value_without_meaning_is_one_line(words, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("ENTROPY_MECH_RUNS", str(tmp_path / "runs"))
    code = main(list(words))
    error = capsys.readouterr().err.strip()
    assert code == 2, error
    assert error.isprintable(), error
    assert error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("seeds", "two"), "seeds = two: give a whole number from 0 on"),
        (("seeds", "-1"), "seeds = -1: give a whole number from 0 on"),
        (("methods", "kl_cov"), 'methods = kl_cov: give a list of names, such as ["kl_cov"]'),
        (("methods", '["kl_kov"]'), "unknown method of fig11 'kl_kov'"),
        (("steps", "2.5"), "steps = 2.5: give a whole number from 0 on"),
    ],
)
def test_parameters_of_notebooks(given, message, capsys):
    assert main([*REPRODUCE, "-p", *given]) == 2
    assert message in capsys.readouterr().err


def test_a_parameter_is_read_as_what_its_notebook_takes(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("ENTROPY_MECH_RUNS", str(tmp_path))
    for name, value in (
        ("methods", '["kl_cov"]'),
        ("out_dir", str(tmp_path / "2024")),
        ("steps", "8"),
    ):
        assert main([*REPRODUCE, "-p", name, value]) == 0
    capsys.readouterr()


def test_evaluate_finds_a_run_as_follow_does(tmp_path, monkeypatch, capsys):
    store = RunStore(tmp_path)
    monkeypatch.setenv("ENTROPY_MECH_RUNS", str(tmp_path))
    run = store.run(tiny())
    run.path.mkdir()
    run.write("config.json", run.config.model_dump(mode="json"))
    name = run.path.name
    for meant in (name, name[:6], str(run.path)):
        assert run_or_model(meant, store=store).path == run.path
        assert main(["evaluate", meant]) == 2
        assert capsys.readouterr().err.startswith(f"model = {meant}: is not trained yet")
    assert main(["evaluate", "fig11_7b_kl_cov"]) == 2
    assert "model = fig11_7b_kl_cov: is not trained yet" in capsys.readouterr().err


def test_a_models_folder_and_an_id_of_the_hub_are_no_runs(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    store = RunStore(tmp_path / "runs")
    for name in (str(tmp_path), "Qwen/Qwen2.5-7B", "gpt2", "some/model"):
        assert run_or_model(name, store=store) is None
