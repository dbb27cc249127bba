"""Graders within a run: what fails stops it, what nobody judged is not trained on, holes show."""

import json
import sys

import pytest

from entropy_mech.cli import main
from entropy_mech.config.files import make_config
from entropy_mech.grading import GraderAlarm, Verdict
from entropy_mech.problems.grading import MathProblem
from entropy_mech.problems.tripwire import OneAnswerTwoReferences
from entropy_mech.runs import RunStore
from entropy_mech.train import tasks
from entropy_mech.train.loop import train
from entropy_mech.train.pretrain import prepare_base_model
from tests.conftest import TINY, tiny

CODE = {"domain": "code", "train_size": 40, "validation_counts": {1: 5}}


def toy_code(**changes):
    table = {**TINY, **changes, "problems": CODE}
    table["base"] = {**TINY["base"], "steps": 50, "noisy_steps": 10, "code_fraction": 1.0}
    return make_config(table)


def maths(store, folder, steps):
    """A run on maths problems of files, by a toy's policy in the guise of a real model."""
    rows = [{"question": f"{i}+{i}=", "answer": f"So.\n#### {2 * i}"} for i in range(12)]
    (folder / "gsm8k.jsonl").write_text("\n".join(map(json.dumps, rows)))
    held_out = [{"problem": f"{i}-1=", "answer": str(i - 1)} for i in range(3)]
    (folder / "math500.jsonl").write_text("\n".join(map(json.dumps, held_out)))
    table = {k: v for k, v in TINY.items() if k not in ("base", "problems", "model")}
    return make_config(
        {
            **table,
            "steps": steps,
            "model": {"path": str(prepare_base_model(store.root, tiny()))},
            "problems": {
                "training_set": "gsm8k",
                "data_dir": str(folder),
                "validation": ["math500"],
                "max_prompt_tokens": 120,
            },
            "rollout": {**TINY["rollout"], "max_new_tokens": 2},
        }
    )


def test_a_run_whose_sandbox_cannot_start_ends_in_one_line(store, tmp_path, monkeypatch, capsys):
    config = toy_code()
    prepare_base_model(store.root, config)
    monkeypatch.setenv("ENTROPY_MECH_RUNS", str(store.root))
    path = tmp_path / "run.toml"
    path.write_text("")
    monkeypatch.setattr("entropy_mech.commands.train.load_config", lambda *_: config)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/bin/false")
        patch.setattr("entropy_mech.grading.pool._default", None)
        assert main(["train", str(path)]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "verdicts are 'error', more than the limit of 10%" in error
    assert error.endswith("the grader's process did not start: exit code 1")
    assert store.run(config).metrics_file.lines() == []
    # Mended, the same command trains.
    monkeypatch.setattr("entropy_mech.grading.pool._default", None)
    assert main(["train", str(path)]) == 0
    assert store.run(config).steps_done == config.steps


def test_all_ranks_stop_together():
    """Rank 0 grades; the others learn of it, and would else wait for what never comes."""

    class OtherRank:
        first = False

        def from_first(self, value):
            return [Verdict("error", "no sandbox")] * 30

    with pytest.raises(GraderAlarm, match="no sandbox"):
        tasks.Grader(OtherRank())([], [])


def test_a_group_with_a_verdict_that_is_none_is_not_trained_on(store, monkeypatch):
    def one_error(problems, texts, pool=None):
        return [Verdict("error", "bad luck"), *[Verdict("correct")] * (len(texts) - 1)]

    monkeypatch.setattr(tasks, "grade_many", one_error)
    rollout = {**TINY["rollout"], "group_filter": False}
    run = train(tiny(steps=1, rollout=rollout, seed=41), store)
    (row,) = (json.loads(line) for line in run.metrics_file.lines())
    assert row["grader_error_fraction"] == 1 / 24
    assert row["trained_fraction"] == 20 / 24


@pytest.mark.filterwarnings("ignore::entropy_mech.problems.tripwire.OneAnswerTwoReferences")
def test_a_hole_in_the_grader_is_in_the_metrics_however_a_run_is_cut(store, tmp_path, monkeypatch):
    """Every third answer is right for whatever is asked, as a hole would have it."""

    def with_a_hole(problems, texts, pool=None):
        return [Verdict("correct" if len(text) % 3 else "wrong") for text in texts]

    monkeypatch.setattr(tasks, "grade_many", with_a_hole)
    monkeypatch.setattr(MathProblem, "final_answer", lambda self, text: text)
    name = "answers_right_for_different_references"
    whole = train(maths(store, tmp_path, 4), RunStore(tmp_path / "whole"))
    counts = [json.loads(line)[name] for line in whole.metrics_file.lines()]
    assert counts == sorted(counts)
    assert counts[-1] > counts[0] >= 0
    assert whole.accepted_file.lines()

    other = RunStore(tmp_path / "parts")
    parts = train(maths(store, tmp_path, 2), other)
    (parts.path / "manifest.json").unlink()
    parts.accepted_file.append({"step": 2, "accepted": [["later", "p", ["1"], True]]})
    parts = train(maths(store, tmp_path, 4), other)
    assert parts.metrics_file.lines() == whole.metrics_file.lines()
    assert parts.accepted_file.lines() == whole.accepted_file.lines()


def test_a_run_warns_of_the_answer_and_of_two_problems(store, tmp_path, monkeypatch):
    def all_right(problems, texts, pool=None):
        return [Verdict("correct")] * len(texts)

    monkeypatch.setattr(tasks, "grade_many", all_right)
    monkeypatch.setattr(MathProblem, "final_answer", lambda self, text: r"-\infty")
    with pytest.warns(OneAnswerTwoReferences, match=r"infty.*problem gsm8k-\d+ .*problem gsm8k"):
        train(maths(store, tmp_path, 1), RunStore(tmp_path / "runs"))


def test_a_toys_run_never_trips_it(store):
    run = train(tiny(steps=2, seed=42), store)
    assert run.metrics("answers_right_for_different_references").eq(0).all().all()
    assert not run.accepted_file.path.exists()
