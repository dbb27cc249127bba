"""One curve for several groups: the test has its size, finds differences, and counts seeds."""

import numpy as np
import pandas as pd
import pytest

from entropy_mech.paper import law_groups
from entropy_mech.paper.law_groups import ALGORITHMS, TRAINING_SETS, by_run, law_fits
from tests.paper.law_runs import law_run

RUNS = list(ALGORITHMS)


def _frame(labels=ALGORITHMS, *, shift=0.0, scatter=0.05, noise=0.01, seeds=3, draw=0):
    """Return runs whose a and b scatter from run to run; the second group's a is shifted."""
    stream = np.random.default_rng(draw)
    parts = []
    for i, run in enumerate(labels):
        for seed in range(1, seeds + 1):
            a, b = 0.6 + scatter * stream.standard_normal() + shift * (i == 1), 1.3
            parts.append(law_run(run, 100 * draw + seed, a=a, b=b, noise=noise))
            parts[-1]["seed"] = seed
    return by_run(pd.concat(parts), labels)


def test_two_groups_are_hotellings_paired_test():
    # With two groups Wilks' F is Hotelling's T^2 of the paired differences, exactly.
    frame = _frame(dict(list(ALGORITHMS.items())[:2]), shift=0.05, seeds=6)
    fits = law_fits(frame).set_index(["group", "seed"])[["a", "b"]]
    d = (fits.loc["RLOO"] - fits.loc["GRPO"]).to_numpy()
    t2 = 6 * d.mean(axis=0) @ np.linalg.solve(np.cov(d.T), d.mean(axis=0))
    test = law_groups.shared_law_test(frame)
    assert (test["df1"], test["df2"]) == (2, 4)
    assert test["f"] == pytest.approx(t2 * (6 - 2) / (2 * (6 - 1)), rel=1e-6)


def test_no_more_than_one_in_twenty_is_rejected_where_nothing_differs(monkeypatch):
    monkeypatch.setattr(law_groups, "_PERMUTATIONS", 199)
    tests = [law_groups.shared_law_test(_frame(draw=draw), seed=draw) for draw in range(120)]
    for name in ("p_f", "p_permutation"):
        rejected = np.mean([test[name] <= 0.05 for test in tests])
        assert rejected <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 120), name
        # Points taken as independent would reject nearly always: runs scatter far more.
        assert np.median([test[name] for test in tests]) > 0.3


def test_a_group_apart_is_found():
    test = law_groups.shared_law_test(_frame(shift=0.6))
    assert test["p_f"] < 0.001
    assert test["p_permutation"] < 0.05


def test_what_a_seed_does_to_all_groups_alike_does_not_matter():
    frame = _frame(shift=0.1)
    moved = frame.assign(
        validation_accuracy=frame["validation_accuracy"]
        + 0.2 * frame["seed"] * np.exp(frame["entropy_nats"])
    )
    first, second = (law_groups.shared_law_test(f)["f"] for f in (frame, moved))
    assert second == pytest.approx(first, rel=1e-6)


def test_sharing_costs_nothing_where_the_law_is_one_and_something_where_it_is_not():
    same = law_groups.sharing_cost(_frame(scatter=0.0, noise=0.0))
    np.testing.assert_allclose(same["cost"], 0.0, atol=1e-7)
    assert (law_groups.sharing_cost(_frame(shift=0.6))["cost"] > 0.05).all()


def test_algorithm_claims_can_be_met_and_missed():
    alike = law_groups.algorithm_claims(_frame(scatter=0.0, noise=0.002))
    assert alike[0].verdict == "holds"
    assert {claim.verdict for claim in alike[1:]} == {"reproduced"}
    apart = law_groups.algorithm_claims(_frame(shift=0.6, scatter=0.01))
    assert apart[0].verdict == "does not hold"
    assert apart[1].verdict == "contradicted"
    assert [c.verdict for c in apart if c.statement.startswith("RLOO's a")] == ["contradicted"]


def test_training_sets_must_differ():
    apart = law_groups.training_set_claims(_frame(TRAINING_SETS, shift=0.6, scatter=0.01))
    assert [claim.verdict for claim in apart[3:]] == ["holds", "reproduced"]
    alike = law_groups.training_set_claims(_frame(TRAINING_SETS, scatter=0.0, noise=0.002))
    assert [claim.verdict for claim in alike[3:]] == ["does not hold", "contradicted"]


@pytest.mark.parametrize("seeds", [1, 2])
def test_few_seeds_give_numbers_and_no_verdict(seeds):
    claims = law_groups.algorithm_claims(_frame(seeds=seeds))
    assert {claim.verdict for claim in claims} == {"no verdict"}
    assert len(law_groups.sharing_cost(_frame(seeds=seeds))) == seeds


def test_one_group_has_nothing_to_share():
    one = _frame({RUNS[0]: "GRPO"})
    assert np.isnan(law_groups.shared_law_test(one)["p_permutation"])
    assert law_groups.algorithm_claims(one)[0].verdict == "no verdict"
    (claim,) = law_groups.algorithm_claims(pd.DataFrame())
    assert claim.verdict == "no verdict"
