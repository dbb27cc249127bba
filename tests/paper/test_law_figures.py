"""The figures of the law, compared by what they draw."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from entropy_mech.paper import fig01, fig02, fig05, fig07, law_groups
from entropy_mech.paper.fig05 import forecast_runs
from entropy_mech.paper.fig07 import coefficients
from entropy_mech.paper.law_groups import ALGORITHMS, by_model, by_run
from tests.paper.law_runs import flat_run, law_runs
from tests.paper.legend import labels

EMPTY = pd.DataFrame()
MODELS = {
    "fig03_qwen2.5_3b": (0.4, 1.0),
    "fig03_qwen2.5_7b": (0.5, 1.2),
    "fig03_mistral_7b": (0.3, 0.8),
}


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def test_families_have_a_panel_each_beside_the_papers():
    figure = law_groups.families_figure(by_model(law_runs(MODELS)), paper=fig01.published_law)
    titles = [ax.get_title() for ax in figure.axes if ax.get_title()]
    assert titles[:2] == ["Ours: Qwen2.5, 3 seeds", "Ours: Mistral, 3 seeds"]
    assert titles[2].startswith("Paper: Qwen2.5 family")
    for ax in figure.axes[:3]:
        assert ax.xaxis_inverted()
        assert ax.get_xscale() == "log"
        assert "fraction" in ax.get_ylabel()
    assert labels(figure.axes[0]) == ["Qwen2.5-3B: $R^2$ = 1.00", "Qwen2.5-7B: $R^2$ = 1.00"]


def test_the_line_is_the_curve_of_the_mean_coefficients():
    _, ax = plt.subplots()
    frame = by_model(law_runs({"fig03_qwen2.5_3b": (0.4, 1.0)}, noise=0.02))
    law_groups.law_panel(frame, ax)
    (line,) = ax.get_lines()
    fits = law_groups.law_fits(frame)
    np.testing.assert_allclose(
        line.get_ydata(), fits["b"].mean() - fits["a"].mean() * np.exp(line.get_xdata())
    )
    dots = ax.collections[0]
    assert len(dots.get_offsets()) == 45
    assert len({path.vertices.tobytes() for path in dots.get_paths()}) == 3  # a marker a seed


def test_a_group_without_a_fit_keeps_its_dots_and_says_so():
    frame = pd.concat([law_runs({"fig03_qwen2.5_3b": (0.4, 1.0)}), flat_run("fig03_qwen2.5_7b", 1)])
    _, ax = plt.subplots()
    law_groups.law_panel(by_model(frame), ax)
    assert labels(ax)[1] == "Qwen2.5-7B: no fit"
    law_groups.coefficient_panel(by_model(frame), "a", plt.subplots()[1])


def test_groups_have_their_coefficients_with_each_seed():
    runs = dict.fromkeys(ALGORITHMS, (0.5, 1.2))
    figure = law_groups.groups_figure(
        by_run(law_runs(runs, noise=0.01), ALGORITHMS), title="one model"
    )
    law, a, b = figure.axes
    assert law.get_title() == "Ours: one model, 3 seeds"
    assert [t.get_text() for t in a.get_yticklabels()] == list(ALGORITHMS.values())
    assert a.get_ylim() == b.get_ylim()
    assert "95 %" in b.get_xlabel()


@pytest.mark.parametrize("seeds", [1, 3])
def test_early_figure_draws_both_domains_beside_the_printed_shares(seeds):
    names = [f"fig{d}_{model}" for d in ("03", "04") for model in ("qwen2.5_7b", "mistral_7b")]
    runs = dict.fromkeys(names, (0.5, 1.2))
    figure = fig02.early_figure(law_runs(runs, seeds=seeds))
    assert len(figure.axes) == 4
    assert figure.axes[0].get_title().startswith("Maths: 2 models")
    assert figure.axes[2].get_title().startswith("Code: 2 models")
    bars = [bar.get_height() for bar in figure.axes[0].patches]
    assert sum(bars[:3]) == pytest.approx(1.0)  # three parts make the whole
    assert bars[3:6] == pytest.approx([0.73, 0.21, 0.06])


def test_forecast_panel_tells_fitted_from_forecast():
    figure = fig05.forecast_figure(forecast_runs(law_runs(MODELS)))
    (ax,) = figure.axes
    dots = [len(line.get_xdata()) for line in ax.get_lines() if line.get_marker() == "o"]
    assert dots[:2] == [9, 36]  # three seeds' first three validations, and the rest
    assert "first 15 %: fitted" in labels(ax)


def test_sizes_figure_has_the_papers_column_last():
    models = pd.DataFrame(
        {"model": ["qwen2.5_3b", "qwen2.5_7b", "mistral_7b"], "parameters": [9e3, 9e4, 9e5]}
    )
    figure = fig07.sizes_figure(coefficients(law_runs(MODELS), models))
    assert len(figure.axes) == 4
    assert "digitised" in figure.axes[1].get_title()
    ticks = [t.get_text() for t in figure.axes[0].get_xticklabels()]
    assert ticks == ["9k", "90k", "900k"]
    assert figure.axes[0].get_ylabel().startswith("a ")
    assert figure.axes[2].get_ylabel().startswith("b ")


def test_sizes_too_close_to_be_written_share_a_label():
    assert fig07._tick_labels(np.array([9e3, 31e3, 35e3, 700e3])) == ["9k", "31k", "", "700k"]


def test_without_runs_the_papers_numbers_stand_alone():
    assert len(fig01.collapse_figure(EMPTY).axes) == 3
    (ax,) = law_groups.families_figure(EMPTY, paper=fig01.published_law).axes
    assert len(labels(ax)) == 5
    for figure in (
        law_groups.families_figure(EMPTY),
        law_groups.groups_figure(EMPTY, title=""),
    ):
        assert "not digitised" in figure.axes[0].texts[0].get_text()
    assert len(fig02.early_figure(EMPTY).axes) == 1
    assert len(fig05.forecast_figure(EMPTY).axes) == 1
    assert len(fig07.sizes_figure(EMPTY).axes) == 2
