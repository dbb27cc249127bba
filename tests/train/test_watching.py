"""A run is mirrored as it goes, and a mirror that breaks does not break the run."""

from entropy_mech.train.loop import train
from tests.conftest import tiny


def test_a_run_is_mirrored_to_tensorboard(store):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = train(tiny(seed=41, mirror={"kind": "tensorboard"}), store)
    (shown_at,) = (run.path / "mirror").iterdir()
    events = EventAccumulator(str(shown_at))
    events.Reload()
    shown = [(e.step, e.value) for e in events.Scalars("entropy_nats")]
    metrics = run.metrics("step", "entropy_nats")
    assert [step for step, _ in shown] == metrics["step"].tolist()
    for (_, value), entropy in zip(shown, metrics["entropy_nats"], strict=True):
        assert abs(value - entropy) < 1e-6


def test_the_mirror_is_no_part_of_what_a_run_is(store):
    assert store.run(tiny(seed=41)).path == store.run(tiny(seed=41, mirror={"kind": "wandb"})).path


def test_a_mirror_that_cannot_be_opened_is_one_line_and_the_run_goes_on(store, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "trackio", None)  # not importable
    said = []
    run = train(tiny(seed=42, mirror={"kind": "trackio"}), store, say=said.append)
    assert run.complete
    assert [line for line in said if line.startswith("mirror.kind = trackio: off from here")]
