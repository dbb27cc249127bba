"""The law by group: known coefficients come back, and what cannot be fitted says so."""

import numpy as np
import pandas as pd
import pytest

from entropy_mech.paper import law_groups
from tests.paper.law_runs import flat_run, law_run, law_runs

WORDS = {"of": "models", "paper_r2": "", "paper_ceiling": ""}


def _models(**more):
    return law_groups.by_model(
        law_runs({"fig03_mistral_7b": (0.5, 1.1), "fig03_qwen2.5_3b": (0.3, 0.9)}, **more)
    )


def test_groups_are_in_the_papers_order_and_give_their_coefficients_back():
    fits = law_groups.law_fits(_models())
    assert fits["group"].unique().tolist() == ["Qwen2.5-3B", "Mistral-7B-v0.3"]
    np.testing.assert_allclose(fits["a"], [0.3] * 3 + [0.5] * 3)
    np.testing.assert_allclose(fits["ceiling"], 0.6)
    assert set(fits["points"]) == {15}
    assert set(fits["note"]) == {""}


def test_a_run_without_a_fit_says_why_and_the_others_stay():
    frame = law_groups.by_model(
        pd.concat([_models(), flat_run("fig03_llama3.2_3b", 1), flat_run("fig03_llama3.2_3b", 2)])
    )
    table = law_groups.law_table(frame)
    assert table.loc["LLaMA3.2-3B", "note"].startswith("no fit: entropy_nats = 0.4 everywhere")
    assert table.loc["LLaMA3.2-3B", "a"] == "-"
    assert table.loc["Qwen2.5-3B", "note"] == ""


def test_odd_fits_are_noted():
    wrong_way = law_groups.by_model(law_run("fig03_qwen2.5_7b", 1, a=-0.5, b=0.1))
    assert law_groups.law_fits(wrong_way)["note"].tolist() == [
        "a is negative: accuracy fell as entropy fell"
    ]
    constant = law_groups.by_model(law_run("fig03_qwen2.5_7b", 1, a=0.0, b=0.5))
    assert law_groups.law_fits(constant)["note"].tolist() == ["accuracy is constant"]


def test_interval_over_seeds_is_students():
    frame = pd.concat(
        law_run("fig03_qwen2.5_7b", seed, a=a, b=1.5) for seed, a in enumerate((0.4, 0.5, 0.6), 1)
    )
    half = 4.302653 * 0.1 / np.sqrt(3)
    found = law_groups.law_table(law_groups.by_model(frame)).loc["Qwen2.5-7B", "a"]
    assert found == f"0.5 [{0.5 - half:.3g}, {0.5 + half:.3g}]"


def test_one_seed_has_no_interval_and_no_verdict():
    frame = _models(seeds=1, noise=0.02)
    assert "[" not in law_groups.law_table(frame).loc["Qwen2.5-3B", "a"]
    verdicts = {claim.verdict for claim in law_groups.law_claims(frame, **WORDS)}
    assert verdicts == {"no verdict"}


def test_claims_hold_on_the_law_and_fail_off_it():
    exact = [claim.verdict for claim in law_groups.law_claims(_models(noise=0.005), **WORDS)]
    assert exact == ["reproduced"] * 3
    noise = [claim.verdict for claim in law_groups.law_claims(_models(noise=1.0), **WORDS)]
    assert noise[0] == "contradicted"
    assert "reproduced" not in noise


def test_greedy_accuracy_is_fitted_beside_the_sampled():
    frame = _models().assign(validation_greedy_accuracy=lambda f: f["validation_accuracy"])
    frame.loc[frame["seed"] == 2, "validation_greedy_accuracy"] *= -1.0
    sampled, greedy, *_ = law_groups.law_claims(frame, **WORDS)
    assert "temperature 1" in sampled.statement
    assert "greedy" in greedy.statement
    assert greedy.verdict == sampled.verdict == "reproduced"  # R^2 knows no sign
    noise = np.random.default_rng(0).normal(size=len(frame))
    frame["validation_greedy_accuracy"] = frame["validation_accuracy"] * 0 + noise
    assert law_groups.law_claims(frame, **WORDS)[1].verdict == "contradicted"
    table = law_groups.law_table(frame)
    assert table.loc["Qwen2.5-3B", "R^2"] != table.loc["Qwen2.5-3B", "R^2, greedy"]


def test_a_model_without_a_fit_counts_against_the_law():
    flat = [flat_run(f"fig03_{m}", s) for m in ("llama3.2_3b", "llama3.1_8b") for s in (1, 2, 3)]
    one_of_three = law_groups.by_model(
        pd.concat([law_runs({"fig03_qwen2.5_3b": (0.5, 1.1)}), *flat])
    )
    median, share, ceiling = law_groups.law_claims(one_of_three, **WORDS)
    assert median.interval.estimate == 0.0
    assert share.interval.estimate == pytest.approx(1 / 3)
    assert ceiling.verdict == "no verdict"


def test_published_points_give_the_authors_coefficients_back():
    assert [fact.verdict for fact in law_groups.maths_claims(pd.DataFrame())] == ["holds"] * 3
    (claim,) = law_groups.code_claims(pd.DataFrame())
    assert claim.verdict == "no verdict"
    assert law_groups.law_table(law_groups.by_model(pd.DataFrame())).empty
