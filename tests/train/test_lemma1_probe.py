"""The check of Lemma 1 in a training run: its prefixes, its terms, and what they say."""

import numpy as np
import pytest

from entropy_mech.errors import UserError
from entropy_mech.paper.lemma1 import agreement, batch_means, by_token_entropy
from entropy_mech.train.loop import train
from tests.conftest import tiny

ON_POLICY = {
    "loss": {"method": "policy_gradient"},
    "update": {"updates_per_rollout": 1, "measure_entropy_change": True, "learning_rate": 1e-4},
    "lemma1_every": 2,
    "base": {"steps": 200},
    "rollout": {"prompts": 12, "responses": 8},
}


@pytest.fixture
def run(store):
    return train(tiny(seed=31, **ON_POLICY), store)


def test_the_exact_change_is_the_one_that_the_loop_measures(run):
    for step in run.lemma1_steps():
        record = run.lemma1(step)
        mean = (record["exact"] * record["visits"]).sum() / record["visits"].sum()
        logged = run.metrics().set_index("step").loc[step, "entropy_change_nats"]
        assert mean == pytest.approx(logged, abs=2e-6)


def test_a_rollout_of_which_the_filter_leaves_nothing_has_no_check(store):
    """A model that has learned nothing is wrong nearly throughout: few groups have a spread."""
    run = train(tiny(steps=2, **(ON_POLICY | {"base": {"steps": 1}, "lemma1_every": 1})), store)
    trained = run.metrics()["trained_tokens"]
    assert (trained == 0).any()
    assert run.lemma1_steps() == trained.index[trained > 0].tolist()


def test_every_trained_token_is_a_visit(run):
    trained = run.metrics().set_index("step")["trained_tokens"]
    assert run.lemma1_steps()
    for step in run.lemma1_steps():
        record = run.lemma1(step)
        assert record["visits"].sum() == trained[step]
        assert len(record["visits"]) < trained[step]  # first tokens share their prefix
        assert (record["visits"][record["position"] == 0] >= 8).all()


def test_lemma1_holds_for_a_small_step_of_a_transformer(run):
    """Its logits as they moved: the remainder is of second order, whatever the network."""
    record = run.lemma1(run.lemma1_steps()[0])
    error = np.abs(record["exact"] - record["first_order"]).sum()
    with_second = np.abs(record["exact"] - record["second_order"]).sum()
    assert error < 0.05 * np.abs(record["exact"]).sum()
    assert with_second < 0.2 * error


def test_a_step_without_a_check_is_named(run):
    with pytest.raises(UserError, match=r"step = 1: no check of Lemma 1; there are \["):
        run.lemma1(1)


def test_agreement_by_hand():
    import pandas as pd

    frame = pd.DataFrame(
        {
            "run": "r",
            "seed": 1,
            "step": 0,
            "exact": [1.0, -1.0, 3.0],
            "visits": [1.0, 2.0, 1.0],
            "entropy_nats": [0.005, 0.2, 0.3],
            "first_order": [1.5, -1.0, 3.0],
            "second_order": [1.0, -1.0, 3.0],
            "theorem1": [2.0, -2.0, 6.0],
            "theorem2": [-1.0, 1.0, -3.0],
        }
    )
    table = agreement(frame, ["run"]).set_index("prediction")
    assert table.loc["first_order", "gap"] == pytest.approx(0.5 / 6)
    assert table.loc["second_order", "gap"] == 0
    assert table.loc["theorem1", ["correlation", "gap"]].tolist() == pytest.approx([1.0, 0.0])
    assert table.loc["theorem2", "correlation"] == pytest.approx(-1.0)
    assert batch_means(frame)["exact"].tolist() == [0.5]
    assert len(by_token_entropy(frame)["entropy_bin"].unique()) == 2
