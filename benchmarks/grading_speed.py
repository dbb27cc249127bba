# ruff: noqa: E501, PT018 (tables to print)
"""Graders against peers, in one run on one machine: answers and programs a second, verdicts.

Maths: plain math-verify (parse, parse, verify; its own timeouts off) in this process, against
the pool. Code: one fresh interpreter a program, as many at a time as the pool has workers,
against the pool. Usage: python benchmarks/grading_speed.py DATA_DIR [--workers 2]
"""

import argparse
import json
import logging
import random
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from entropy_mech.grading import GradingPool
from tests.grading.mutations import mutate
from tests.grading.perturbations import perturbations

MATHS = {"gsm8k_train": 900, "dapo_math": 900, "math500": 500, "olympiadbench": 675,
         "omni_math": 900, "amc": 83, "aime24": 30}  # fmt: skip


# The cheapest judge there is: no pytest, no sandbox, nothing but the functions by name.
_JUDGE = """
import json, resource, sys, types
job = json.load(sys.stdin)
resource.setrlimit(resource.RLIMIT_CPU, (job["cpu_s"], job["cpu_s"]))
module = types.ModuleType("solution")
sys.modules["solution"] = module
exec(compile(job["program"], "solution.py", "exec"), module.__dict__)
space = dict(module.__dict__)
exec(compile(job["tests"], "tests.py", "exec"), space)
tests = [v for k, v in space.items() if k.startswith("test") and callable(v)]
failed = 0
for test in tests:
    try:
        test()
    except BaseException:
        failed += 1
sys.exit(1 if failed or not tests else 0)
"""


def fresh_interpreter_passes(program: str, tests: str, cpu_s: int) -> bool | None:
    """Whether all test functions pass in an interpreter of their own; None at the limit.

    The limit is on processor seconds, so that a busy machine does not change the verdict; one
    that waits without computing is given twenty times as long.
    """
    try:
        with tempfile.TemporaryDirectory() as folder:  # some programs write files where they are
            run = subprocess.run(
                [sys.executable, "-c", _JUDGE],
                input=json.dumps({"program": program, "tests": tests, "cpu_s": cpu_s}),
                capture_output=True,
                text=True,
                timeout=20 * cpu_s,
                cwd=folder,
            )
    except subprocess.TimeoutExpired:
        return None
    at_the_limit = run.returncode in (-signal.SIGXCPU, -signal.SIGKILL)
    return None if at_the_limit else run.returncode == 0


def rows(folder, name):
    return [json.loads(line) for line in (folder / f"{name}.jsonl").open(encoding="utf-8")]


def maths_pairs(folder):
    """Half right, half wrong, inside a response of the usual kind."""
    rng = random.Random(1)
    pairs = []
    for name, count in MATHS.items():
        data = rows(folder, name)
        for i, row in enumerate(rng.sample(data, min(count, len(data)))):
            changed = perturbations(row["answer"], row["id"])
            answer = rng.choice(changed)[1] if i % 2 and changed else row["answer"]
            working = f"We let $x = {i}$ and find $x^2 = {i * i}$, so that the claim follows.\n" * 5
            pairs.append(
                (f"{working}\nTherefore the answer is $\\boxed{{{answer}}}$.", row["answer"])
            )
    rng.shuffle(pairs)
    return pairs


def plain_math_verify(pairs):
    logging.disable(logging.CRITICAL)
    from math_verify import parse, verify

    def grade(response, reference):
        gold = parse(f"${reference}$", parsing_timeout=None)
        return verify(gold, parse(response, parsing_timeout=None), timeout_seconds=None)

    grade(r"\boxed{\sqrt{2}}", r"\sqrt{2}")  # imports and first uses
    return [bool(grade(*pair)) for pair in pairs]


def timed(work):
    start_s = time.perf_counter()
    result = work()
    return time.perf_counter() - start_s, result


