import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entropy_mech.errors import UserError
from entropy_mech.law import fit_law


@settings(max_examples=40, deadline=None)
@given(
    st.floats(-3, 3),
    st.floats(-100, 100),
    st.lists(st.floats(0, 4), min_size=3, max_size=50, unique_by=lambda h: round(h, 2)),
)
def test_points_on_the_law_give_back_its_coefficients(a, b, entropy):
    entropy = np.array(entropy)
    fit = fit_law(entropy, -a * np.exp(entropy) + b)
    assert fit.a == pytest.approx(a, abs=1e-7)
    assert fit.b == pytest.approx(b, abs=1e-7)
    assert fit.ceiling == pytest.approx(b - a, abs=1e-7)
    assert fit.rmse <= 1e-7
    assert fit.predict(entropy) == pytest.approx(-a * np.exp(entropy) + b, abs=1e-6)


def test_least_squares_by_hand():
    # exp(H) = 1, 2, 3 and R = 1, 0, 1: the best slope is 0, the best level 2/3.
    fit = fit_law(np.log([1.0, 2.0, 3.0]), [1.0, 0.0, 1.0])
    assert (fit.a, fit.b, fit.r2) == pytest.approx((0.0, 2 / 3, 0.0), abs=1e-12)
    assert fit.rmse == pytest.approx(np.sqrt((1 / 9 + 4 / 9 + 1 / 9) / 3))
    assert fit.predict([0.0, 1.0]) == pytest.approx([2 / 3, 2 / 3])


def test_the_unit_of_the_performance_is_carried_through():
    rng = np.random.default_rng(0)
    entropy = rng.uniform(0, 1, 30)
    score = 0.9 - 0.2 * np.exp(entropy) + 0.01 * rng.standard_normal(30)
    fraction, percent = fit_law(entropy, score), fit_law(entropy, 100 * score)
    assert percent.a == pytest.approx(100 * fraction.a)
    assert percent.rmse == pytest.approx(100 * fraction.rmse)
    assert percent.r2 == pytest.approx(fraction.r2)


@pytest.mark.parametrize(
    ("entropy", "performance", "message"),
    [
        ([0.1, 0.2], [0.5, 0.4], "points = 2: give at least 3"),
        ([0.1, np.nan, 0.2], [0.5, 0.4, 0.3], "entropy_nats[1] = nan: drop the points"),
        ([0.1, 0.3, 0.2], [0.5, 0.4, np.inf], "performance[2] = inf: drop the points"),
        ([0.2, 0.2, 0.2], [0.5, 0.4, 0.3], "entropy_nats = 0.2 everywhere: give a run in which"),
        ([0.1, 0.2, 0.3], [0.5, 0.4], "entropy_nats has 3 values, performance 2"),
        ([0.1, -0.2, 0.3], [0.5, 0.4, 0.3], "entropy_nats = -0.2: give entropies of at least 0"),
        ([0.1, 200.0, 0.3], [0.5, 0.4, 0.3], "entropy_nats = 200.0: give token entropies in nats"),
        ([[0.1, 0.2, 0.3]], [0.5, 0.4, 0.3], "entropy_nats.shape = (1, 3): give one column"),
        (["x", 0.2, 0.3], [0.5, 0.4, 0.3], "entropy_nats: not a column of numbers"),
    ],
)
def test_points_that_cannot_be_fitted_are_refused_in_one_line(entropy, performance, message):
    with pytest.raises(UserError) as caught:
        fit_law(entropy, performance)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
