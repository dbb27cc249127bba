# ruff: noqa: E501 (tables to print)
"""All real rows of mathematics through the grader, by kind, with plain math-verify beside.

Every kind has one right verdict: references repeated are right, changed ones and answers that are
not finite are wrong. The table counts the verdicts that are not. The tests run samples of this.
Usage: python benchmarks/grading_real_rows.py DATA_DIR [--peer-cases 300] [--write],
which puts the table into its section of RESULTS-grading.md. Programs: grading_programs.py.
"""

import argparse
import collections
import json
import multiprocessing
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from entropy_mech.grading import GradingPool
from tests.grading import math_families, math_pairs, math_relatives
from tests.grading.not_finite import NOT_FINITE
from tests.grading.perturbations import perturbations
from tests.grading.test_maths import DISAGREEMENTS, NOT_COUNTED, STILL_RIGHT

MATHS = ["math500", "aime24", "aime25", "amc", "olympiadbench", "omni_math", "minerva_math",
         "gsm8k_test", "gsm8k_train", "dapo_math"]  # fmt: skip
RESULTS = Path(__file__).with_name("RESULTS-grading.md")
TITLE = "# Maths by kind"
PEER_LIMIT_S = 2


def rows(folder, name):
    return [json.loads(line) for line in (folder / f"{name}.jsonl").open(encoding="utf-8")]


def cases_by_kind(folder):
    """{kind: (whether they are right, [(id, answer, reference)])}."""
    data = [row for name in MATHS for row in rows(folder, name)]
    kinds = {"reference repeated": (True, [(r["id"], r["answer"], r["answer"]) for r in data])}
    changed = collections.defaultdict(list)
    for row in data:
        for turn in range(2):
            for kind, text in perturbations(row["answer"], f"{row['id']}/{turn}"):
                changed[kind].append((row["id"], text, row["answer"]))
    for kind, cases in changed.items():
        kinds[f"changed: {kind}"] = False, list(dict.fromkeys(cases))
    once = {row["answer"]: row["id"] for row in data}
    kinds["not finite"] = False, [(i, f, r) for r, i in once.items() for f in NOT_FINITE]
    for table in (math_pairs, math_families, math_relatives):
        name = table.__name__.rpartition(".")[2]
        for right, groups in ((True, table.SAME), (False, table.DIFFERENT)):
            pairs = [pair for group in groups.values() for pair in group]
            label = f"{name}: {'the same' if right else 'different'}"
            kinds[label] = right, [(label, *pair) for pair in pairs]
    return kinds


def peer_accepts(pairs):
    """Plain math-verify on (response, gold) texts: True, False, or None where it did not end.

    In a process of its own, which is replaced when one pair takes too long.
    """
    found, process = [], None
    for pair in pairs:
        if process is None:
            ours, theirs = multiprocessing.Pipe()
            process = multiprocessing.get_context("fork").Process(target=_peer, args=(theirs,))
            process.start()
            ours.recv()  # it has imported what it needs
        ours.send(pair)
        if ours.poll(PEER_LIMIT_S):
            found.append(ours.recv())
        else:
            process.kill()
            process.join()
            process = None
            found.append(None)
    if process:
        process.kill()
        process.join()
    return found


def _peer(pipe):
    import logging

    logging.disable(logging.CRITICAL)
    from math_verify import parse, verify

    pipe.send("ready")
    while True:
        response, gold = pipe.recv()
        try:
            gold, found = (parse(text, parsing_timeout=None) for text in (gold, response))
            pipe.send(bool(verify(gold, found, timeout_seconds=None)))
        except Exception:
            pipe.send(False)


