"""The grader's own failures: each ends in ``error``, with its reason, and never in a score."""

import os
import resource
import signal
import stat
import subprocess
import sys
import threading
import time

import pytest

from entropy_mech.commands import doctor
from entropy_mech.errors import UserError
from entropy_mech.grading import GraderAlarm, GradingPool, grade_code, grade_math, process
from entropy_mech.grading.inside.confine import descendants
from entropy_mech.grading.sandbox import INSIDE, library_folders
from entropy_mech.grading.verdict import ErrorAlarm, Verdict

RIGHT, WRONG, TESTS = "def f(x): return x + 1", "def f(x): return x", ["assert f(1) == 2"]
STDIN = {"inputs": ["1"], "outputs": ["2"]}
ALGEBRA = (r"\boxed{\sqrt{8}}", r"2\sqrt{2}")
needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs Linux's /proc")


def script(folder, text):
    """A program that stands in for the interpreter."""
    path = folder / "python"
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return str(path)


def new_pool(**settings):
    return GradingPool(workers=1, error_limit_fraction=1.0, **settings)


INTERPRETERS = {
    "fails at once": "#!/bin/sh\nexit 1",
    "says nothing and ends well": "#!/bin/sh\nexit 0",
    "misses a library": "#!/bin/sh\necho 'libx.so: cannot open shared object file' >&2\nexit 127",
    "says something else first": f"#!/bin/sh\necho Loading module\nexec {sys.executable} $@",
    "says a message that is none of ours": "#!/bin/sh\nprintf '\\000\\000\\000\\002{}'\nsleep 100",
    "never stops talking": "#!/bin/sh\nwhile true; do echo yes; done",
    "is killed": "#!/bin/sh\nkill -9 $$",
}


@pytest.mark.parametrize("mode", ["auto", "kernel"])
@pytest.mark.parametrize("name", [*INTERPRETERS, "is no program", "is not there", "is unknown"])
def test_an_interpreter_that_cannot_be_started_is_an_error(tmp_path, monkeypatch, name, mode):
    stand_in = {"is no program": "/etc/hostname", "is unknown": None}.get(name, "/no/python")
    if name in INTERPRETERS:
        stand_in = script(tmp_path, INTERPRETERS[name])
    monkeypatch.setattr(sys, "executable", stand_in)
    with new_pool(sandbox_mode=mode) as pool:
        verdicts = [
            pool.grade_code(RIGHT, TESTS),
            pool.grade_code(WRONG, TESTS),
            pool.grade_code("print(2)", STDIN),
            pool.grade_math(*ALGEBRA),
        ]
        assert [v.name for v in verdicts] == ["error"] * 4
        assert all("did not start" in v.reason for v in verdicts)
        if name == "misses a library":
            assert all("libx.so" in v.reason for v in verdicts)
        assert pool.counts["error"] == 4


def test_once_an_interpreter_can_be_started_it_grades(monkeypatch):
    with new_pool(sandbox_mode="kernel") as pool:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "executable", "/bin/false")
            assert pool.grade_code(RIGHT, TESTS).name == "error"
        deadline_s = time.monotonic() + 60
        while pool.grade_code(RIGHT, TESTS).name != "correct":
            assert time.monotonic() < deadline_s
            time.sleep(0.1)


def test_an_interpreter_that_hangs_delays_a_batch_once(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", script(tmp_path, "#!/bin/sh\nsleep 1000"))
    monkeypatch.setattr(process, "START_TIMEOUT_S", 0.5)
    with new_pool(sandbox_mode="kernel") as pool:
        starts = lambda: pool._all[0].sandbox.starts  # noqa: E731
        verdicts = pool.grade_code_many([(RIGHT, TESTS)] * 50)
        assert {v.name for v in verdicts} == {"error"}
        assert "it does not answer" in verdicts[0].reason
        assert starts() < 10  # not one start for each program
        assert pool._all[0].sandbox.pid is None  # and the one that hung is gone


@needs_proc
@pytest.mark.parametrize("mode", ["auto", "kernel"])
def test_an_interpreter_whose_libraries_lie_elsewhere_is_given_them(tmp_path, monkeypatch, mode):
    """As on a cluster, where a module sets LD_LIBRARY_PATH for the Python that it brings."""
    libraries = tmp_path / "modules" / "lib"
    libraries.mkdir(parents=True)
    (libraries / "libneeded.so.1").write_text("")
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    # No folder that holds the user's own files is passed on, nor one that is not there.
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{libraries}:{tmp_path}:/no/such/folder::relative")
    assert library_folders() == [str(libraries)]
    text = (
        "#!/bin/sh\nif ! test -e ${LD_LIBRARY_PATH%%:*}/libneeded.so.1; then\n"
        "  echo 'libneeded.so.1: cannot open shared object file' >&2; exit 127\nfi\n"
        f'exec {sys.executable} "$@"\n'
    )
    monkeypatch.setattr(sys, "executable", script(tmp_path, text))
    with new_pool(sandbox_mode=mode) as pool:
        assert pool.grade_code(RIGHT, TESTS) == Verdict("correct", "", 1, 1)
        assert pool.grade_code(WRONG, TESTS).name == "wrong"
        assert pool.grade_math(*ALGEBRA).name == "correct"


LIMITED = """
import os, resource, sys
{limit}
from entropy_mech.grading import GradingPool
with GradingPool(workers=1, error_limit_fraction=1.0) as pool:
    for program in ("def f(x): return x + 1", "def f(x): return x"):
        v = pool.grade_code(program, ["assert f(1) == 2"])
        print(v.name, v.reason)
    for answer in (r"\\sqrt{{8}}", r"\\sqrt{{3}}"):
        v = pool.grade_math(rf"\\boxed{{{{{{answer}}}}}}", r"2\\sqrt{{2}}")
        print(v.name, v.reason)
"""
LIMITS = {  # what is limited: (how, the verdicts of a right and a wrong program, of two answers)
    "address space below a comparison's": (
        "resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))",
        ["correct", "wrong", "correct", "wrong"],
    ),
    "address space below a program's": (
        "resource.setrlimit(resource.RLIMIT_AS, (700 << 20, 700 << 20))",
        ["correct", "error", "correct", "wrong"],
    ),
    "descriptors all taken": (
        "held = [os.open('/dev/null', 0) for _ in range(200)]\n"
        "import entropy_mech.grading.pool\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (max(held) + 4, max(held) + 4))",
        ["error"] * 4,
    ),
    "descriptors above 1,023": (
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3000, 3000))\n"
        "held = [os.open('/dev/null', 0) for _ in range(1500)]",
        ["correct", "wrong", "correct", "wrong"],
    ),
}


