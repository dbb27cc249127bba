"""Table 2 for readers: best in bold within a size, the paper's beside, gains with intervals."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from entropy_mech.paper import tab02
from tests.paper.test_tab02 import LEVEL, evaluations


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def test_best_of_each_size_is_bold():
    table = tab02.our_table(evaluations(LEVEL))
    assert table.cells.shape == (8, 9)
    assert table.cells.columns[-1] == "Avg."
    assert table.bold["Avg."].tolist() == [
        False, False, True, False, False, False, False, True,
    ]  # fmt: skip
    assert table.cells.loc["Qwen2.5-7B GRPO", "maths 2"] == "62.0 ± 2.5"
    assert "**66.0 ± 2.5**" in table.markdown()
    assert r"\bfseries 66.0 $\pm$ 2.5" in table.latex()


def test_equal_as_shown_is_equally_good_and_one_seed_has_no_interval():
    level = {**LEVEL, "fig11_7b_kl_cov": LEVEL["fig11_7b_clip_cov"] + 1e-5}
    table = tab02.our_table(evaluations(level, seeds=(1,)))
    assert table.bold["Avg."].tolist()[:4] == [False, False, True, True]
    assert table.cells.iloc[0, 0] == "61.0"


def test_where_all_are_equal_none_is_best():
    table = tab02.our_table(evaluations(dict.fromkeys(LEVEL, 0.5)))
    assert not table.bold.to_numpy().any()
    assert "3 seeds" in table.caption
    assert "one seed" in tab02.our_table(evaluations(LEVEL, seeds=(1,))).caption


def test_the_papers_table_has_both_averages():
    table = tab02.published_table()
    row = table.cells.loc["Qwen2.5-32B KL-Cov"]
    assert row[["Avg. printed", "Avg. recomputed"]].tolist() == ["52.2", "51.6"]
    assert table.bold.loc["Qwen2.5-7B KL-Cov", "Avg. printed"]
    assert table.bold.loc["Qwen2.5-7B Clip-Cov", "Avg. recomputed"]


def test_gains_are_drawn_beside_the_papers_or_the_papers_alone():
    figure = tab02.gains_figure(evaluations(LEVEL))
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == [
        "Ours (toy stand-in): Qwen2.5-7B",
        "Ours (toy stand-in): Qwen2.5-32B",
        "Paper (Table 2): Qwen2.5-7B",
        "Paper (Table 2): Qwen2.5-32B",
    ]
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == ["Clip-higher", "Clip-Cov", "KL-Cov"]
    assert len(tab02.gains_figure(pd.DataFrame()).axes) == 2
    assert tab02.our_table(pd.DataFrame()).cells.empty
