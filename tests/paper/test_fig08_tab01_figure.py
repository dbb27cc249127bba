"""Figure 8 and Table 1: zeros at one height, three groups, the paper's numbers beside ours."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from entropy_mech.paper import fig08_tab01, published
from entropy_mech.paper.fig08_tab01 import (
    covariance_and_change,
    covariance_by_accuracy,
    covariance_tail,
)
from tests.paper.control_runs import covariance_runs
from tests.paper.legend import labels


def test_covariance_and_fall_put_zero_at_one_height(ax):
    fig08_tab01.covariance_and_fall(covariance_and_change(covariance_runs(0.5)), ax)
    (right,) = [a for a in ax.figure.axes if a is not ax]
    heights = [-a.get_ylim()[0] / (a.get_ylim()[1] - a.get_ylim()[0]) for a in (ax, right)]
    assert heights[0] == pytest.approx(heights[1])
    assert len(ax.get_legend().get_texts()) == 2


def test_by_difficulty_draws_three_groups(ax):
    fig08_tab01.by_difficulty(covariance_by_accuracy(covariance_runs(0.5)), ax)
    assert labels(ax) == ["accuracy 0.125", "accuracy 0.5", "accuracy 0.875"]


def test_tail_draws_ours_beside_table_1(ax):
    tokens = pd.DataFrame({"seed": 1, "covariance": np.linspace(0.01, 5, 2000)})
    fig08_tab01.tail_panel(covariance_tail(tokens), ax)
    paper = ax.get_lines()[1].get_ydata()
    assert list(paper) == published.table1()["mean_covariance"].tolist()
    assert ax.get_xscale() == ax.get_yscale() == "log"


def test_figure_8_has_the_papers_row_below_ours_or_alone():
    figure = fig08_tab01.covariance_figure(covariance_runs(0.5))
    titles = [ax.get_title() for ax in figure.axes if ax.get_title()]
    assert [title.split(":")[0] for title in titles] == ["Ours", "Ours", "Paper", "Paper"]
    alone = fig08_tab01.covariance_figure(pd.DataFrame())
    titles = [ax.get_title() for ax in alone.axes if ax.get_title()]
    assert [title.split(":")[0] for title in titles] == ["Paper", "Paper"]
    plt.close("all")


def test_the_tail_as_a_table_and_the_papers_alone(ax):
    tokens = pd.DataFrame({"seed": 1, "covariance": np.linspace(0.01, 5, 2000)})
    table = fig08_tab01.tail_table(covariance_tail(tokens))
    assert table.cells.index[0] == "top 0.02 %"
    assert table.cells.iloc[-1].tolist()[:2] == ["0.003", "2.505"]
    alone = covariance_tail(pd.DataFrame())
    assert fig08_tab01.tail_table(alone).cells.shape == (6, 1)
    fig08_tab01.tail_panel(alone, ax)
    assert len(ax.get_lines()) == 1
