"""The command line: each fault is one line and exit code 2, and nothing is half-written."""

import pytest

from entropy_mech.cli import main
from tests.command_line import parsed


def _run(capsys, *words):
    code = main(list(words))
    captured = capsys.readouterr()
    return code, captured.out, captured.err.strip()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["reproduc"], "unknown command 'reproduc': did you mean 'reproduce'?"),
        (["reproduce", "fig1"], "unknown target 'fig1': did you mean 'fig01'?"),
        (["reproduce", "fig01", "--sed", "2"], "unknown option '--sed': did you mean '--seed'?"),
        (["reproduce", "fig01", "--see", "2"], "unknown option '--see': did you mean '--seed'?"),
        (
            ["train", "reproduce/runs/grpo.toml", "--dryrun"],
            "entropy-mech train: unknown option '--dryrun': did you mean '--dry-run'?",
        ),
        (["law", "x.jsonl", "--performace=a"], "'--performace': did you mean '--performance'?"),
        (["runs", "--states", "failed"], "unknown option '--states': did you mean '--state'?"),
        (["runs", "--state", "fail"], "unknown state 'fail': did you mean 'failed'?"),
        (["runs", "more"], "Got unexpected extra argument(s) (more)"),
        (["doctor", "--zzz"], "unknown option '--zzz' (see entropy-mech doctor --help)"),
        (["follow", "fig11_7b_kl_kov"], "did you mean 'fig11_7b_kl_cov'?"),
        (["follow", "fig11_7b_kl_cov", "--profile", "papr"], "did you mean 'paper'?"),
        (["import-run", "fig11_7b_klcov", "x"], "did you mean 'fig11_7b_kl_cov'?"),
        (["evaluate", "reproduce/runs/gpo.toml"], "did you mean 'reproduce/runs/grpo.toml'?"),
        (
            ["evaluate", "reproduce/runs/grpo.toml", "--benchmarks", "aime_24"],
            "unknown benchmark 'aime_24': did you mean 'aime24'?",
        ),
        (["train", "reproduce/runs/klcov.toml"], "did you mean 'reproduce/runs/kl_cov.toml'?"),
        (
            ["train", "fig11_7b_kl_kov"],
            "no such file; did you mean 'reproduce/runs/toy/fig11_7b_kl_cov.toml'?",
        ),
        (["reproduce", "lema1"], "unknown target 'lema1': did you mean 'lemma1'?"),
        (["reproduce", "fig01", "--profile", "toys"], "unknown profile 'toys': did you mean 'toy'"),
        (
            ["reproduce", "fig01", "-p", "step", "4"],
            "unknown parameter of fig01_collapse_and_law.ipynb 'step': did you mean 'steps'?",
        ),
        (["reproduce", "fig01", "--seeds", "-1"], "'--seeds': '-1'; give a whole number from 0 on"),
        (["reproduce", "fig01", "--seed", "-1"], "'--seed': '-1'; give a whole number from 0 on"),
        (
            ["reproduce", "fig01", "--seeds", "x"],
            "'--seeds': 'x'; give a whole number from 0 on",
        ),
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
        (["train", "reproduce/runs/grpo.toml", "--set", "start.temperature=2"], "run is missing"),
        (["train", "reproduce/runs/grpo.toml", "--set", "start.run=x.toml"], "x.toml: no such"),
        (["reproduce", "fig01", "-p", "steps=x", "--dry-run"], "steps = x: give a whole number"),
        (["reproduce", "fig01", "-p", "out_dir", "--dry-run"], "-p = out_dir: write it as NAME"),
        (["import-run", "fig11_7b_kl_cov", "x", "--profile", "kept"], "runs of yours 'kept'"),
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


def test_a_parameter_and_its_value_in_one_word_leave_the_target_alone(capsys):
    words = ("reproduce", "-p", "out_dir=out/a=b", "lemma1", "--profile", "published", "--dry-run")
    code, out, _ = _run(capsys, *words)
    assert code == 0
    assert out.strip().endswith("then the notebooks of Lemma 1")


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
        ["diagnose"], ["doctor"],
    ],
)  # fmt: skip
def test_help_fits_a_screen_and_shows_an_example(capsys, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = _run(capsys, *command, "--help")
    assert code == 0
    assert "example: entropy-mech" in out
    assert out.count("\n") <= (32 if command else 24)
    assert max(map(len, out.splitlines())) <= 80
    example = out.split("example: entropy-mech ")[1].split()
    assert parsed(example)[0] == (command or ["reproduce"])[0]


def test_a_wrong_name_among_many_is_not_answered_with_all_of_them(capsys):
    _, _, error = _run(capsys, "import-run", "fig11_7b_klcov", "x")
    assert error == "unknown run 'fig11_7b_klcov': did you mean 'fig11_7b_kl_cov'?"


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
