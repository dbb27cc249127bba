"""Figures are compared by what they draw, not by pixels."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest

from entropy_mech import published
from entropy_mech.figures import collapse, covariance
from entropy_mech.findings.covariance import covariance_tail, tail_beside_paper
from tests.findings.test_claims import _covariance_runs, _exact_law, _runs


@pytest.fixture
def ax():
    figure, axes = plt.subplots()
    yield axes
    plt.close(figure)


def _labels(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_law_draws_every_validation_and_names_the_fit(ax):
    collapse.law(_runs(_exact_law), ax)
    assert [len(points.get_offsets()) for points in ax.collections] == [10, 10, 10]
    assert ax.xaxis_inverted()
    assert ax.get_xscale() == "log"
    assert "a = 1.00, b = 1.90, ceiling 0.90, $R^2$ = 1.000" in _labels(ax)[0]
    assert "nats" in ax.get_xlabel()
    assert "fraction" in ax.get_ylabel()


def test_entropy_and_accuracy_share_a_legend_and_name_their_units(ax):
    collapse.entropy_and_accuracy(_runs(_exact_law), ax)
    (right,) = [a for a in ax.figure.axes if a is not ax]
    assert _labels(ax) == ["entropy", "validation accuracy"]
    assert "nats" in ax.get_ylabel()
    assert "fraction" in right.get_ylabel()
    assert len(ax.get_lines()[0].get_xdata()) == 40
    assert len(right.get_lines()[0].get_xdata()) == 10  # the validated steps only


def test_published_law_has_all_sizes_and_points(ax):
    collapse.published_law(ax)
    assert len(_labels(ax)) == 5
    drawn = sum(len(points.get_offsets()) for points in ax.collections)
    points = published.load("fig01_right")
    assert drawn == (points["kind"] == "point").sum() == 272


def test_covariance_and_fall_put_zero_at_one_height(ax):
    covariance.covariance_and_fall(_covariance_runs(0.5), ax)
    (right,) = [a for a in ax.figure.axes if a is not ax]
    heights = [-a.get_ylim()[0] / (a.get_ylim()[1] - a.get_ylim()[0]) for a in (ax, right)]
    assert heights[0] == pytest.approx(heights[1])
    assert len(ax.get_legend().get_texts()) == 2


def test_by_difficulty_draws_three_groups(ax):
    covariance.by_difficulty(_covariance_runs(0.5), ax)
    assert _labels(ax) == ["accuracy 0.125", "accuracy 0.5", "accuracy 0.875"]


def test_tail_draws_ours_beside_table_1(ax):
    import pandas as pd

    tokens = pd.DataFrame({"seed": 1, "covariance": np.linspace(0.01, 5, 2000)})
    covariance.tail(tail_beside_paper(covariance_tail(tokens)), ax)
    paper = ax.get_lines()[1].get_ydata()
    assert list(paper) == published.table1()["mean_covariance"].tolist()
    assert ax.get_xscale() == ax.get_yscale() == "log"
