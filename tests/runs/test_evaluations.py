"""Final policies measured as jobs: once, found again, and drawn anew when problems change."""

from entropy_mech.evaluation.suite import evaluate_run
from entropy_mech.problems.benchmarks import TOY_BENCHMARKS
from entropy_mech.runs import launch as evaluations
from entropy_mech.runs.launch import (
    ensure_runs,
    evaluated,
    evaluation_folder,
    evaluation_jobs,
    scores,
)
from entropy_mech.train.loop import train
from tests.conftest import tiny


def test_a_run_is_measured_once_and_goes_on_where_it_was_stopped(store):
    run = train(tiny(steps=2, seed=31), store)
    assert len(scores(run, "toy")) == 0
    ensure_runs([run.config], store, names=["tiny"], evaluate="toy", workers=1)
    frame = scores(run, "toy")
    assert frame["benchmark"].tolist() == list(TOY_BENCHMARKS)
    assert frame["accuracy"].between(0, 1).all()
    assert set(frame["step"]) == {2}
    assert evaluation_jobs([run.config], store, "toy") == []

    # Stopped before the end: the samples that are there stay, and the scores come out the same.
    folder = evaluation_folder(run, "toy")
    drawn = {path.name: path.read_bytes() for path in folder.glob("*.jsonl")}
    (folder / "scores.json").unlink()
    cut = folder / "toy_maths_2.jsonl"
    cut.write_bytes(b"".join(cut.read_bytes().splitlines(keepends=True)[:5]))
    (job,) = evaluation_jobs([run.config], store, "toy", names=["tiny"])
    assert str(job) == "toy benchmarks, tiny seed 31"
    evaluate_run(run, "toy")
    assert {path.name: path.read_bytes() for path in folder.glob("*.jsonl")} == drawn
    assert scores(run, "toy").equals(frame)


def test_scores_of_other_problems_are_not_taken(store, monkeypatch):
    run = train(tiny(steps=2, seed=31), store)
    before = evaluation_folder(run, "toy")
    monkeypatch.setattr(evaluations, "group_digest", lambda group: "otherone")
    assert evaluation_folder(run, "toy") != before
    assert not evaluated(run, "toy")


def test_a_run_that_will_go_on_is_measured_again_at_its_end(store):
    run = train(tiny(steps=2, seed=31), store)
    evaluate_run(run, "toy")
    longer = tiny(steps=3, seed=31)
    assert len(evaluation_jobs([longer], store, "toy")) == 1