@needs_proc
@pytest.mark.parametrize("name", LIMITS)
def test_limits_of_the_machine_are_never_charged_to_a_program(name):
    how, names = LIMITS[name]
    if "NOFILE" in how and resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 3000:
        pytest.skip("this machine allows few descriptors")
    run = subprocess.run(
        [sys.executable, "-c", LIMITED.format(limit=how)],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert [line.split()[0] for line in run.stdout.splitlines()] == names, run.stdout + run.stderr
    if "error" in names and "address" in name:
        assert "memory_gib = 1 is more than this machine grants" in run.stdout


def test_limits_that_a_program_cannot_be_given_are_an_error():
    """Raised between fork and program, where a program could have ended with the same code."""
    broken = "import confine\ndef set_limits(*_): raise ValueError('not allowed to raise it')\n"
    broken += "confine.set_limits = set_limits\n"
    original = (INSIDE / "server.py").read_text()
    with new_pool(sandbox_mode="kernel") as pool:
        sandbox = pool._all[0].sandbox
        prepare = sandbox._command

        def command():
            words = prepare()
            script_at = next(i for i, word in enumerate(words) if word.endswith("server.py"))
            text = original.replace("import forms\n", f"{broken}import forms\n", 1)
            text = text.replace("os.path.abspath(__file__)", repr(str(INSIDE / "server.py")))
            return [*words[:script_at], "-c", text, *words[script_at + 1 :]]

        sandbox._command = command
        for program, tests in ((RIGHT, TESTS), ("print(2)", STDIN)):
            verdict = pool.grade_code(program, tests)
            assert verdict.name == "error"
            assert "not allowed to raise it" in verdict.reason


def test_no_folder_for_temporary_files_is_an_error(monkeypatch):
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", "/no/such/folder")
    with new_pool(sandbox_mode="kernel") as pool:
        verdict = pool.grade_code(RIGHT, TESTS)
        assert verdict.name == "error"
        assert "/no/such/folder" in verdict.reason


def test_a_broken_bubblewrap_leaves_the_kernels_own_mode(tmp_path, monkeypatch):
    from entropy_mech.grading import describe_sandbox, sandbox

    (tmp_path / "bwrap").write_text("#!/bin/sh\necho 'no permission' >&2\nexit 1")
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    sandbox._bubblewrap_fault.cache_clear()
    try:
        assert grade_with_new_pool(RIGHT).name == "correct"
        assert "bubblewrap is installed and does not work: " in describe_sandbox()
        assert "no permission" in describe_sandbox()
        with new_pool(sandbox_mode="bubblewrap") as pool:
            assert pool.grade_code(RIGHT, TESTS).name == "error"
    finally:
        sandbox._bubblewrap_fault.cache_clear()


def grade_with_new_pool(program):
    with new_pool() as pool:
        return pool.grade_code(program, TESTS)


class Killer:
    """Ends each process that ``find`` names, once, some ``times`` at the most."""

    def __init__(self, find, times):
        self.find, self.left, self.over, self.seen = find, times, False, set()
        self.thread = threading.Thread(target=self.work, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def work(self):
        while self.left and not self.over:
            for pid in set(self.find()) - self.seen:
                time.sleep(0.15)
                self.seen.add(pid)
                try:
                    os.kill(pid, signal.SIGKILL)
                    self.left -= 1
                except ProcessLookupError:
                    continue  # it had ended by itself
            time.sleep(0.002)

    def __exit__(self, *_):
        self.over = True
        self.thread.join(10)


@needs_proc
@pytest.mark.parametrize(("times", "name"), [(1, "correct"), (1000, "error")])
def test_a_sandbox_killed_from_outside_tries_again_then_is_an_error(mode, times, name):
    with new_pool(sandbox_mode=mode) as pool:
        worker = pool._all[0]
        pool.grade_code(RIGHT, TESTS)
        if "processes" not in worker.sandbox.protections:
            pytest.skip("a program itself could have killed it")
        slow = f"import time\ntime.sleep(0.5)\n{RIGHT}"
        with Killer(lambda: descendants(worker.sandbox.pid or -1)[:1], times):
            verdict = pool.grade_code(slow, TESTS)
        assert verdict.name == name, verdict


@needs_proc
@pytest.mark.parametrize(("times", "name"), [(1, "timeout"), (1000, "error")])
def test_the_algebras_process_killed_from_outside_too(times, name):
    endless = (r"\boxed{9^{9^{9^{9}}}}", "1")
    with new_pool() as pool:
        worker = pool._all[0].maths
        assert pool.grade_math(*ALGEBRA).name == "correct"
        with Killer(lambda: descendants(worker.pid or -1), times):
            verdict = pool.grade_math(*endless, timeout_s=1.5)
        assert verdict.name == name, verdict
        assert pool.grade_math(*ALGEBRA).name == "correct"


def test_a_fault_in_the_graders_own_code_is_an_error(monkeypatch):
    from entropy_mech.grading import pool as module

    def broken(*_):
        raise RecursionError("too deep")

    monkeypatch.setattr(module, "grade_answer", broken)
    with new_pool() as pool:
        verdict = pool.grade_math("1", "1")
    assert (verdict.name, verdict.reason) == (
        "error",
        "the grader itself failed: RecursionError: too deep",
    )


def test_a_child_that_talks_a_lot_on_its_standard_error_is_heard(tmp_path):
    """Its pipe holds 64 KiB; a child that waited for more room would look like a late one."""
    text = (
        "import sys, json\n"
        "def send(m):\n    b = json.dumps(m).encode()\n"
        "    sys.stdout.buffer.write(len(b).to_bytes(4, 'big') + b); sys.stdout.flush()\n"
        "send({'ready': True})\n"
        "while True:\n    n = int.from_bytes(sys.stdin.buffer.read(4), 'big')\n"
        "    sys.stdin.buffer.read(n); send({'begun': True})\n"
        "    sys.stderr.write('x' * 200_000); sys.stderr.flush(); send({'answer': n})\n"
    )
    server = process.ChildServer(lambda: [sys.executable, "-c", text], env=lambda: {})
    try:
        assert [server.ask("?", timeout_s=60)["answer"] for _ in range(3)] == [3, 3, 3]
    finally:
        server.close()


@needs_proc
def test_a_pool_that_was_forked_with_a_busy_worker_still_grades(pool):
    with new_pool() as own, own._borrowed():
        child = os.fork()
        if child == 0:
            names = [own.grade_code(RIGHT, TESTS).name, own.grade_math(*ALGEBRA).name]
            own.close()
            os._exit(0 if names == ["correct", "correct"] else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_doctor_says_it_in_a_line(monkeypatch):
    assert doctor._sandbox().well is not False
    assert doctor._maths().well
    with pytest.MonkeyPatch.context() as patch:
        from entropy_mech.grading import pool

        patch.setattr(sys, "executable", "/bin/false")
        patch.setattr(pool, "_default", None)
        findings = [doctor._sandbox(), doctor._maths()]
        pool.default_pool().close()
    for finding in findings:
        assert finding.well is False
        assert "did not start: exit code 1" in str(finding)
        assert "\n" not in str(finding)

    def _unlucky():
        raise OSError("no\nsuch device")

    found = doctor._checked(_unlucky)
    assert str(found) == "BAD unlucky      cannot be checked: OSError: no such device"


def test_the_alarm_is_one_line_and_names_the_most_frequent_reason():
    alarm = ErrorAlarm()
    alarm.watch([Verdict("wrong")] * 30 + [Verdict("error", "rare")])
    with pytest.raises(GraderAlarm) as rung:
        alarm.watch([Verdict("error", "line one\nline two")] * 5)
    assert str(rung.value) == (
        "6 of the last 36 verdicts are 'error', more than the limit of 10%; "
        "the most frequent reason: line one line two"
    )
    assert isinstance(rung.value, UserError)
    with pytest.raises(GraderAlarm, match="5 of the last 5"):
        ErrorAlarm().watch([Verdict("error", "none starts")] * 5)
    ErrorAlarm().watch([Verdict("error", "one bad reference")] * 4)
    ErrorAlarm(1.0).watch([Verdict("error", "alone")] * 100)


def test_single_grades_never_raise(monkeypatch):
    for _ in range(30):
        assert grade_math(r"\boxed{1}", "").name == "error"
    assert grade_code(RIGHT, []).name == "error"
