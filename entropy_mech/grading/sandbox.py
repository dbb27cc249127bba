"""Run programs that nobody has read: each in a fresh process with few rights and hard limits.

Two modes; ``Sandbox().mode`` and ``entropy-mech doctor`` say which one this machine gets.

``bubblewrap`` (where ``bwrap`` is installed and works): own process, network, IPC and host
name spaces; of the machine's files only the interpreter and the system libraries, read-only;
one writable folder in memory, of bounded size. Covered: reading other files, other processes
and their environment, writing anywhere else, the network, signals, whatever is left running.

``kernel`` (otherwise): what the process may give up by itself. Name spaces where the kernel
lets it, else it adopts and kills what a program leaves behind; Landlock (Linux 5.13) for files,
TCP and signals; always a scrubbed environment, a temporary folder and limits. ``protections``
lists what was obtained. Not covered, if it is not listed there: reading what the user may
read, the network, signals to the user's other processes.

In both modes a sandbox started by root gives root up for good, to a user number of its own
without name or files, before it reads the first program. Limits on time, CPU, memory of each
process, processes, file size and output hold everywhere. Not covered in any mode: faults of
the kernel itself, timing channels, the sum of memory over a program's processes (``processes``
times ``memory_gib``), and what the tests' own authors wrote.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from entropy_mech.errors import UserError, bad_value, unknown_name
from entropy_mech.grading.inside import confine
from entropy_mech.grading.process import ChildGone, ChildServer, ChildTimeout

INSIDE = Path(__file__).with_name("inside")
BOX = "/box"  # the one writable folder inside bubblewrap
MODES = ("auto", "bubblewrap", "kernel")
# User numbers that no system hands out (systemd reserves those below and above for its own).
_FIRST_USER, _USERS = 1_879_048_192, 1 << 20
_SYSTEM = ("/usr", "/lib", "/lib64", "/lib32", "/bin", "/etc/ld.so.cache", "/etc/alternatives")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_next_user = itertools.count()


@dataclass(frozen=True)
class Limits:
    """What one program may use. ``timeout_s`` is wall time for all of its tests together."""

    timeout_s: float = 10.0
    memory_gib: float = 1.0  # address space of each process
    processes: int = 16  # processes and threads together
    file_mib: float = 16.0  # each file
    output_mib: float = 8.0  # what a run may print

    def __post_init__(self):
        for name, value in asdict(self).items():
            if not value > 0:
                raise bad_value(name, value, "give a number above 0")
        if self.timeout_s > 3600:
            raise bad_value("timeout_s", self.timeout_s, "give at most 3600 seconds")
        if self.memory_gib < 0.25:
            raise bad_value(
                "memory_gib", self.memory_gib, "give at least 0.25 (the interpreter's own)"
            )


class Sandbox:
    r"""One warm process that forks a fresh one for every program; use each from one thread.

    >>> with Sandbox() as sandbox:
    ...     sandbox.run_stdin("print(int(input()) + 1)", ["41"])["cases"][0]["stdout"]
    '42\n'
    """

    def __init__(self, mode: str = "auto"):
        if mode not in MODES:
            raise unknown_name("sandbox mode", mode, MODES)
        self.mode = best_mode() if mode == "auto" else mode
        if self.mode == "bubblewrap" and not shutil.which("bwrap"):
            raise bad_value("sandbox mode", mode, "install bubblewrap (bwrap), or give 'kernel'")
        self._folder: str | None = None
        self._server = ChildServer(
            None, env=_environment(), before_start=self._prepare, after_end=self._clean
        )

    def run_stdin(self, program: str, inputs: list[str], limits: Limits | None = None) -> dict:
        """Run a script once for each input.

        Returns ``{"cases": [{"ended", "exit", "stdout", "stderr"}, ...]}``; ``ended`` is exit,
        timeout or output (printed too much), ``exit`` the code, negative for a signal. Raises
        ChildGone if the program took the sandbox itself down, ChildTimeout if it hung it.
        """
        limits = limits or Limits()
        job = {"kind": "stdin", "program": program, "inputs": inputs, "limits": asdict(limits)}
        return self._server.ask(job, timeout_s=limits.timeout_s + 0.6)

    def run_tests(self, program: str, tests: dict, limits: Limits | None = None) -> dict:
        """Run tests against a program in another process; see ``inside/checker.py`` for forms.

        Returns ``{"ended", "exit", "result"}``, the result being the tests' JSON report. The
        tests never enter a process that runs the program.
        """
        limits = limits or Limits()
        job = {"kind": "tests", "program": program, "limits": asdict(limits)}
        return self._server.ask(job, tests, timeout_s=limits.timeout_s + 0.6)

    @property
    def protections(self) -> list[str]:
        """What the running sandbox obtained from the kernel; starts it if need be."""
        self.run_stdin("", [])
        return list(self._server.ready["protections"])

    @property
    def pid(self) -> int | None:
        """Process id of the warm process, None while there is none."""
        return self._server.pid

    @property
    def starts(self) -> int:
        """How often the warm process was started; more than once means that it was killed."""
        return self._server.starts

    def close(self) -> None:
        """End the warm process and whatever runs below it."""
        self._server.close()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_error) -> None:
        self.close()

    def _prepare(self) -> list[str]:
        user = _user_number() if os.getuid() == 0 else None
        reads = _interpreter_paths()
        config = {"mode": self.mode, "user": user, "keep_reading": False, "folder": BOX}
        config["import_paths"] = [*reads, "/usr"]
        run = [sys.executable, "-s", "-P", "-B", str(INSIDE / "server.py")]
        if self.mode == "bubblewrap":
            return [*_bubblewrap(reads), *run, json.dumps(config)]
        self._folder = config["folder"] = tempfile.mkdtemp(prefix="sandbox-")
        if user is not None:
            config["keep_reading"] = _needs_rights_to_read(reads)
            os.chown(self._folder, user, user)
        config["read_paths"] = [*reads, *_SYSTEM, *_DEVICES]
        return [*run, json.dumps(config)]

    def _clean(self) -> None:
        folder, self._folder = self._folder, None
        if folder:  # rm, unlike shutil, has no trouble with ten thousand nested folders
            for command in (["chmod", "-R", "u+rwX"], ["rm", "-rf"]):
                subprocess.run([*command, "--", folder], stderr=subprocess.DEVNULL, timeout=60)


def _environment() -> dict[str, str]:
    one_thread = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
    fixed = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"}
    return {**fixed, **one_thread, "PYTHONUTF8": "1", "TZ": "UTC"}


def _interpreter_paths() -> list[str]:
    """The folders that programs must be able to read: the interpreter's and ``inside``."""
    wanted = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix, str(INSIDE)}
    wanted |= {
        str(Path(path).parent) for path in (sys.executable, os.path.realpath(sys.executable))
    }
    return _outermost(wanted | {os.path.realpath(path) for path in wanted})


