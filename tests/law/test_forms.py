import numpy as np
import pandas as pd
import pytest

from entropy_mech.errors import UserError
from entropy_mech.law import (
    compare_forms,
    extrapolate_largest,
    fit_form,
    fit_law,
    fit_sizes,
    law_warnings,
)
from entropy_mech.law.report import lag1_autocorrelation
from entropy_mech.paper import published

ENTROPY = np.linspace(1.2, 0.1, 60)


def noisy(curve, seed=1, deviation=2e-3):
    return curve + deviation * np.random.default_rng(seed).standard_normal(len(curve))


@pytest.mark.parametrize(
    ("form", "curve", "c"),
    [
        ("exponential", 1 - 0.2 * np.exp(ENTROPY), None),
        ("linear", 1 - 0.2 * ENTROPY, None),
        ("logarithm", 0.3 - 0.2 * np.log(ENTROPY), None),
        ("power", 1 - 0.2 * ENTROPY**2.5, 2.5),
        ("free_rate", 1 - 0.05 * np.expm1(-2.0 * ENTROPY) / -2.0, -2.0),
    ],
)
def test_each_form_is_found_where_it_is_true(form, curve, c):
    fit = fit_form(form, ENTROPY, curve)
    assert fit.predict(ENTROPY) == pytest.approx(curve, abs=1e-6)
    if c is not None:
        assert fit.c == pytest.approx(c, abs=1e-3)
    table = compare_forms(ENTROPY, noisy(curve))
    assert table.loc[form, "delta_aicc"] < 4.0
    assert table.loc[form, "delta_aicc_ar1"] < 4.0


def test_the_exponential_form_is_the_law():
    score = noisy(1 - 0.2 * np.exp(ENTROPY))
    law, form = fit_law(ENTROPY, score), fit_form("exponential", ENTROPY, score)
    assert (form.a, form.b, form.rmse) == pytest.approx((law.a, law.b, law.rmse))


def test_aicc_by_hand():
    fit = fit_form("linear", [0.0, 1.0, 2.0, 3.0, 4.0, 5.0], [0.0, 1.0, 0.0, 1.0, 0.0, 1.0])
    # RSS 1.5 - (8.75 * (3 / 35)^2 ...) by hand: slope 3/35, total 1.5, explained 17.5 (3/35)^2.
    rss = 1.5 - 17.5 * (3 / 35) ** 2
    assert fit.rss == pytest.approx(rss)
    assert fit.aicc == pytest.approx(6 * np.log(rss / 6) + 6 + 24 / 2)


def test_a_form_that_cannot_be_fitted_is_left_empty():
    entropy = np.append(ENTROPY, 0.0)
    table = compare_forms(entropy, 1 - 0.2 * np.exp(entropy) + 1e-3 * np.sin(entropy * 50))
    assert np.isnan(table.loc["logarithm", "rmse"])
    with pytest.raises(UserError, match="form logarithm: entropy is 0"):
        fit_form("logarithm", entropy, entropy)
    with pytest.raises(UserError, match="did you mean 'power'"):
        fit_form("powr", ENTROPY, ENTROPY)


def test_what_the_paper_does_not_say_of_its_own_points():
    tables = {size: compare_forms(*published.scatter(size)) for size in ("0.5B", "3B", "7B", "32B")}
    # At 0.5B a line fits far better, by AICc and also with neighbours taken as correlated.
    small = tables["0.5B"]
    assert small.loc["exponential", "delta_aicc"] - small.loc["linear", "delta_aicc"] > 50
    assert small.loc["exponential", "delta_aicc_ar1"] - small.loc["linear", "delta_aicc_ar1"] > 10
    assert small.loc["free_rate", "c"] < 0
    # From 3B up exp beats the line and the logarithm, but a free rate is well above 1.
    for size in ("3B", "7B", "32B"):
        table = tables[size]
        assert table.loc["exponential", "delta_aicc"] < table.loc["linear", "delta_aicc"]
        assert table.loc["exponential", "delta_aicc"] < table.loc["logarithm", "delta_aicc"]
        assert 1.5 < table.loc["free_rate", "c"] < 2.3


