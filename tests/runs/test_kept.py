"""Evidence kept in the tree is read as the runs it came from, and says whether a run follows it."""

import json

import numpy as np
import pandas as pd
import pytest

from entropy_mech.errors import UserError
from entropy_mech.runs.kept import KeptStore, follows, keep
from entropy_mech.train.loop import train
from tests.conftest import KL_COV, tiny


@pytest.fixture(scope="module")
def kept(module_store, tmp_path_factory):
    """A trained run, and the same run as it was kept."""
    from entropy_mech.runs import RunStore

    # So many responses that every step has right and wrong ones, and trains.
    config = tiny(loss=KL_COV, lemma1_every=2, seed=2, rollout={"prompts": 16, "responses": 8})
    run = train(config, RunStore(module_store), say=lambda text: None)
    folder = tmp_path_factory.mktemp("kept")
    assert keep([("some_run", run)], folder, {}, {run.path.name}) == 1
    return run, KeptStore(folder).run(config)


def test_all_that_figures_read_is_the_runs_own(kept):
    run, same = kept
    assert same.complete
    measured = run.metrics().dropna(axis="columns", how="all")
    pd.testing.assert_frame_equal(same.metrics(), measured, check_like=True)
    assert same.token_steps() == [0]
    pd.testing.assert_frame_equal(
        same.token_frame(0), run.token_frame(0), check_dtype=False, check_like=True
    )
    assert same.lemma1_steps() == run.lemma1_steps()
    for name, values in run.lemma1(2).items():
        np.testing.assert_array_equal(same.lemma1(2)[name], values)
    source = same.manifest()
    assert source["name"] == "some_run"
    assert len(source["weights_sha256"]) == 64


def test_a_shorter_configuration_is_the_beginning_and_a_longer_one_is_not_there(kept):
    run, same = kept
    store = KeptStore(same.path.parent)
    config = run.config
    short = store.run(config.model_copy(update={"steps": 3}))
    assert short.complete
    assert len(short.metrics()) == 3
    assert not store.run(config.model_copy(update={"steps": 7})).complete
    assert not store.run(config.model_copy(update={"seed": 9})).complete
    with pytest.raises(UserError, match="has no tokens kept of it"):
        short.token_frame(5)


def test_keeping_again_replaces_and_keeps_the_others(kept, tmp_path):
    run, _ = kept
    keep([("one", run)], tmp_path, {})
    keep([("another", run)], tmp_path, {})
    manifest = json.loads((tmp_path / "manifest.json").read_text())["runs"]
    assert [source["name"] for source in manifest.values()] == ["another"]
    assert len(pd.read_parquet(tmp_path / "metrics.parquet")) == run.config.steps


def test_keeping_again_for_a_figure_without_tokens_loses_none(kept, tmp_path):
    run, _ = kept
    keep([("one", run)], tmp_path, {}, {run.path.name})
    keep([("another", run)], tmp_path, {})
    again = KeptStore(tmp_path).run(run.config)
    assert again.manifest()["name"] == "another"
    assert len(again.token_frame(0)) == len(run.token_frame(0))


def test_what_is_not_kept_is_one_line(monkeypatch, tmp_path, capsys):
    from entropy_mech.cli import main

    monkeypatch.setattr("entropy_mech.runs.kept.project_root", lambda: tmp_path)
    assert main(["reproduce", "fig11", "--profile", "kept", "--dry-run"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("profile = kept: of fig11_7b_grpo seed 1, 0 of 80 rollouts are kept")
    assert error.count("\n") == 1


class _Changed:
    """A run some of whose numbers are others."""

    def __init__(self, run, **cells):
        self.frame = run.metrics()
        for name, (step, factor) in cells.items():
            self.frame.loc[step, name] *= factor

    def metrics(self):
        return self.frame


def test_whether_a_run_follows(kept):
    run, same = kept
    assert str(follows(run, same)) == "follows to the last bit, 6 steps"
    near = follows(_Changed(run, entropy_nats=(4, 1 + 1e-6)), same)
    assert near.left_at is None
    assert 1e-7 < near.largest < 1e-5
    assert near.metric == "entropy_nats"
    assert str(near).startswith("follows within rounding (1e-06), 6 steps")
    gone = follows(_Changed(run, grad_norm=(3, 1.1), loss=(5, 2.0)), same)
    assert (gone.left_at, gone.metric) == (3, "grad_norm")
    assert str(gone) == "leaves the kept run at step 3 (grad_norm)"


def test_a_number_that_became_none_is_seen(kept):
    run, same = kept
    assert follows(_Changed(run, entropy_nats=(2, np.nan)), same).left_at == 2
