"""Ceiling or trace: the claims tell a state function from a trace of training."""

import numpy as np
import pandas as pd
import pytest

from entropy_mech.paper import intervention
from entropy_mech.paper.intervention import BONUS, CONTROL, MEANS, SPENT

A, B = 0.5, 1.2


def _law(entropy):
    return B - A * np.exp(entropy)


def _run(name, seed, entropy, accuracy, greedy=0.75):
    steps = np.arange(len(entropy)) * 4
    return pd.DataFrame(
        {
            "run": name,
            "seed": seed,
            "profile": "toy",
            "step": steps,
            "entropy_nats": entropy,
            "validation_accuracy": accuracy,
            "validation_greedy_accuracy": greedy,
        }
    )


def _world(off_law=0.0, share=1.0, end_gain=0.0):
    """Return runs whose accuracy after the raise falls by ``share`` of what the law says."""
    frames = []
    for seed in range(1, 4):
        spent = np.geomspace(0.4, 0.01, 8) * (1 + 0.02 * seed)
        frames += [
            _run(SPENT, seed, spent, _law(spent)),
            _run(CONTROL, seed, np.full(9, spent[-1]), np.full(9, _law(spent[-1]))),
            _run(BONUS, seed, spent[::-1][:3], _law(spent[::-1][:3])),
        ]
        for name in MEANS:
            entropy = np.r_[np.geomspace(0.2, spent[-1], 6), np.full(3, spent[-1])]
            accuracy = _law(entropy) + off_law
            accuracy[0] = _law(spent[-1]) - share * (_law(spent[-1]) - _law(0.2))
            accuracy[-3:] = _law(spent[-1]) + end_gain
            frames.append(_run(name, seed, entropy, accuracy))
    return pd.concat(frames, ignore_index=True)


def _verdicts(frame):
    claims = intervention.intervention_claims(frame)
    return [claim.verdict for claim in claims[:4]], claims


def test_a_world_in_which_the_law_is_a_state_function_reproduces_all():
    verdicts, claims = _verdicts(_world())
    assert verdicts == ["reproduced"] * 4
    assert len(claims) == 4 * len(MEANS)
    assert claims[0].interval.estimate == pytest.approx(1.0, abs=0.05)  # read between two points


@pytest.mark.parametrize(
    ("changes", "place", "verdict"),
    [
        ({"share": 0.0}, 0, "contradicted"),  # entropy up, performance where it was
        ({"share": -0.5}, 0, "contradicted"),
        ({"share": 0.5}, 0, "falls short"),
        ({"share": 2.0}, 0, "falls short"),
        ({"off_law": 0.1}, 1, "falls short"),
        ({"end_gain": 0.05}, 2, "falls short"),
        ({"end_gain": -0.05}, 2, "falls short"),
    ],
)
def test_each_way_of_not_being_one_is_seen(changes, place, verdict):
    assert _verdicts(_world(**changes))[0][place] == verdict


def test_the_raise_is_compared_with_the_same_seeds_policy_before_it():
    frame = _world(share=0.5)
    table = intervention.raised(frame).set_index(["run", "seed"])
    row = table.loc[("intervention_mixture", 2)]
    before = frame.query("run == @CONTROL and seed == 2").iloc[0]
    assert row["accuracy_before"] == before["validation_accuracy"]
    assert row["law"] == pytest.approx(_law(0.2))
    assert row["first_training"] == pytest.approx(_law(0.2), abs=0.005)  # between two points
    assert row["fall_share"] == pytest.approx(0.5, abs=0.03)


def test_the_first_training_is_read_between_its_points_whatever_its_form():
    frame = _world()
    spent = frame["run"] == SPENT
    # A straight line in log(H), where no law of the paper's form fits.
    frame.loc[spent, "validation_accuracy"] = -0.1 * np.log(frame.loc[spent, "entropy_nats"])
    points = pd.DataFrame({"seed": [1, 2], "entropy_nats": [0.1, 1e-9]})
    found = intervention.at_same_entropy(frame, points)["first_training"]
    lowest = frame[spent & (frame["seed"] == 2)]["validation_accuracy"].max()
    assert found.tolist() == pytest.approx(
        [-0.1 * np.log(0.1), lowest]
    )  # it ends at its last point


def test_ends_are_over_the_last_quarter_and_against_the_control():
    table = intervention.ends(_world(end_gain=0.03)).set_index(["run", "seed"])
    assert table.loc[(CONTROL, 1), "accuracy_gain"] == 0.0
    assert table.loc[("intervention_temperature", 1), "accuracy_gain"] == pytest.approx(0.03)
    assert table.loc[("intervention_temperature", 1), "entropy_nats_gain"] == pytest.approx(0.0)


def test_the_figure_has_the_law_and_every_means():
    from matplotlib import pyplot

    figure = intervention.intervention_figure(_world())
    labels = {text.get_text() for ax in figure.axes for text in ax.get_legend().get_texts()}
    assert set(MEANS.values()) <= labels
    assert {"its law, mean over seeds", "not raised (control)"} <= labels
    pyplot.close(figure)


def test_without_runs_nothing_is_claimed():
    frame = pd.DataFrame()
    claims = intervention.intervention_claims(frame)
    assert [claim.verdict for claim in claims] == ["no verdict"]
    assert len(intervention.intervention_figure(frame).axes) == 1