def _outermost(paths: set[str]) -> list[str]:
    """Without the paths that lie in another one.

    >>> _outermost({"/a/b", "/a", "/ab"})
    ['/a', '/ab']
    """
    kept: list[str] = []
    for path in sorted(paths, key=lambda p: (len(p), p)):
        if not any(path == k or path.startswith(k.rstrip("/") + "/") for k in kept):
            kept.append(path)
    return kept


def _user_number() -> int:
    """A user of this sandbox's own, so that its processes are counted and killed apart."""
    if not os.path.exists("/proc/self/uid_map"):
        return 65534  # not Linux
    with open("/proc/self/uid_map") as file:
        last = max(int(first) + int(count) - 1 for first, _, count in map(str.split, file))
    offset = (os.getpid() * 64 + next(_next_user)) % _USERS
    return _FIRST_USER + offset if last >= _FIRST_USER + _USERS else min(last, 65534)


def _needs_rights_to_read(paths: list[str]) -> bool:
    """Whether an ordinary user cannot reach the interpreter; then only Landlock can help."""
    folders = {parent for path in paths for parent in (Path(path), *Path(path).parents)}
    closed = [f for f in folders if f.exists() and not f.stat().st_mode & 0o001]
    if not closed:
        return False
    if confine.landlock_abi() == 0:
        raise UserError(
            f"sandbox = kernel: only root may read {min(closed)}, where the interpreter lies: "
            "install bubblewrap, or use a Python that every user can read"
        )
    return True


def _bubblewrap(reads: list[str]) -> list[str]:
    """The bwrap command. Root needs no user name space, only the right to become someone else."""
    command = ["bwrap", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"]
    command += ["--unshare-cgroup-try", "--as-pid-1"]
    if os.getuid() == 0:
        command += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        command += ["--unshare-user"]
    made = {"/", "/usr"}
    for path in _SYSTEM:
        if os.path.exists(path):
            command += [*_folders(path, made), "--ro-bind", path, path]
    for path in reads:
        if path != "/usr" and not path.startswith("/usr/"):
            command += [*_folders(path, made), "--ro-bind", path, path]
    command += ["--proc", "/proc", "--perms", "0755", "--dir", "/dev"]
    for device in _DEVICES:
        command += ["--dev-bind", device, device]
    if _bwrap_knows("--size"):
        command += ["--size", str(256 << 20)]
    command += ["--perms", "1777", "--tmpfs", BOX, "--symlink", BOX, "/dev/shm"]
    if "/tmp" not in made:  # else the interpreter itself lies there
        command += ["--symlink", BOX, "/tmp"]
    return [*command, "--remount-ro", "/", "--chdir", BOX]


def _folders(path: str, made: set[str]) -> list[str]:
    """Create the folders above a path, readable by all (bwrap would close them to others)."""
    arguments = []
    for folder in reversed(Path(path).parents):
        if str(folder) not in made:
            made.add(str(folder))
            arguments += ["--perms", "0755", "--dir", str(folder)]
    return arguments


@functools.cache
def _bwrap_knows(option: str) -> bool:
    run = subprocess.run(["bwrap", "--help"], capture_output=True, text=True, timeout=10)
    return option in run.stdout


@functools.cache
def best_mode() -> str:
    """The safest mode that works here: bubblewrap is tried once, not only looked for."""
    if shutil.which("bwrap"):
        try:
            with Sandbox("bubblewrap") as sandbox:
                case = sandbox.run_stdin("print(6 * 7)", [""])["cases"][0]
                if case["stdout"] == "42\n":
                    return "bubblewrap"
        except (ChildGone, ChildTimeout, OSError):
            return "kernel"
    return "kernel"


def describe_sandbox() -> str:
    """One line for people: the mode, what it protects, and what would make it better."""
    with Sandbox() as sandbox:
        text = f"{sandbox.mode} ({', '.join(sandbox.protections)})"
    if sandbox.mode == "bubblewrap":
        return text
    return f"{text}; install bubblewrap for a read-only system of its own"
