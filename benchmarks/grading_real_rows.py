# ruff: noqa: E501 (tables to print)
"""All real rows through the graders: references, perturbations, other spellings, mutants.

The tests run samples of this. Usage: python benchmarks/grading_real_rows.py DATA_DIR
"""

import argparse
import collections
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from entropy_mech.grading import GradingPool
from tests.grading.mutations import fresh_interpreter_passes, mutate
from tests.grading.perturbations import perturbations

MATHS = ["math500", "aime24", "aime25", "amc", "olympiadbench", "omni_math", "minerva_math",
         "gsm8k_test", "gsm8k_train", "dapo_math"]  # fmt: skip


def rows(folder, name):
    return [json.loads(line) for line in (folder / f"{name}.jsonl").open(encoding="utf-8")]


def maths(folder, pool):
    print(
        "| set | rows | reference agrees with itself | perturbed | accepted by mistake | seconds |"
    )
    print("|---|---|---|---|---|---|")
    notes, total, accepted = [], 0, 0
    for name in MATHS:
        data = rows(folder, name)
        start_s = time.perf_counter()
        own = pool.grade_math_many([(rf"\boxed{{{r['answer']}}}", r["answer"]) for r in data])
        changed = [
            (r, kind, text)
            for r in data
            for turn in range(2)
            for kind, text in perturbations(r["answer"], f"{r['id']}/{turn}")
        ]
        verdicts = pool.grade_math_many([(rf"\boxed{{{t}}}", r["answer"]) for r, _, t in changed])
        wrong = [(r, k, t) for (r, k, t), v in zip(changed, verdicts, strict=True) if v.reward]
        seconds = time.perf_counter() - start_s
        total, accepted = total + len(changed), accepted + len(wrong)
        print(f"| {name} | {len(data)} | {sum(v.reward > 0 for v in own)} | {len(changed)} "
              f"| {len(wrong)} | {seconds:.1f} |")  # fmt: skip
        notes += [f"- {r['id']}: `{r['answer']}` against itself: {v.name}, {v.reason}"
                  for r, v in zip(data, own, strict=True) if not v.reward]  # fmt: skip
        notes += [f"- {r['id']}: {k} `{t}` accepted for `{r['answer']}`" for r, k, t in wrong]
        late = collections.Counter(v.name for v in verdicts if v.name not in ("correct", "wrong"))
        notes += [f"- {name}: perturbed answers that ended as {dict(late)}"] if late else []
    print(f"\nRejected: {1 - accepted / total:.5f} of {total} perturbed references.\n")
    print("\n".join(notes))


def code(folder, pool):
    data = rows(folder, "kodcode")
    verdicts = pool.grade_code_many([(r["solution"], r["tests"]) for r in data])
    passed = sum(v.name == "correct" for v in verdicts)
    mutants = [
        (r, m)
        for r in data
        for turn in range(2)
        if (m := mutate(r["solution"], f"{r['id']}/{turn}"))
    ]
    ours = pool.grade_code_many([(m, r["tests"]) for r, m in mutants], timeout_s=3.0)
    with ThreadPoolExecutor(pool.workers) as executor:
        judge = lambda pair: bool(fresh_interpreter_passes(pair[1], pair[0]["tests"], 3))  # noqa: E731
        truth = list(executor.map(judge, mutants))
    same = sum((v.name == "correct") == t for v, t in zip(ours, truth, strict=True))
    print(f"\nKodCode: {passed} of {len(data)} reference solutions pass. Mutants: {len(mutants)}, of "
          f"which {truth.count(False)} fail in a fresh interpreter; the same verdict in {same}.")  # fmt: skip
    for (row, _), verdict, passes in zip(mutants, ours, truth, strict=True):
        if (verdict.name == "correct") != passes:
            print(
                f"- {row['id']}: ours {verdict.name} ({verdict.reason}), fresh interpreter {passes}"
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with GradingPool(options.workers, error_limit_fraction=1.0) as pool:
        maths(options.data_dir, pool)
        code(options.data_dir, pool)
