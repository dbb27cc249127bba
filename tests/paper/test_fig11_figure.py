"""Figure 11: one colour a method in every row, and only the rows there is something for."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from entropy_mech.paper import fig11
from entropy_mech.paper.fig11 import METHODS
from tests.paper.control_runs import FOUR_METHODS, runs


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def _colours(ax):
    return list(dict.fromkeys(line.get_color() for line in ax.get_lines()))


def test_four_rows_with_one_colour_a_method():
    figure = fig11.control_figure(runs(FOUR_METHODS))
    assert len(figure.axes) == 12
    assert len({tuple(_colours(ax)) for ax in figure.axes}) == 1
    assert len(set(_colours(figure.axes[0]))) == len(METHODS)
    for ours, theirs in zip(figure.axes[:6], figure.axes[6:], strict=True):
        assert ours.get_ylabel() == theirs.get_ylabel() != ""
        assert ours.get_title().startswith("Ours")
        assert theirs.get_title().startswith("Paper")
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == list(METHODS.values())


def test_without_runs_the_papers_two_rows_stand_alone():
    figure = fig11.control_figure(pd.DataFrame())
    assert len(figure.axes) == 6
    assert all(ax.get_title().startswith("Paper") for ax in figure.axes)


def test_one_size_is_drawn_beside_the_papers_same_size():
    figure = fig11.control_figure(
        runs({k: v for k, v in FOUR_METHODS.items() if "_32b_" in k}, seeds=(2,))
    )
    titles = [ax.get_title() for ax in figure.axes]
    assert len(titles) == 6
    assert titles[0] == "Ours (toy stand-in): Qwen2.5-32B, 1 seed"
    assert "32B" in titles[-1]


def test_entropy_alone_has_the_methods_there_are_beside_the_papers():
    names = ("fig11_7b_grpo", "fig11_7b_kl_cov")
    ours, paper = fig11.entropy_figure(runs({name: FOUR_METHODS[name] for name in names})).axes
    assert [text.get_text() for text in ours.get_legend().get_texts()] == ["GRPO", "KL-Cov"]
    assert _colours(ours) == [_colours(paper)[0], _colours(paper)[3]]
    assert len(fig11.entropy_figure(pd.DataFrame()).axes) == 1