def maths(folder, pool, peer_cases, not_finite_share):
    """The table by kind, as lines of Markdown."""
    rng = random.Random(22617)
    lines = [
        "| kind | cases | accepted wrong | refused right | math-verify: cases | accepted wrong | refused right |",
        "|---|---|---|---|---|---|---|",
    ]
    notes = []
    for kind, (right, cases) in cases_by_kind(folder).items():
        if kind == "not finite" and not_finite_share < 1:
            cases = rng.sample(cases, int(not_finite_share * len(cases)))
            kind = f"not finite ({not_finite_share:.0%} of the pairs)"
        verdicts = pool.grade_math_many([(rf"\boxed{{{a}}}", r) for _, a, r in cases])
        faults = [(c, v) for c, v in zip(cases, verdicts, strict=True) if (v.reward > 0) != right]
        sample = rng.sample(cases, min(len(cases), peer_cases))
        peer = peer_accepts([(rf"\boxed{{{a}}}", f"${r}$") for _, a, r in sample])
        missed = sum((p is True) != right for p in peer)
        late = peer.count(None)
        columns = [len(cases), "", "", len(sample), "", ""]
        columns[2 if right else 1] = len(faults)
        columns[5 if right else 4] = f"{missed} ({late} without end)" if late else missed
        lines.append(f"| {kind} | {' | '.join(map(str, columns))} |")
        print(lines[-1], flush=True)
        notes += [
            f"- {kind}, {i}: `{a}` for `{r}`: {v.name}" + (f"; {STILL_RIGHT[i]}" if not right and i in STILL_RIGHT else "")
            for (i, a, r), v in faults
        ]  # fmt: skip
        undecided = collections.Counter(v.name for v in verdicts)
        notes += (
            [f"- {kind}: {undecided['timeout']} ended at the limit of 5 s"]
            if undecided["timeout"]
            else []
        )
    return [
        *lines,
        "",
        "Each verdict that is not the right one, and what was not decided:",
        "",
        *notes,
    ]


def peers(folder, pool):
    """Agreement with the cases of peers, by source, as lines of Markdown."""
    cases = [c for c in rows(folder, "grader_cases") if c["id"] not in NOT_COUNTED]
    ours = [
        pool.grade_math(c["pred"], c["gold"], answer_from="box" if "\\boxed" in c["pred"] else "anywhere")
        for c in cases
    ]  # fmt: skip
    dollars = lambda text: text if "$" in text or "boxed" in text else f"${text}$"  # noqa: E731
    plain = peer_accepts([(c["pred"], c["gold"]) for c in cases])
    marked = peer_accepts([(dollars(c["pred"]), dollars(c["gold"])) for c in cases])
    lines = [
        "| source | cases | plain math-verify agrees | with dollar signs around bare texts | this grader agrees |",
        "|---|---|---|---|---|",
    ]
    for source in dict.fromkeys(c["source"] for c in cases):
        at = [i for i, c in enumerate(cases) if c["source"] == source]
        want = [bool(cases[i]["expected"]) for i in at]
        agree = [
            sum(bool(found[i]) == w for i, w in zip(at, want, strict=True))
            for found in (plain, marked, [v.reward for v in ours])
        ]
        lines.append(f"| {source} | {len(at)} | {' | '.join(map(str, agree))} |")
    reasons = [
        f"- {name}{' (not counted)' if name in NOT_COUNTED else ''}: {why}"
        for name, why in DISAGREEMENTS.items()
    ]
    return [*lines, "", *reasons]


def write_section(lines):
    """Put the lines into their section of the results, before the next title."""
    before, _, after = RESULTS.read_text(encoding="utf-8").partition(f"{TITLE}\n")
    rest = after.find("\n# ")
    RESULTS.write_text(
        before + TITLE + "\n\n" + "\n".join(lines) + "\n" + (after[rest:] if rest >= 0 else ""),
        encoding="utf-8",
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--peer-cases", type=int, default=300, help="of each kind, for math-verify")
    parser.add_argument("--not-finite-share", type=float, default=1.0, help="of 380,000 pairs")
    parser.add_argument("--write", action="store_true", help="put the maths into the results")
    options = parser.parse_args()
    with GradingPool(options.workers, error_limit_fraction=1.0) as pool:
        drawn = f"math-verify was run on {options.peer_cases} cases of each kind, drawn at random, or on all; one that took over {PEER_LIMIT_S} s is without end."
        found = [drawn, "", *maths(options.data_dir, pool, options.peer_cases, options.not_finite_share), "",
                 "## Cases from the tests of peers", "", *peers(options.data_dir, pool)]  # fmt: skip
        print("\n".join(found))
        if options.write:
            write_section(found)