def compare_maths(folder, workers):
    pairs = maths_pairs(folder)
    peer_s, peer = timed(lambda: plain_math_verify(pairs))
    print("\n## Maths\n")
    print(
        f"{len(pairs)} responses; plain math-verify in one process: {len(pairs) / peer_s:.0f} a second.\n"
    )
    print("| workers | answers a second | ratio | verdicts that differ |\n|---|---|---|---|")
    for count in sorted({1, workers}):
        with GradingPool(count, error_limit_fraction=1.0) as pool:
            pool.grade_math_many([(r"\boxed{\sqrt{8}}", r"2\sqrt{2}")] * count * 2)
            ours_s, verdicts = timed(lambda pool=pool: pool.grade_math_many(pairs))
        ours = [v.name == "correct" for v in verdicts]
        differ = [i for i, (a, b) in enumerate(zip(ours, peer, strict=True)) if a != b]
        print(f"| {count} | {len(pairs) / ours_s:.0f} | {peer_s / ours_s:.1f} | {len(differ)} |")
    print()
    for i in differ:
        answer = pairs[i][0].rpartition("\\boxed{")[2][:-3]
        print(
            f"- answer `{answer}`, reference `{pairs[i][1]}`: ours {ours[i]}, math-verify {peer[i]}"
        )


def compare_code(folder, workers):
    data = rows(folder, "kodcode")
    pairs = [(r["solution"], r["tests"]) for r in data]
    pairs += [(m, r["tests"]) for r in data if (m := mutate(r["solution"], r["id"] + "speed"))]
    limit_s = 3  # the judge's in processor seconds, the pool's as time passes

    def fresh():
        with ThreadPoolExecutor(workers) as executor:
            return list(executor.map(lambda p: bool(fresh_interpreter_passes(*p, limit_s)), pairs))

    peer_s, peer = timed(fresh)
    with GradingPool(workers, error_limit_fraction=1.0) as pool:
        pool.grade_code_many([("def f(): return 1", ["assert f() == 1"])] * workers * 2)
        ours_s, verdicts = timed(lambda: pool.grade_code_many(pairs, timeout_s=limit_s))
        mode = pool._all[0].sandbox.mode
    ours = [v.name == "correct" for v in verdicts]
    differ = [i for i, (a, b) in enumerate(zip(ours, peer, strict=True)) if a != b]
    ended = [i for i, v in enumerate(verdicts) if v.name != "timeout"]
    print(f"\n## Code (KodCode, {len(pairs)} programs, {workers} workers, sandbox: {mode})\n")
    print("| | programs a second | ratio | verdicts that differ |\n|---|---|---|---|")
    print(f"| a fresh interpreter each | {len(pairs) / peer_s:.0f} | 1 | |")
    print(f"| the pool | {len(pairs) / ours_s:.0f} | {peer_s / ours_s:.1f} | {len(differ)} |")
    quick = [pairs[i] for i in ended]
    pairs[:] = quick
    peer_s, _ = timed(fresh)
    with GradingPool(workers, error_limit_fraction=1.0) as pool:
        pool.grade_code_many([("def f(): return 1", ["assert f() == 1"])] * workers * 2)
        ours_s, _ = timed(lambda: pool.grade_code_many(pairs, timeout_s=limit_s))
    print(f"\nWithout the programs that run into the limit ({len(quick)} left): fresh interpreters "
          f"{len(quick) / peer_s:.0f}, the pool {len(quick) / ours_s:.0f} a second, ratio "
          f"{peer_s / ours_s:.1f}.")  # fmt: skip
    compare_stdin(workers)


def compare_stdin(workers):
    """Scripts with five inputs each: nothing but start-up, the sandbox and comparing."""
    program = "n = int(input())\nprint(sum(i * i for i in range(n)))"
    tests = {
        "inputs": ["1", "5", "10", "50", "99"],
        "outputs": ["0", "30", "285", "40425", "318549"],
    }

    def one(_):
        outputs = [subprocess.run([sys.executable, "-c", program], input=i, capture_output=True,
                                  text=True, timeout=10).stdout for i in tests["inputs"]]  # fmt: skip
        return all(a.strip() == b for a, b in zip(outputs, tests["outputs"], strict=True))

    count = 60
    with ThreadPoolExecutor(workers) as executor:
        peer_s, peer = timed(lambda: list(executor.map(one, range(count))))
    with GradingPool(workers) as pool:
        pool.grade_code_many([(program, tests)] * workers * 2)
        ours_s, verdicts = timed(lambda: pool.grade_code_many([(program, tests)] * count))
    assert all(peer) and all(v.name == "correct" for v in verdicts)
    print(f"\nScripts on standard input, {count} programs of 5 cases: fresh interpreters "
          f"{5 * count / peer_s:.0f} cases a second (no sandbox), the pool {5 * count / ours_s:.0f}, "
          f"ratio {peer_s / ours_s:.1f}.")  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", choices=["maths", "code"])
    options = parser.parse_args()
    if options.only != "code":
        compare_maths(options.data_dir, options.workers)
    if options.only != "maths":
        compare_code(options.data_dir, options.workers)
