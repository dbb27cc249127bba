"""The scopes of Listing 1: a bar a method and scope, with its number."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from entropy_mech.paper import listing1


@pytest.fixture
def scopes():
    names = ["micro_batch of 1", "mini_batch", "rollout_batch"]
    return pd.DataFrame(
        {
            "method": ["Clip-Cov"] * 3 + ["KL-Cov"] * 3,
            "scope": names * 2,
            "touched": [0.0, 10.0, 100.0, 300.0, 30.0, 3.0],
            "overlap": [0.0, 0.5, 1.0, 0.1, 0.8, 1.0],
        }
    )


def test_bars_stand_in_the_order_of_the_scopes(scopes):
    figure, (left, right) = plt.subplots(1, 2)
    listing1.overlaps(scopes, left)
    heights = [bar.get_height() for bars in left.containers for bar in bars]
    assert heights == [0.0, 0.5, 1.0, 0.1, 0.8, 1.0]
    assert [text.get_text() for text in left.get_xticklabels()] == [
        "1", "mini\nbatch", "rollout\nbatch",
    ]  # fmt: skip
    listing1.counts(scopes, right)
    assert [text.get_text() for text in right.texts] == ["0", "10", "100", "300", "30", "3"]
    assert right.get_yscale() == "symlog"
    plt.close(figure)
