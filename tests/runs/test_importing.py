"""What was trained elsewhere stands for a run, if it is that run, and says where it came from."""

import json

import pytest

from entropy_mech.errors import UserError
from entropy_mech.runs.importing import import_run
from entropy_mech.runs.launch import evaluation_jobs, training_jobs
from entropy_mech.runs.store import RunStore
from entropy_mech.train.loop import train
from tests.conftest import KL_COV, tiny


@pytest.fixture
def copied(store):
    """The folder of a run that was trained in another store."""
    return train(tiny(), store).path


def test_a_copied_run_is_complete_and_has_the_same_metrics(copied, tmp_path):
    run = RunStore(tmp_path).run(tiny())
    assert import_run(run, copied) == ["6 of 6 steps"]
    assert run.complete
    assert training_jobs([tiny()], RunStore(tmp_path)) == []
    assert run.metrics_file.path.read_bytes() == (copied / "metrics.jsonl").read_bytes()
    assert run.newest_model().name == "step_000006"
    origin = run.manifest()["imported"]
    assert (origin["from"], origin["kind"]) == (str(copied), "run")
    with pytest.raises(UserError, match="6 steps of it are here already; give --replace"):
        import_run(run, copied)
    assert import_run(run, copied, replace=True) == ["6 of 6 steps"]


def test_another_configuration_is_refused_with_the_first_difference(copied, tmp_path):
    for changes, words in (
        ({"seed": 5}, "seed is 1 there and 5 here"),
        ({"rollout": {"prompts": 8}}, "rollout.prompts is 6 there and 8 here"),
        ({"loss": KL_COV}, "loss.method is ppo_clip there and kl_cov here"),
    ):
        run = RunStore(tmp_path).run(tiny(**changes))
        with pytest.raises(UserError, match=f"not this run: {words}"):
            import_run(run, copied)
        assert not run.path.exists()


def test_how_often_it_was_saved_is_no_difference(copied, tmp_path):
    run = RunStore(tmp_path).run(tiny(checkpoint={"every": 3}, steps=4))
    assert import_run(run, copied) == ["4 of 4 steps"]


def test_a_log_of_verl_is_a_run_with_its_columns_recorded(tmp_path):
    log = tmp_path / "verl.jsonl"
    rows = [
        {"step": 1, "data": {"actor/entropy": 0.9, "response_length/mean": 600.0}},
        {"step": 2, "data": {"actor/entropy": 0.5, "val-core/math/acc/mean@1": 0.25}},
        {"step": 3, "data": {"actor/entropy": 0.3, "response_length/mean": 640.0}},
        {"step": 4, "data": {"actor/entropy": 0.2, "val-core/math/acc/mean@1": 0.5}},
    ]
    log.write_text("\n".join(map(json.dumps, rows)))
    store = RunStore(tmp_path / "runs")
    run = store.run(tiny(steps=300))
    said = import_run(run, log)
    assert said[0] == "4 steps, 2 of them with validation_accuracy"
    frame = run.metrics()
    assert frame["entropy_nats"].tolist() == [0.9, 0.5, 0.3, 0.2]
    assert frame["validation_accuracy"].dropna().tolist() == [0.25, 0.5]
    assert frame["response_length_mean"].dropna().tolist() == [600.0, 640.0]
    assert run.manifest()["imported"]["columns"] == {
        "entropy_nats": "actor/entropy",
        "validation_accuracy": "val-core/math/acc/mean@1",
    }
    # It stands for the run though it is shorter: there is nothing to go on from, or to measure.
    assert training_jobs([run.config], store) == []
    assert evaluation_jobs([run.config], store, "toy") == []


def test_a_log_without_validation_keeps_its_reward_as_such(tmp_path):
    log = tmp_path / "trl.csv"
    log.write_text("step,entropy,reward\n10,0.5,0.2\n20,0.4,0.3\n")
    run = RunStore(tmp_path / "runs").run(tiny())
    assert any("no validation in this log" in line for line in import_run(run, log))
    frame = run.metrics()
    assert frame["reward_mean"].tolist() == [0.2, 0.3]
    assert frame["validation_accuracy"].isna().all()


def test_an_accuracy_in_percent_is_divided_by_100_and_a_reward_beyond_1_is_refused(tmp_path):
    log = tmp_path / "log.csv"
    run = RunStore(tmp_path / "runs").run(tiny())
    for name, text in (("score", "20"), ("eval_reward", "20"), ("eval_accuracy", "120")):
        log.write_text(f"step,entropy,{name}\n10,0.5,{text}\n20,0.4,30\n")
        with pytest.raises(UserError, match=r"has values outside \[0, 1\]"):
            import_run(run, log, performance=name)
        assert not run.path.exists()
    log.write_text("step,entropy,eval_accuracy\n10,0.5,20\n20,0.4,30\n")
    said = import_run(run, log)
    assert "note: 'eval_accuracy' is in percent: divided by 100" in said
    assert run.metrics()["validation_accuracy"].tolist() == [0.2, 0.3]
    assert run.manifest()["imported"]["percent"] == ["validation_accuracy"]


def test_what_was_taken_of_a_log_is_said_and_one_of_several_runs_must_be_named(tmp_path):
    log = tmp_path / "log.csv"
    log.write_text(
        "global_step,seed,approx_entropy,eval_acc\n"
        "10,1,0.5,0.2\n20,1,0.4,0.3\n10,2,0.6,0.1\n20,2,0.3,0.4\n"
    )
    run = RunStore(tmp_path / "runs").run(tiny())
    with pytest.raises(UserError, match=r"rows of 2 runs, by 'seed' \(1, 2\)"):
        import_run(run, log)
    said = import_run(run, log, one_run="2")
    assert said[1].startswith("entropy from 'approx_entropy', performance from 'eval_acc', step")
    assert any("warning: 'approx_entropy': the entropy is an approximation" in s for s in said)
    assert run.metrics()["entropy_nats"].tolist() == [0.6, 0.3]
    assert run.manifest()["imported"]["step_column"] == "global_step"