def test_four_sizes_miss_the_fifth_by_twelve_points():
    table = extrapolate_largest(published.curve_coefficients())
    assert table.loc["b", "miss"] == pytest.approx(0.124, abs=0.002)
    assert table.loc["a", "miss"] == pytest.approx(0.070, abs=0.002)
    assert table.loc["ceiling", "miss"] == pytest.approx(0.054, abs=0.002)
    assert (table["r2"] > 0.9).all()  # a straight line looks good until it is asked to predict


def test_sizes_are_checked():
    frame = published.curve_coefficients()
    with pytest.raises(UserError, match="sizes = 2: give at least 3"):
        extrapolate_largest(frame.head(2))
    with pytest.raises(UserError, match="missing column a"):
        extrapolate_largest(frame.drop(columns="a"))
    with pytest.raises(UserError, match=r"values\[1\] = nan: drop"):
        fit_sizes([1.0, 2.0], [0.1, np.nan])
    with pytest.raises(UserError, match="values: not a column of numbers"):
        fit_sizes([1.0, 2.0], ["a", 0.2])
    twice = pd.DataFrame({"parameters_billion": [1.0, 7, 7], "a": [1.0, 2, 3], "b": [1.0, 2, 3]})
    with pytest.raises(UserError, match="give one row for the largest size"):
        extrapolate_largest(twice)
    with pytest.raises(UserError, match="give numbers above 0"):
        fit_sizes([0.0, 1.0], [1.0, 2.0])
    with pytest.raises(UserError, match="two different sizes"):
        fit_sizes([1.0, 1.0], [1.0, 2.0])


def test_residuals_are_correlated_where_the_curve_has_another_shape():
    def residuals(scores):
        return scores - fit_law(ENTROPY, scores).predict(ENTROPY)

    assert abs(lag1_autocorrelation(residuals(noisy(1 - 0.2 * np.exp(ENTROPY))))) < 0.3
    assert lag1_autocorrelation(residuals(1 - 0.2 * ENTROPY)) > 0.8
    assert lag1_autocorrelation(np.zeros(3)) == 0.0


STEPS = np.arange(60)


@pytest.mark.parametrize(
    ("entropy", "score", "said"),
    [
        (ENTROPY[:8], 1 - 0.2 * np.exp(ENTROPY[:8]), "only 8 points"),
        (0.30 - 1e-4 * STEPS, 0.5 + 1e-3 * STEPS, "too narrow"),
        (0.2 + 0.01 * STEPS, 0.5 + 1e-3 * STEPS, "entropy rises"),
        (np.maximum(0.8 - 0.05 * STEPS, 0.3), 0.2 + 0.01 * STEPS, "seems to be held"),
        (ENTROPY, 0.2 * np.exp(ENTROPY), "a is negative"),
        (ENTROPY, 0.5 + 0.2 * np.sin(9 * ENTROPY) - 0.01 * np.exp(ENTROPY), "explains little"),
        (np.linspace(1.0, 0.6, 60), 1 - 0.2 * np.exp(np.linspace(1.0, 0.6, 60)), "far off"),
    ],
)
def test_each_way_in_which_the_law_does_not_hold_is_named(entropy, score, said):
    assert any(said in warning for warning in law_warnings(entropy, score))


def test_a_good_run_has_no_warning_and_a_better_form_is_named():
    score = noisy(1 - 0.2 * np.exp(ENTROPY))
    assert law_warnings(ENTROPY, score, compare_forms(ENTROPY, score)) == []
    line = noisy(1 - 0.2 * ENTROPY)
    assert any(
        "fits better" in w for w in law_warnings(ENTROPY, line, compare_forms(ENTROPY, line))
    )
