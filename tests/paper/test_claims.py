"""Verdicts follow from intervals, and the claims of each figure can fail."""

import numpy as np
import pandas as pd
import pytest

from entropy_mech.paper import fig01
from entropy_mech.paper.claims import (
    Claim,
    Interval,
    Range,
    correlation,
    correlation_interval,
    half_of_difference,
    half_of_ratio,
    mean_interval,
    ratio_interval,
    series_correlation,
)


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([2.0, 2.1, 2.2], "reproduced"),
        ([0.5, 0.6, 0.55], "contradicted"),
        ([1.2, 1.3, 1.25], "falls short"),  # right direction, too small
        ([1.0, 3.0, 2.5], "undecided"),
        ([2.0, 2.1], "no verdict"),
        ([2.0], "no verdict"),
        ([2.0, float("nan"), 2.1], "no verdict"),
    ],
)
def test_verdict(values, verdict):
    bounds = Range(1.5, 9, contradicted_below=1.0)
    claim = Claim("at least 1.5", "", mean_interval(values), bounds)
    assert claim.verdict == verdict


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([0.030, 0.031, 0.029], "reproduced"),
        ([0.001, 0.0, -0.001], "falls short"),  # no effect, precisely measured
        ([0.020, 0.021, 0.019], "falls short"),
        ([0.05, 0.0, -0.05], "undecided"),
        ([-0.002, -0.0021, -0.0019], "contradicted"),
    ],
)
def test_an_effect_is_judged_at_half_the_papers(values, verdict):
    difference = Claim("", "+0.048", mean_interval(values), half_of_difference(0.048))
    assert difference.verdict == verdict
    ratio = Claim("", "", ratio_interval(np.exp(values)), half_of_ratio(np.exp(0.048)))
    assert ratio.verdict == verdict


def test_interval_is_students():
    # n = 3, mean 2, sd 1: 2 -+ 4.302653 / sqrt(3)
    interval = mean_interval([1.0, 2.0, 3.0])
    assert interval.low == pytest.approx(2 - 4.302653 / np.sqrt(3), rel=1e-6)
    assert "95 %, 3 seeds" in Claim("", "", interval, Range()).ours


def test_ratios_are_averaged_on_the_log_scale():
    interval = ratio_interval([2.0, 4.0, 8.0])
    half = 4.302653 * np.log(2) / np.sqrt(3)  # the logs are equidistant: sd log 2
    assert interval.estimate == pytest.approx(4.0)
    assert interval.low == pytest.approx(4 * np.exp(-half), rel=1e-6)
    assert interval.high == pytest.approx(4 * np.exp(half), rel=1e-6)


def test_correlations_stay_within_one():
    interval = correlation_interval([0.9, 0.99, 0.999])
    z = np.arctanh([0.9, 0.99, 0.999])
    half = 4.302653 * z.std(ddof=1) / np.sqrt(3)
    assert interval.estimate == pytest.approx(np.tanh(z.mean()))
    assert (interval.low, interval.high) == pytest.approx(
        np.tanh([z.mean() - half, z.mean() + half])
    )
    assert interval.high < 1
    assert correlation_interval([1.0, 1.0, 1.0]).low > 0.9


def test_a_weight_counts_as_often_as_it_says():
    x, y, weights = [0.0, 1.0, 3.0], [1.0, 0.0, 2.0], [1, 2, 3]
    repeated = np.repeat([x, y], weights, axis=1)
    assert correlation(x, y, weights) == pytest.approx(np.corrcoef(repeated)[0, 1])
    assert np.isnan(correlation([1.0, 1.0], [0.0, 1.0]))
    assert np.isnan(correlation([1.0], [1.0]))


def test_a_series_whose_neighbours_agree_has_the_wider_interval():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(2, 400))
    smooth = np.stack([np.convolve(row, np.ones(8), "valid") for row in noise])
    alone, together = (series_correlation(*pair) for pair in (noise, smooth))
    assert together.high - together.low > 1.5 * (alone.high - alone.low)
    assert np.isnan(series_correlation(noise[0][:5], noise[1][:5]).low)


def test_one_value_has_no_interval():
    assert "no interval" in Claim("", "", Interval(1.0, np.nan, np.nan, 1), Range(0, 2)).ours
    assert str(mean_interval([1.0])) == "1"


def _runs(law, names=("grpo",), seeds=3, steps=40):
    """Frames with given entropy and accuracy as functions of (share of steps, seed)."""
    frames = []
    for name in names:
        for seed in range(1, seeds + 1):
            step = np.arange(steps)
            entropy, accuracy = law(step / steps, seed, name)
            every4 = np.where(step % 4 == 0, accuracy, np.nan)
            frames.append(
                pd.DataFrame(
                    {
                        "run": name,
                        "seed": seed,
                        "step": step,
                        "entropy_nats": entropy,
                        "validation_accuracy": every4,
                        "validation_greedy_accuracy": every4,
                        "response_length_mean": 10.0,
                    }
                )
            )
    return pd.concat(frames, ignore_index=True)


def _exact_law(t, seed, name):
    entropy = (0.5 + 0.01 * seed) * np.exp(-12 * t)
    return entropy, -np.exp(entropy) + 1.9


def test_collapse_claims_hold_on_an_exact_law():
    frame = _runs(_exact_law, steps=120)
    fits = fig01.law_by_run(frame)
    np.testing.assert_allclose(fits["a"], 1.0)
    np.testing.assert_allclose(fits["ceiling"], 0.9)
    assert {c.verdict for c in fig01.collapse_claims(frame)} == {"reproduced"}


def test_collapse_claims_fail_where_entropy_rises():
    def rising(t, seed, name):
        return 0.1 + 0.3 * t + 0.001 * seed, 0.5 + 0.1 * np.sin(40 * t)

    verdicts = [c.verdict for c in fig01.collapse_claims(_runs(rising))]
    assert verdicts[0] == "contradicted"
    assert verdicts[2] != "reproduced"


def test_spent_by_hand():
    # Validated at steps 0, 4, 8, ... of 40: a third is step 13.3, between 12 and 16.
    def steps(t, seed, name):
        entropy = np.select([t < 0.1, t < 0.2, t < 0.32], [1.0, 0.2, 0.1], 0.0)
        return entropy, 1 - np.select([t < 0.1, t < 0.2, t < 0.4], [1.0, 0.2, 0.1], 0.0)

    row = fig01.spent(_runs(steps, seeds=1), at=1 / 3).iloc[0]
    assert row["entropy_share"] == pytest.approx(1.0)
    assert row["accuracy_share"] == pytest.approx(0.9 + 0.1 * (40 / 3 - 12) / 4)
    assert row["entropy_move"] == pytest.approx(-1.0)
    assert row["accuracy_move"] == pytest.approx(1.0)


def test_published_moves_and_law_of_figure_1():
    facts = fig01.collapse_claims(pd.DataFrame())
    assert [fact.verdict for fact in facts] == ["holds"] * 4
    assert fig01.law_by_run(pd.DataFrame()).index.tolist()[0] == "0.5B"


def test_paper_numbers_come_from_the_digitised_figures():
    claims = fig01.collapse_claims(_runs(_exact_law))
    assert claims[0].paper.startswith("0.9")
    assert claims[2].paper.startswith("0.97")
