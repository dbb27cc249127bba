"""The command line: each fault is one line and exit code 2, and nothing is half-written."""

import pytest

from entropy_mech.cli import main


def _run(capsys, *words):
    try:
        code = main(list(words))
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err.strip()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["reproduc"], "unknown command 'reproduc': did you mean 'reproduce'?"),
        (["reproduce", "lema1"], "unknown target 'lema1': did you mean 'lemma1'?"),
        (["reproduce", "fig01", "--profile", "toys"], "unknown profile 'toys': did you mean 'toy'"),
        (
            ["reproduce", "fig01", "-p", "step", "4"],
            "unknown parameter of fig01_collapse_and_law.ipynb 'step': did you mean 'steps'?",
        ),
        (["reproduce", "fig01", "--seeds", "0"], "seeds = 0: give 1 or more"),
        (["reproduce", "fig01", "--seed", "-1"], "seed = -1: give a whole number from 0 on"),
        (["reproduce", "fig01", "--seeds", "x"], "invalid int value: 'x'"),
        (["train", "none.toml"], "config = none.toml: no such file"),
        (
            ["train", "reproduce/runs/kl_cov.toml", "--set", "loss.penalty_fraction=2"],
            "loss.penalty_fraction = 2: a share is a fraction between 0 and 1",
        ),
        (
            ["train", "reproduce/runs/grpo.toml", "--set", "loss.clip_hihg=0.3"],
            "'loss.clip_hihg': did you mean 'loss.clip_high'?",
        ),
        (
            ["train", "reproduce/runs/grpo.toml", "--set", "rollout.responses=1"],
            "rollout.responses = 1: a group of 1 has no spread",
        ),
        (
            ["train", "reproduce/runs/grpo.toml", "--set", "problems.train_size=0"],
            "problems.train_size = 0: the training set is empty",
        ),
    ],
)
def test_wrong_input(capsys, monkeypatch, tmp_path, words, message):
    monkeypatch.setenv("ENTROPY_MECH_RUNS", str(tmp_path))
    code, _, error = _run(capsys, *words)
    assert code == 2
    assert message in error
    assert error.count("\n") == 0
    assert not list(tmp_path.iterdir())


def test_dry_run_prints_the_resolved_configuration(capsys):
    code, out, error = _run(
        capsys, "train", "reproduce/runs/clip_higher.toml", "--dry-run", "--set", "seed=9"
    )
    assert code == 0
    assert '"clip_high": 0.28' in out
    assert '"seed": 9' in out
    assert error.startswith("run ")


@pytest.mark.parametrize(
    "command",
    [
        [], ["train"], ["runs"], ["follow"], ["evaluate"], ["reproduce"], ["import-run"], ["law"],
        ["doctor"],
    ],
)  # fmt: skip
def test_help_fits_a_screen_and_shows_an_example(capsys, command):
    code, out, _ = _run(capsys, *command, "--help")
    assert code == 0
    assert "example: entropy-mech" in out
    assert out.count("\n") <= 32


def test_doctor_names_what_is_there(capsys):
    code, out, _ = _run(capsys, "doctor")
    assert code == 0
    for subject in ("machine", "disk", "torch", "transformers", "notebooks", "vllm", "deepspeed"):
        assert f" {subject} " in out


def test_doctor_says_what_mends_a_broken_stack(capsys, monkeypatch):
    from entropy_mech.commands import doctor

    monkeypatch.setattr(doctor, "_NEEDED_DISK_GIB", 1e9)
    monkeypatch.setattr(doctor, "CHECKS", (doctor._disk,))
    code, out, _ = _run(capsys, "doctor")
    assert code == 1
    assert "set ENTROPY_MECH_RUNS to a folder elsewhere" in out
