import doctest

import numpy as np
import pytest

from entropy_mech.errors import UserError
from entropy_mech.law import fit_law
from entropy_mech.paper import published


def test_examples_in_docstrings_hold():
    result = doctest.testmod(published)
    assert result.attempted >= 5
    assert result.failed == 0


@pytest.mark.parametrize("figure", published.FIGURES)
def test_every_figure_is_finite_and_has_a_reading_error(figure):
    frame = published.load(figure)
    points = frame[frame["kind"] == "point"] if "kind" in frame else frame
    numbers = points.select_dtypes("number")
    assert len(points) > 100
    assert np.isfinite(numbers.to_numpy()).all()
    errors = [c for c in numbers if c.startswith("reading_error")]
    assert errors
    assert (numbers[errors] >= 0).all().all()  # given to four places: 0 at the lowest entropies


def test_an_unknown_figure_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'fig01_right'"):
        published.load("fig01_rigth")
    with pytest.raises(UserError, match="unknown model"):
        published.scatter("14B")


def test_number_of_points_and_ends_known_from_the_figure():
    counts = {size: len(published.scatter(size)[0]) for size in published.SIZES}
    assert counts == {"0.5B": 60, "1.5B": 59, "3B": 44, "7B": 56, "32B": 53}
    fig11 = published.load("fig11").query("metric == 'test_acc_pct' and method == 'KL_Cov'")
    assert fig11.query("model == '32B'").sort_values("step")["value"].iloc[-1] == pytest.approx(
        52.0, abs=0.1
    )


@pytest.mark.parametrize("size", published.SIZES)
def test_the_drawn_curves_are_the_law_with_the_coefficients_given(size):
    frame = published.load("fig01_right").query("kind == 'drawn_curve' and model == @size")
    fit = fit_law(frame["entropy_nats"], frame["accuracy_pct"] / 100)
    drawn = published.curve_coefficients().loc[size]
    assert fit.a == pytest.approx(drawn["a"], rel=3e-3)
    assert fit.b == pytest.approx(drawn["b"], rel=3e-3)
    assert fit.r2 > 0.9999


@pytest.mark.parametrize(
    ("size", "tolerance"),
    [("0.5B", 0.03), ("1.5B", 0.01), ("3B", 0.01), ("7B", 0.01), ("32B", 0.01)],
)
def test_the_scatter_points_alone_give_back_the_authors_coefficients(size, tolerance):
    fit = fit_law(*published.scatter(size))
    drawn = published.curve_coefficients().loc[size]
    assert abs(fit.a / drawn["a"] - 1) <= tolerance
    assert abs(fit.b / drawn["b"] - 1) <= tolerance


def test_tables_as_printed():
    assert (published.table1()["mean_covariance"].diff().dropna() < 0).all()
    table = published.table2()
    assert table.shape == (8, 9)
    printed, ours = table["printed_average"], table["recomputed_average"]
    assert ((printed - ours).abs() > 0.3).all()  # the printed average is no row's mean
    for averages in (printed, ours):
        for size, gain in (("7B", 2.0), ("32B", 6.4)):
            assert averages[size, "KL_Cov"] - averages[size, "GRPO"] == pytest.approx(
                gain, abs=0.06
            )
    gains = table.loc[("32B", "KL_Cov")] - table.loc[("32B", "GRPO")]
    assert gains[["AIME24", "AIME25"]].tolist() == pytest.approx([15.0, 14.6])
