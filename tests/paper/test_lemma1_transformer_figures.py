"""The transformer check is drawn with all its predictions, runs and bins."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from entropy_mech.paper import lemma1
from entropy_mech.paper.lemma1 import (
    PREDICTIONS,
    RUNS,
    agreement,
    batch_means,
    transformer_claims,
)


@pytest.fixture
def frame():
    rng = np.random.default_rng(0)
    rows = []
    for run in RUNS:
        for seed in (1, 2, 3):
            for step in (0, 8):
                exact = rng.normal(size=40)
                rows.append(
                    pd.DataFrame(
                        {
                            "run": run,
                            "seed": seed,
                            "step": step,
                            "exact": exact,
                            "visits": rng.integers(1, 9, 40).astype(float),
                            "entropy_nats": rng.choice([5e-4, 5e-3, 0.05, 0.3, 0.9], 40),
                            "first_order": exact + 0.01 * rng.normal(size=40),
                            "second_order": exact,
                            "theorem1": 7 * exact,
                            "theorem2": -exact,
                        }
                    )
                )
    return pd.concat(rows, ignore_index=True)


def test_only_tabular_predictions_are_scaled(frame, ax):
    lemma1.predicted_and_exact(frame, "first_order", ax)
    assert "no fitted number" in ax.get_xlabel()
    plt.cla()
    lemma1.predicted_and_exact(frame, "theorem1", ax)
    assert r"$\eta$ = 0.14, fitted" in ax.get_xlabel()  # 1 / 7
    assert len(ax.collections[0].get_offsets()) == len(frame)


def test_every_run_and_bin_is_there(frame, ax):
    lemma1.correlation_over_training(frame, ax)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert set(RUNS.values()) <= set(labels)
    plt.cla()
    lemma1.gap_by_entropy(frame, ax)
    ticks = [text.get_text() for text in ax.get_xticklabels()]
    assert ticks[0] == "0.5 and more"  # entropy falls to the right
    assert ticks[-1] == "0 to 0.001"
    assert [text.get_text() for text in ax.get_yticklabels()] == list(PREDICTIONS.values())
    assert len(ax.texts) == len(ticks) * len(PREDICTIONS)


def test_claims_follow_the_correlations(frame):
    verdicts = [claim.verdict for claim in transformer_claims(frame)]
    # Lemma 1 twice; then, for AdamW and SGD each: Theorem 1, Theorem 2, Theorem 1's sign.
    shown, against = "reproduced", "contradicted"
    assert verdicts == [shown, shown, shown, against, shown, shown, against, shown]


def test_figures_are_of_the_first_seed_and_of_all(frame):
    figure = lemma1.one_step_figure(frame[frame["seed"] > 1])
    assert [len(ax.collections[0].get_offsets()) for ax in figure.axes] == [40, 40, 40]
    assert len(lemma1.training_figure(frame).axes) == 3  # a colour bar too
    plt.close("all")


def test_batch_means_count_visits(frame):
    means = batch_means(frame)
    first = frame[(frame["run"] == means["run"][0]) & (frame["seed"] == 1) & (frame["step"] == 0)]
    assert means["exact"][0] == pytest.approx(np.average(first["exact"], weights=first["visits"]))
    assert means["theorem1"].corr(means["exact"]) == pytest.approx(1.0)


def test_without_runs_there_is_figure_8_and_a_sentence():
    empty = pd.DataFrame()
    assert "Fig. 8" in lemma1.one_step_figure(empty).axes[0].get_title()
    (ax,) = lemma1.training_figure(empty).axes
    assert "nothing of its own" in ax.texts[0].get_text()
    assert agreement(empty, ["run"]).empty
    (fact,) = transformer_claims(empty)
    assert fact.holds
    plt.close("all")
