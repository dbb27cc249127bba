"""Mirrors: real TensorBoard files, a resumed run's steps once, and failures that stop nothing."""

import math
import os
import sys
import threading
import types

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from entropy_mech.train.dashboards import Mirror

CONFIG = {"seed": 1, "loss": {"method": "kl_cov"}, "mirror": {"project": "entropy_mech"}}


def _metrics(step):
    return {
        "entropy_nats": 1 / (step + 1),
        "validation_accuracy": None if step % 2 else 0.5,
        "verdict": "correct",
        "trained_tokens": 10 * step,
        "gap": math.nan,
    }


def _log(kind, folder, steps, close=True):
    """Log steps as one session of a run and return what was said of it."""
    said = []
    mirror = Mirror(kind, "kl_cov-seed-1", folder, CONFIG, said.append)
    for step in steps:
        mirror.log(step, _metrics(step))
    if close:
        mirror.close()
    return said


def _scalars(folder):
    events = EventAccumulator(str(folder / "kl_cov-seed-1"))
    events.Reload()
    names = events.Tags()["scalars"]
    return events, {name: [(e.step, e.value) for e in events.Scalars(name)] for name in names}


def test_tensorboard_has_each_number_at_its_step(tmp_path):
    assert _log("tensorboard", tmp_path, range(4)) == []
    events, scalars = _scalars(tmp_path)
    assert set(scalars) == {"entropy_nats", "validation_accuracy", "trained_tokens"}
    assert [step for step, _ in scalars["entropy_nats"]] == [0, 1, 2, 3]
    assert [v for _, v in scalars["entropy_nats"]] == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4])
    assert scalars["validation_accuracy"] == [(0, 0.5), (2, 0.5)]
    assert scalars["trained_tokens"] == [(0, 0.0), (1, 10.0), (2, 20.0), (3, 30.0)]
    (text,) = events.Tensors("configuration/text_summary")
    assert b'"method": "kl_cov"' in text.tensor_proto.string_val[0]


def test_tensorboard_shows_a_resumed_runs_steps_once(tmp_path):
    # Killed after step 5, resumed from a checkpoint at 3: the first session's file stays open.
    assert _log("tensorboard", tmp_path, range(6), close=False) == []
    assert _log("tensorboard", tmp_path, range(3, 8)) == []
    _, scalars = _scalars(tmp_path)
    assert [step for step, _ in scalars["entropy_nats"]] == list(range(8))


def test_no_mirror_does_nothing(tmp_path):
    assert _log("none", tmp_path / "mirror", range(3)) == []
    assert not (tmp_path / "mirror").exists()


class _Fake:
    """wandb and trackio as far as a mirror uses them; ``breaks`` is where it raises."""

    def __init__(self, breaks=""):
        self.breaks, self.rows, self.opened, self.finished = breaks, [], [], 0

    def _maybe_break(self, where):
        if self.breaks == where:
            raise ConnectionError(f"no network\nwhile in {where}")

    def init(self, **arguments):
        self._maybe_break("init")
        self.opened.append(arguments)
        return self

    def log(self, numbers, step):
        self._maybe_break("log")
        self.rows.append((step, numbers))

    def finish(self):
        self._maybe_break("finish")
        self.finished += 1


@pytest.fixture
def install(monkeypatch):
    """Return a function that puts a fake in a package's place."""
    monkeypatch.setattr(os, "environ", os.environ.copy())  # the settings made for wandb

    def put(kind, breaks=""):
        fake = _Fake(breaks)
        module = types.ModuleType(kind)
        module.init = fake.init
        monkeypatch.setitem(sys.modules, kind, module)
        return fake

    return put


@pytest.mark.parametrize("kind", ["wandb", "trackio"])
def test_a_resumed_run_sends_no_step_twice(kind, install, tmp_path):
    fake = install(kind)
    assert _log(kind, tmp_path, range(6), close=False) == []
    assert _log(kind, tmp_path, range(3, 8)) == []
    assert [step for step, _ in fake.rows] == list(range(8))
    assert fake.rows[1] == (1, {"entropy_nats": 0.5, "trained_tokens": 10.0})
    assert fake.finished == 1
    first, second = fake.opened
    assert first == second
    assert (first["name"], first["resume"]) == ("kl_cov-seed-1", "allow")
    assert first["config"] == CONFIG


@pytest.mark.parametrize("kind", ["wandb", "trackio"])
@pytest.mark.parametrize(
    ("breaks", "where", "rows"),
    [("init", "opening", 0), ("log", "step 0", 0), ("finish", "closing", 3)],
)
def test_a_failure_is_said_once_and_stops_nothing(kind, breaks, where, rows, install, tmp_path):
    fake = install(kind, breaks)
    (line,) = _log(kind, tmp_path, range(3))
    assert line.startswith(f"mirror.kind = {kind}: off from here, {where} failed (ConnectionError")
    assert f"no network while in {breaks}" in line
    assert "\n" not in line
    assert len(fake.rows) == rows


@pytest.mark.parametrize("kind", ["wandb", "trackio", "tensorboard"])
def test_a_missing_package_is_named(kind, monkeypatch, tmp_path):
    # None in sys.modules is how Python itself marks a package that cannot be imported.
    monkeypatch.setitem(sys.modules, kind, None)
    for name in list(sys.modules):
        if name.startswith(("torch.utils.tensorboard", f"{kind}.")):
            monkeypatch.delitem(sys.modules, name)
    (line,) = _log(kind, tmp_path, range(3))
    assert "opening failed (ModuleNotFoundError: " in line
    assert f"is not installed: pip install {kind}" in line


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path):
    (tmp_path / "mirror").write_text("a file where the folder should be")
    (line,) = _log("tensorboard", tmp_path / "mirror", range(3))
    assert "opening failed (FileExistsError" in line


def test_closing_does_not_wait_for_ever(install, monkeypatch, tmp_path):
    fake, never = install("wandb"), threading.Event()
    fake.finish = lambda: never.wait(30)
    monkeypatch.setattr("entropy_mech.train.dashboards._CLOSE_S", 0.05)
    (line,) = _log("wandb", tmp_path, range(3))
    assert "closing failed (TimeoutError" in line
    never.set()
