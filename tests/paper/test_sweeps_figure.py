"""Sweeps have a line a coefficient, the baseline black, and each seed beside the ends' means."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from entropy_mech.paper import sweeps
from tests.paper.control_runs import runs
from tests.paper.legend import labels
from tests.paper.test_sweeps import DOSES, bonus_sweep, dose_settings


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def _colours(ax):
    return [handle.get_color() for handle in ax.get_legend().get_lines()]


def test_figure_9_has_a_line_a_coefficient_and_black_for_0():
    sweep, _ = bonus_sweep((0.02, 0.021, 0.03, 0.1, 1.2), noise=0.1)
    entropy, accuracy, ends, right = sweeps.sweep_figure(sweep, "entropy_bonus").axes
    assert labels(entropy) == [
        rf"$\alpha$ = {value}" for value in ("0", "0.0001", "0.001", "0.005", "0.01")
    ]
    colours = _colours(entropy)
    assert colours[0] == "#000000"
    assert len(set(colours)) == 5
    assert colours == _colours(accuracy)
    assert [text.get_text() for text in ends.get_xticklabels()][-1] == "0.01"
    for ax in (ends, right):  # three seeds of each coefficient
        assert [len(dots.get_offsets()) for dots in ax.collections] == [3] * 5


def test_figure_12_has_grpo_in_both_and_names_the_doses():
    frame = runs({name: (0.02 + 0.01 * i, 10.0, 0.9) for i, name in enumerate(DOSES)})
    figure = sweeps.dose_figure(frame, dose_settings())
    clip, kl = figure.axes[:2]
    assert labels(clip)[:2] == ["GRPO", "$r$ = 0.1"]
    assert labels(kl) == ["GRPO", r"$\beta$ = 0", r"$\beta$ = 0.5", r"$\beta$ = 1"]
    assert "Clip-Cov" in clip.get_title()
    assert clip.get_yscale() == kl.get_yscale() == "log"


def test_without_runs_a_note_says_why_there_is_no_picture():
    figures = [sweeps.sweep_figure(pd.DataFrame(), setting) for setting in sweeps.SWEPT]
    for figure in (*figures, sweeps.dose_figure(pd.DataFrame(), pd.DataFrame())):
        (ax,) = figure.axes
        assert "not digitised" in ax.texts[0].get_text()
