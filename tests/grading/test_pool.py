# ruff: noqa: E501 (programs are easier to read on their own lines)
"""The pool: order, counts, threads, forks, the alarm, and staying at full size under attack."""

import os
import subprocess
import sys
import threading
import time

import pytest

from entropy_mech.errors import UserError
from entropy_mech.grading import GraderAlarm, GradingPool, Verdict, grade_math
from entropy_mech.grading.inside.confine import descendants

ASSERTS = ["assert f(1) == 2"]
RIGHT = "def f(x): return x + 1"
ENDLESS = "def f(x):\n    while True: pass"


def test_lists_come_back_in_order_and_are_counted(pool):
    before = dict(pool.counts)
    pairs = [(rf"\boxed{{{n}}}", str(n - n % 3)) for n in range(30)]
    names = [v.name for v in pool.grade_math_many(pairs)]
    assert names == ["correct" if n % 3 == 0 else "wrong" for n in range(30)]
    programs = [(RIGHT if n % 2 else "def f(x): return 0", ASSERTS) for n in range(6)]
    assert [v.passed for v in pool.grade_code_many(programs)] == [0, 1, 0, 1, 0, 1]
    assert pool.counts["correct"] - before["correct"] == 13
    assert pool.counts["wrong"] - before["wrong"] == 23
    assert pool.grade_math_many([]) == []


def test_attacks_neither_shrink_the_pool_nor_outlive_their_verdicts(pool):
    pool.grade_code_many([(RIGHT, ASSERTS)] * 2)
    bombs = [ENDLESS, "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", "def f(x): return bytearray(10 << 30)",
             "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\nimport time; time.sleep(99)"]  # fmt: skip
    powers = [
        (r"\boxed{9^{9^{9^{9}}}}", "1"),
        (r"\boxed{(10^9)!}", "1"),
        (r"\boxed{\sqrt{x^2}}", "|x|"),
    ]
    code = pool.grade_code_many([(b, ASSERTS) for b in bombs], timeout_s=0.5, memory_gib=0.5)
    maths = pool.grade_math_many(powers, timeout_s=0.5)
    for worker in pool._all:  # whatever ran over its limit is gone
        assert len(descendants(worker.sandbox.pid)) <= 1
    assert [v.name for v in code] == ["timeout", "timeout", "wrong", "timeout"]
    assert maths[0].name == "timeout"
    assert {v.name for v in maths} <= {"timeout", "wrong", "correct"}
    assert pool.grade_code_many([(RIGHT, ASSERTS)] * 4) == [Verdict("correct", "", 1, 1)] * 4
    assert pool.grade_math(r"\boxed{\sqrt{8}}", r"2\sqrt{2}").name == "correct"


def test_many_threads_share_a_pool(pool):
    results = {}

    def work(n):
        results[n] = pool.grade_code(f"def f(x): return {n}", [f"assert f(0) == {n % 4}"]).name

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == {n: "correct" if n < 4 else "wrong" for n in range(8)}


def test_killed_workers_are_replaced():
    with GradingPool(workers=1) as pool:
        assert pool.grade_math(r"\boxed{\sqrt{8}}", r"2\sqrt{2}").name == "correct"
        worker = pool._all[0]
        os.kill(worker.maths.pid, 9)
        worker.maths._process.wait(5)
        assert pool.grade_math(r"\boxed{\sqrt{8}}", r"2\sqrt{2}").name == "correct"
        for child in descendants(worker.maths.pid):  # the one that does the algebra
            os.kill(child, 9)
        assert pool.grade_math(r"\boxed{\sqrt{18}}", r"3\sqrt{2}").name == "correct"
        time.sleep(0.5)  # and when pebble has seen that the idle one is gone
        for child in descendants(worker.maths.pid):
            os.kill(child, 9)
        time.sleep(0.5)
        assert pool.grade_math(r"\boxed{\sqrt{18}}", r"3\sqrt{2}").name == "correct"


def test_too_many_errors_raise_and_keep_the_verdicts():
    with GradingPool(workers=1, error_limit_fraction=0.25) as pool:
        pool.grade_math_many([(r"\boxed{1}", "1")] * 30 + [(r"\boxed{1}", "")] * 10)
        with pytest.raises(
            GraderAlarm, match=r"11 of the last 41 verdicts are 'error'.*is empty"
        ) as alarm:
            pool.grade_math(r"\boxed{1}", "")
        assert [v.name for v in alarm.value.verdicts] == ["error"]
        assert pool.counts["error"] == 11
    with pytest.raises(RuntimeError, match="closed"):
        pool.grade_math(r"\boxed{1}", "1")


def test_settings_out_of_range_are_named():
    with pytest.raises(UserError, match="workers = 0: give a whole number"):
        GradingPool(workers=0)
    with pytest.raises(UserError, match="error_limit_fraction = 5"):
        GradingPool(error_limit_fraction=5)
    with pytest.raises(UserError, match="unknown answer_from 'boxes': did you mean 'box'"):
        grade_math("1", "1", answer_from="boxes")


def test_a_fork_grades_with_workers_of_its_own(pool):
    pool.grade_math(r"\boxed{\sqrt{8}}", r"2\sqrt{2}")
    assert grade_math(r"\boxed{\sqrt{8}}", r"2\sqrt{2}").name == "correct"
    child = os.fork()
    if child == 0:
        same = grade_math(r"\boxed{\sqrt{8}}", r"2\sqrt{2}").name == "correct"
        from entropy_mech.grading.pool import default_pool

        default_pool().close()
        os._exit(0 if same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert grade_math(r"\boxed{\sqrt{8}}", r"2\sqrt{2}").name == "correct"


def test_importing_graders_loads_nothing_heavy():
    program = (
        "import sys, entropy_mech.grading as g\nassert g.grade_math(r'\\boxed{2}', '2').reward == 1\n"
        "print([m for m in ('torch', 'matplotlib', 'math_verify', 'sympy', 'numpy') if m in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert run.stdout == "[]\n", run.stderr


LEAVING = {
    "idle": "grade_math(r'\\boxed{\\sqrt{8}}', r'2\\sqrt{2}')",
    "in an endless comparison": (
        "import threading, time\n"
        "threading.Thread(target=grade_math, args=[r'\\boxed{9^{9^{9^{9}}}}', '1'],"
        " kwargs={'timeout_s': 3000}).start()\n"
        "while not any(w.maths.pid and w.maths.ready and descendants(w.maths.pid)"
        " for w in default_pool()._all): time.sleep(0.05)\n"
        "time.sleep(0.5)"
    ),
}


@pytest.mark.parametrize("how", LEAVING)
def test_leaving_without_closing_ends_the_workers(how):
    program = (
        "from entropy_mech.grading import grade_code, grade_math\n"
        "from entropy_mech.grading.pool import default_pool\n"
        "from entropy_mech.grading.inside.confine import descendants\n"
        f"grade_code('def f(): return 1', ['assert f() == 1'])\n{LEAVING[how]}\n"
        "import os, signal\n"
        "print(*descendants(os.getpid()), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    pids = run.stdout.split()
    assert len(pids) >= 3, run.stderr  # a sandbox, the algebra's program and what it forked
    deadline_s = time.monotonic() + 5
    while any(os.path.exists(f"/proc/{pid}/exe") and is_running(pid) for pid in pids):
        assert time.monotonic() < deadline_s, "workers outlive their caller"
        time.sleep(0.02)


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
