"""Shares of the move (Fig. 2), forecasts (Fig. 5) and coefficients against size (Fig. 7)."""

import numpy as np
import pandas as pd
import pytest

from entropy_mech.paper import fig02, fig05, fig07
from tests.paper.law_runs import flat_run, law_run, law_runs

QWEN = {"fig03_qwen2.5_1.5b": (0.4, 1.0), "fig03_qwen2.5_3b": (0.5, 1.2)}
SIZES = pd.DataFrame(
    {
        "model": [f"qwen2.5_{size}" for size in ("0.5b", "1.5b", "3b", "7b")],
        "parameters": [1000, 10_000, 100_000, 1_000_000],
    }
)
EMPTY = pd.DataFrame()


def _steps(run, seed, entropy, accuracy):
    step = np.arange(60)
    frame = law_run(run, seed).assign(entropy_nats=entropy(step))
    return frame.assign(validation_accuracy=np.where(step % 4 == 0, accuracy(step), np.nan))


def _line(run, seed, gain=0.4):
    """Return a run that falls and rises evenly until step 20, and then stands still."""
    return _steps(
        run,
        seed,
        lambda s: 1.0 - np.minimum(s, 20) / 20,
        lambda s: 0.1 + gain * np.minimum(s, 20) / 20,
    )


def test_shares_by_hand():
    # A twelfth of 60 rollouts is 5: a quarter of the way; accuracy lies between validations.
    shares = fig02.shares(_line("fig03_qwen2.5_7b", 1)).set_index("at")
    assert shares["entropy"].tolist() == pytest.approx([0.25, 1.0])
    assert shares["gain"].tolist() == pytest.approx([0.25, 1.0])


def test_the_start_of_a_short_run_is_not_its_end():
    run = _line("fig03_qwen2.5_7b", 1)
    short = run[run["step"] < 12]  # validated at 0, 4 and 8: the end is 8 alone, and what follows
    row = fig02.moves(short, np.array([0.0, 0.5])).iloc[0]
    assert row["gain"] == 0.0
    assert row["gain_all"] == pytest.approx(0.4 * 8 / 20)


def test_a_model_that_hardly_moves_hardly_weighs():
    small = _steps(
        "fig03_qwen2.5_3b", 1, lambda s: 0.5 + 0.0 * s, lambda s: 0.3 + 1e-4 * np.cos(2.5 * s)
    )
    frame = pd.concat([_line("fig03_qwen2.5_7b", 1), small])
    shares = fig02.shares(frame).set_index("at")
    assert shares.loc[1 / 3, "gain"] == pytest.approx(1.0, abs=2e-3)


def test_maths_and_code_are_judged_apart_and_can_fail():
    fast = [law_run("fig03_qwen2.5_7b", seed, rate=30.0) for seed in (1, 2, 3)]
    even = [
        _steps("fig04_qwen2.5_7b", s, lambda s: 1 - s / 60, lambda s: s / 80) for s in (1, 2, 3)
    ]
    claims = fig02.early_claims(pd.concat([*fast, *even]))
    verdicts = {claim.statement.split(",")[0]: set() for claim in claims}
    for claim in claims:
        verdicts[claim.statement.split(",")[0]].add(claim.verdict)
    assert verdicts["Maths"] == {"reproduced"}
    assert "reproduced" not in verdicts["Code"]


def test_printed_shares_and_the_digitised_run():
    assert fig02.paper_shares()["entropy"].tolist() == [0.73, 0.94]
    verdicts = [fact.verdict for fact in fig02.early_claims(EMPTY)]
    # One 7B run spends 0.60 in the first twelfth where eleven spend 0.73 on average.
    assert verdicts == ["does not hold", "holds", "holds", "holds"]


def test_the_law_is_forecast_exactly_from_three_points():
    frame = fig05.forecast_runs(law_runs(QWEN))
    table = fig05.forecasts(frame)
    assert table["rmse"].max() < 1e-9
    own = table[table["points"] == fig05.OWN].groupby("fraction")["n_fitted"].unique()
    assert [counts.tolist() for counts in own] == [[3], [4], [5]]
    pooled = table[table["points"] == fig05.ALL_SEEDS]
    assert set(pooled[pooled["fraction"] == 0.15]["n_fitted"]) == {9}


def test_naive_forecast_carries_the_last_value_seen_forward():
    frame = fig05.forecast_runs(_line("fig03_qwen2.5_7b", 1))
    row = fig05.forecasts(frame, (0.15,)).iloc[0]
    # Seen: steps 0, 4, 8, the last at 0.1 + 0.4 * 8 / 20 = 0.26; then 0.34, 0.42, ten times 0.5.
    later = np.array([0.34, 0.42] + [0.5] * 10) - 0.26
    assert row["naive_rmse"] == pytest.approx(np.sqrt(np.mean(later**2)))
    assert row["naive_last_error"] == pytest.approx(0.24)


def test_forecast_claims_can_be_met_and_missed():
    good = fig05.forecast_claims(fig05.forecast_runs(law_runs(QWEN, noise=1e-3)))
    assert [claim.verdict for claim in good] == ["reproduced"] * 3
    wild = fig05.forecast_claims(fig05.forecast_runs(law_runs(QWEN, noise=0.3)))
    assert "reproduced" not in {claim.verdict for claim in wild}
    verdicts = [fact.verdict for fact in fig05.forecast_claims(EMPTY)]
    assert verdicts[2] == "holds"


def test_a_run_without_an_early_fit_is_a_row_with_a_reason():
    frame = fig05.forecast_runs(flat_run("fig03_qwen2.5_3b", 1))
    table = fig05.forecasts(frame)
    assert table[["rmse", "last_error"]].isna().all(axis=None)
    assert table["naive_rmse"].notna().all()
    assert table["note"].str.startswith("no fit: entropy_nats").all()


def _sized(largest_a, domain="fig03"):
    a = dict(zip(SIZES["model"], (0.1, 0.2, 0.3, largest_a), strict=True))
    runs = {f"{domain}_{model}": (value, 2 * value + 0.3) for model, value in a.items()}
    return fig07.coefficients(law_runs(runs), SIZES)


def test_straight_coefficients_predict_the_largest_size():
    lines = fig07.size_lines(_sized(0.4)).set_index(["seed", "quantity"])
    assert lines.loc[(1, "a"), "slope"] == pytest.approx(0.1 / np.log(10))
    assert lines.loc[(2, "ceiling"), "miss"] == pytest.approx(0.0, abs=1e-9)
    verdicts = {claim.verdict for claim in fig07.size_claims(_sized(0.4))}
    assert verdicts == {"reproduced"}


def test_a_bend_at_the_largest_size_is_a_miss():
    lines = fig07.size_lines(_sized(0.25, "fig04")).set_index(["seed", "quantity"])
    assert lines.loc[(1, "b"), "miss"] == pytest.approx(0.3)
    claims = fig07.size_claims(_sized(0.25, "fig04"))
    assert claims[-1].statement.startswith("Code: the smaller sizes predict")
    assert claims[-1].verdict == "contradicted"


def test_two_sizes_make_no_line_and_no_verdict():
    table = fig07.coefficients(law_runs(QWEN), SIZES)
    lines = fig07.size_lines(table)
    assert set(lines["sizes"]) == {2}
    assert lines["slope"].isna().all()
    assert {claim.verdict for claim in fig07.size_claims(table)} == {"no verdict"}


def test_published_coefficients_are_straight_but_miss_the_largest_size():
    verdicts = [fact.verdict for fact in fig07.size_claims(EMPTY)]
    assert verdicts == ["holds", "holds", "holds", "does not hold"]
