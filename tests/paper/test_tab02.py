"""Table 2: means weigh benchmarks alike, gains are seed by seed, the paper's sums redone."""

import pandas as pd
import pytest

from entropy_mech.paper import tab02
from entropy_mech.paper.fig11 import METHODS, SIZES
from tests.paper.control_runs import FOUR_METHODS

SHOWN, AGAINST = "reproduced", "contradicted"
NAMES = [f"toy_maths_{n}" for n in (2, 4, 5, 8, 12)] + [f"toy_code_{n}" for n in (2, 4, 8)]


def evaluations(level, seeds=(1, 2, 3), names=tuple(FOUR_METHODS)):
    """Accuracies: ``level[run]``, harder by 0.05 a benchmark, with a shift of each seed."""
    return pd.DataFrame(
        [
            {
                "run": run,
                "seed": seed,
                "model": "qwen2.5_32b" if "32b" in run else "qwen2.5_7b",
                "benchmark": name,
                "accuracy": level[run] - 0.05 * i + 0.01 * seed,
                "standard_error": 0.02,
                "problems": 27 if name == "toy_maths_2" else 100,
                "samples": 1,
            }
            for run in names
            for seed in seeds
            for i, name in enumerate(NAMES)
        ]
    )


LEVEL = {
    "fig11_7b_grpo": 0.60,
    "fig11_7b_clip_higher": 0.62,
    "fig11_7b_clip_cov": 0.64,
    "fig11_7b_kl_cov": 0.57,
    "fig11_32b_grpo": 0.80,
    "fig11_32b_clip_higher": 0.78,
    "fig11_32b_clip_cov": 0.82,
    "fig11_32b_kl_cov": 0.83,
}


def test_the_mean_weighs_benchmarks_alike():
    table = tab02.accuracies(evaluations(LEVEL))
    mean = table[
        (table["benchmark"] == "Avg.") & (table["method"] == "grpo") & (table["seed"] == 1)
    ]
    # 0.60 + 0.01 less 0.05 times the mean of 0 to 7
    assert mean.set_index("size")["percent"].to_dict() == pytest.approx({"7b": 43.5, "32b": 63.5})


def test_the_table_is_in_the_papers_order_with_half_of_students_interval():
    table = tab02.our_table(evaluations(LEVEL, names=tuple(FOUR_METHODS)[::-1]))
    assert table.cells.index.tolist() == [
        f"{size} {method}" for size in SIZES.values() for method in METHODS.values()
    ]
    # Seeds 1, 2, 3 give m - 1, m, m + 1 percent: half = 4.302653 / sqrt(3) = 2.484.
    assert table.cells.map(lambda text: text.endswith(" ± 2.5")).all(axis=None)


def test_gains_cancel_what_a_seed_adds():
    claims = tab02.benchmark_claims(evaluations(LEVEL))
    found = {c.statement.split(" on the")[0]: c for c in claims if "beats" in c.statement}
    assert len(found) == 8
    assert found["Qwen2.5-7B: Clip-Cov beats GRPO"].interval.estimate == pytest.approx(4.0)
    assert found["Qwen2.5-7B: Clip-Cov beats GRPO"].verdict == SHOWN
    assert found["Qwen2.5-7B: KL-Cov beats GRPO"].verdict == AGAINST
    assert found["Qwen2.5-32B: KL-Cov beats Clip-higher"].interval.estimate == pytest.approx(5.0)
    assert found["Qwen2.5-32B: KL-Cov beats GRPO"].paper.startswith("+6.4")


def test_without_grpo_or_with_one_seed():
    without = evaluations(LEVEL, names=("fig11_7b_kl_cov", "fig11_7b_clip_higher"))
    claims = [c for c in tab02.benchmark_claims(without) if "beats" in c.statement]
    assert [c.statement.split(" on the")[0] for c in claims] == [
        "Qwen2.5-7B: KL-Cov beats Clip-higher"
    ]
    single = tab02.benchmark_claims(evaluations(LEVEL, seeds=(5,)))
    assert {c.verdict for c in single if "beats" in c.statement} == {"no verdict"}


def test_the_papers_own_table():
    facts = {fact.statement: fact for fact in tab02.benchmark_claims(pd.DataFrame())}
    assert len(facts) == 4
    average = facts["The printed Avg. is the mean of its row's seven columns"]
    assert not average.holds
    assert average.ours.startswith("39.1, 39.8, 41.7, 41.1, 45.2, 46.5, 50.6, 51.6")
    gain = facts["KL-Cov's gains over GRPO in the abstract hold on the recomputed means"]
    assert gain.holds
    assert gain.ours == "+2.0 and +6.4"
    best = [f for f in facts.values() if "highest" in f.statement]
    assert [fact.holds for fact in best] == [False, True]  # at 7B Clip-Cov's mean is the highest
    assert best[0].paper.startswith("KL-Cov")
    assert best[0].ours.startswith("Clip-Cov")
