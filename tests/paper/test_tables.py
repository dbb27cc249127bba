"""A table says the same in HTML, Markdown and LaTeX, and each escapes what it must."""

import pandas as pd
import pytest

from entropy_mech.paper.style import Table


@pytest.fixture
def table():
    cells = pd.DataFrame({"a_b": ["1.0", "<2>"], "50 %": ["3 ± 1", "−4"]}, index=["GRPO", "x & y"])
    bold = pd.DataFrame({"a_b": [False, True], "50 %": [True, False]}, index=cells.index)
    return Table(cells.rename_axis("method"), bold, "Percent, best in bold")


def test_markdown(table):
    assert table.markdown() == (
        "Percent, best in bold\n\n"
        "| method | a_b | 50 % |\n"
        "| --- | ---: | ---: |\n"
        "| GRPO | 1.0 | **3 ± 1** |\n"
        "| x & y | **<2>** | −4 |\n"
    )


def test_latex_escapes_and_is_balanced(table):
    text = table.latex()
    assert r"method & a\_b & 50 \% \\" in text
    assert r"x \& y & \bfseries <2> & -4 \\" in text
    assert text.count(r"\begin") == text.count(r"\end") == 2
    assert r"GRPO & 1.0 & \bfseries 3 $\pm$ 1 \\" in text


def test_html_escapes(table):
    text = table._repr_html_()
    assert ">&lt;2&gt;</td>" in text
    assert ">x &amp; y</th>" in text
    assert "row0_col1, " in text.split("font-weight: bold")[0]
