"""All of KodCode through the grader: reference solutions, mutants, objects instead of answers.

The judge is real pytest, one fork of a warm interpreter a program. The tests run samples of this.
Usage: python benchmarks/grading_programs.py DATA_DIR
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from entropy_mech.grading import GradingPool
from tests.grading.mutations import HONEST, KINDS, instead, mutate
from tests.grading.real_pytest import outcomes


def programs_by_kind(folder, pool):
    """KodCode: references, mutants and objects instead of answers; the judge is real pytest."""
    with (folder / "kodcode.jsonl").open(encoding="utf-8") as file:
        data = [json.loads(line) for line in file]
    programs = {"reference solutions": [(r, r["solution"]) for r in data]}
    programs["mutants"] = [
        (r, m)
        for r in data
        for turn in range(2)
        if (m := mutate(r["solution"], f"{r['id']}/{turn}"))
    ]
    programs |= {kind: [(r, instead(r["solution"], kind)) for r in data] for kind in KINDS}
    truth: dict[str, list[bool | None]] = {}
    for kind, tried in programs.items():  # an object is no more an answer for saying that it is
        if kind in HONEST:
            truth[kind] = truth[HONEST[kind]]
        else:
            truth[kind] = [o.passes for o in outcomes([(p, r["tests"]) for r, p in tried], 3)]
    print("\n## Programs (KodCode), against pytest itself in a fresh interpreter\n")
    print("| kind | programs | right | wrong | at the limit | accepted wrong | refused right |")
    print("|---|---|---|---|---|---|---|")
    notes = []
    for kind, tried in programs.items():
        verdicts = pool.grade_code_many([(p, r["tests"]) for r, p in tried], timeout_s=20.0)
        found = [(r["id"], v, t) for (r, _), v, t in zip(tried, verdicts, truth[kind], strict=True)]
        # What pytest did not see to its end is unknown for a mutant, and no answer for an object.
        no = (False, None) if kind in KINDS else (False,)
        wrong = [(id, v) for id, v, t in found if t in no and v.name == "correct"]
        right = [(id, v) for id, v, t in found if t and v.name != "correct"]
        count = [truth[kind].count(t) for t in (True, False, None)]
        print(f"| {kind} | {len(tried)} | {count[0]} | {count[1]} | {count[2]} "
              f"| {len(wrong)} | {len(right)} |")  # fmt: skip
        for label, some in (("accepted wrong", wrong), ("refused right", right)):
            notes += [f"- {kind}, {label}: {id} ({v.name}: {v.reason})" for id, v in some]
    print("\n" + "\n".join(notes))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with GradingPool(options.workers, error_limit_fraction=1.0) as pool:
        programs_by_kind(options.data_dir, pool)
