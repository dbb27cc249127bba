"""What real pytest says about programs and tests: one fork of a warm interpreter a pair."""

import json
import subprocess
import sys
import tempfile
from typing import NamedTuple

_DRIVER = r"""
import asyncio, inspect, json, os, re, resource, shutil, signal, sys, time
import pytest, unittest.mock

class Outcomes:
    def __init__(self):
        self.count = {"passed": 0, "failed": 0, "skipped": 0, "error": 0}
    def pytest_runtest_logreport(self, report):
        if report.when == "call" or report.outcome != "passed":
            outcome = report.outcome if report.when == "call" or report.skipped else "error"
            self.count[outcome] += 1
    @pytest.hookimpl(tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem):  # pytest-asyncio's automatic mode
        if inspect.iscoroutinefunction(pyfuncitem.function):
            wanted = pyfuncitem._fixtureinfo.argnames
            asyncio.run(pyfuncitem.obj(**{n: pyfuncitem.funcargs[n] for n in wanted}))
            return True

def judge(pair, folder, write_end, cpu_s):
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.chdir(folder)
    sys.path.insert(0, folder)
    outcomes = Outcomes()
    options = ["-q", "-p", "no:cacheprovider", "--rootdir", folder, "test_it.py"]
    code = pytest.main(options, plugins=[outcomes])
    os.write(write_end, json.dumps([int(code), outcomes.count]).encode())
    os._exit(0)

def run(pair, number, cpu_s):
    folder = os.path.join(os.getcwd(), str(number))
    os.mkdir(folder)
    program, tests = pair
    if not re.search(r"(from|import)\s+solution", tests):  # they share a namespace
        tests = program + "\n\n" + tests
    for name, text in (("solution.py", program), ("test_it.py", tests)):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(text)
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            judge(pair, folder, write_end, cpu_s)
        finally:
            os._exit(9)
    os.close(write_end)
    os.set_blocking(read_end, False)
    deadline, status = time.monotonic() + 20 * cpu_s, None
    while status is None and time.monotonic() < deadline:
        done, code = os.waitpid(pid, os.WNOHANG)
        status = code if done else time.sleep(0.002)
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    if status is None:
        os.waitpid(pid, 0)
    try:
        said = os.read(read_end, 1 << 16)
    except BlockingIOError:
        said = b""
    os.close(read_end)
    shutil.rmtree(folder, ignore_errors=True)
    if said:
        return json.loads(said)
    late = status is None or (os.WIFSIGNALED(status) and os.WTERMSIG(status) in (9, 24))
    return ["late" if late else "died", {}]

job = json.load(sys.stdin)
os.environ.update(PYTHONDONTWRITEBYTECODE="1", PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
print(json.dumps([run(p, n, job["cpu_s"]) for n, p in enumerate(job["pairs"])]))
"""


class Outcome(NamedTuple):
    """``code`` is pytest's exit code; late at the limit, died where the interpreter ended."""

    code: int | str
    count: dict

    @property
    def passes(self) -> bool | None:
        """Whether a judge would accept; None at the limit."""
        return None if self.code == "late" else self.code == 0 and self.count["passed"] > 0


def outcomes(pairs, cpu_s: int = 5) -> list[Outcome]:
    """The outcome of each (program, tests); limits are in processor seconds."""
    with tempfile.TemporaryDirectory() as folder:
        run = subprocess.run(
            [sys.executable, "-c", _DRIVER],
            input=json.dumps({"pairs": list(pairs), "cpu_s": cpu_s}),
            capture_output=True, text=True, cwd=folder, check=True,
        )  # fmt: skip
    return [Outcome(*one) for one in json.loads(run.stdout)]
