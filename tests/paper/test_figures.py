"""Figures are compared by what they draw, not by pixels."""

import matplotlib

matplotlib.use("Agg")


from entropy_mech.paper import fig01, published
from tests.paper.legend import labels
from tests.paper.test_claims import _exact_law, _runs


def test_law_draws_every_validation_and_names_the_fit(ax):
    fig01.law(_runs(_exact_law), ax)
    assert [len(points.get_offsets()) for points in ax.collections] == [30]  # ten a seed
    assert ax.xaxis_inverted()
    assert ax.get_xscale() == "log"
    assert "a = 1.00, b = 1.90, ceiling 0.90, $R^2$ = 1.000" in labels(ax)[0]
    assert "nats" in ax.get_xlabel()
    assert "fraction" in ax.get_ylabel()


def test_entropy_and_accuracy_share_a_legend_and_name_their_units(ax):
    fig01.entropy_and_accuracy(_runs(_exact_law), ax)
    (right,) = [a for a in ax.figure.axes if a is not ax]
    assert labels(ax) == ["entropy", "accuracy"]
    assert "nats" in ax.get_ylabel()
    assert "fraction" in right.get_ylabel()
    assert len(ax.get_lines()[0].get_xdata()) == 40
    assert len(right.get_lines()[0].get_xdata()) == 10  # the validated steps only


def test_published_law_has_all_sizes_and_points(ax):
    fig01.published_law(ax)
    assert len(labels(ax)) == 5
    drawn = sum(len(points.get_offsets()) for points in ax.collections)
    points = published.load("fig01_right")
    assert drawn == (points["kind"] == "point").sum() == 272
