"""The ledger of re-runs: margins by hand, facts that follow the numbers, sources."""

import pandas as pd
import pytest

from entropy_mech.paper import reruns

LEDGER = reruns.ledger()


def _margin(over, source, method, **more):
    found = reruns.margins(LEDGER, over)
    for column, value in {"source": source, "method": method, **more}.items():
        found = found[found[column] == value]
    return found["margin"].round(2).tolist()


@pytest.mark.parametrize(
    ("over", "source", "method", "more", "expected"),
    [
        ("grpo", "the paper", "kl_cov", {}, [2.0, 6.4]),
        ("grpo", "Lp-Reg", "kl_cov", {"model": "Qwen3-14B-Base"}, [6.16, -0.14]),
        ("grpo", "GRPODropout", "clip_cov", {"model": "Qwen3-1.7B"}, [-9.14]),
        ("untrained", "GRPODropout", "clip_cov", {}, [-5.17]),
        ("grpo", "STEER", "clip_cov", {}, [1.5, -1.7]),
        ("clip_higher", "QAE", "kl_cov", {}, [5.21, -6.09]),
        ("grpo", "QAE", "kl_cov", {}, []),
        ("grpo", "CaSP/SimKO", "kl_cov", {"metric": "diversity"}, [2.9]),
        ("grpo", "ReLaX", "kl_cov", {}, []),
    ],
)
def test_margins_are_within_one_source(over, source, method, more, expected):
    assert _margin(over, source, method, **more) == expected


def test_protocols_of_one_source_are_not_mixed():
    rows = LEDGER[LEDGER["source"] == "CaSP/SimKO"]
    assert len(reruns.margins(rows, "grpo")) == 2  # pass@1 with pass@1, pass@256 with pass@256


def test_every_number_has_a_source_and_an_origin():
    assert LEDGER["arxiv"].str.fullmatch(r"(\d{4}\.\d{5})?").all()
    unknown = LEDGER[LEDGER["arxiv"] == ""]
    assert set(unknown["source"]) == {"GRPODropout", "CANON"}
    assert set(LEDGER["origin"]) == {"the paper", "own runs", "second hand", "copied"}
    assert LEDGER["score"].dropna().between(0, 100).all()
    copied = LEDGER[LEDGER["origin"] == "copied"]
    assert copied["score"].isna().all()  # the paper's digits are not counted twice


def test_facts_say_what_reproduces_and_what_does_not():
    verdicts = {fact.statement: fact.verdict for fact in reruns.rerun_facts(LEDGER)}
    holding = {statement for statement, verdict in verdicts.items() if verdict == "holds"}
    assert len(verdicts) == 11
    assert {statement.partition(" ")[0] for statement in holding} == {"KL-Cov", "Diversity"}


def test_a_ledger_without_the_failure_has_another_verdict():
    mended = LEDGER.copy()
    low = (mended["method"] == "clip_cov") & (mended["parameters_billion"] == 1.7)
    mended.loc[low, "score"] = 55.0
    before, after = (
        next(f for f in reruns.rerun_facts(table) if "at 1.7B" in f.statement)
        for table in (LEDGER, mended)
    )
    assert (before.holds, after.holds) == (False, True)
    assert "55.0 against 50.2" in after.ours


def test_second_hand_numbers_are_drawn_open():
    figure = reruns.forest_figure(LEDGER)
    left, right = figure.axes
    assert [t.get_text() for t in left.get_legend().get_texts()][-1] == "second hand"
    assert "second hand" not in [t.get_text() for t in right.get_legend().get_texts()]
    labels = [t.get_text() for t in left.get_yticklabels()]
    assert labels[:2] == ["the paper: Qwen2.5-7B", "the paper: Qwen2.5-32B"]
    assert len(labels) == len(set(labels))


def test_scores_at_32b_stand_beside_the_papers():
    ax = reruns.again_figure(LEDGER).axes[1]
    heights = sorted(round(bar.get_height(), 1) for bar in ax.patches if bar.get_height() > 0)
    assert heights == sorted([21.8, 16.2, 36.8, 30.8, 30.6, 22.3, 35.6, 27.5])


def test_the_papers_rows_are_its_table():
    paper = LEDGER[LEDGER["source"] == "the paper"].set_index(["model", "method"])["score"]
    assert paper["Qwen2.5-32B", "kl_cov"] == 52.2
    assert isinstance(paper, pd.Series)
    assert len(paper) == 8
