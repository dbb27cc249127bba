"""Run programs that nobody has read: each in a fresh process with few rights and hard limits.

Two modes; ``Sandbox().mode`` and ``entropy-mech doctor`` say which one this machine gets.

``bubblewrap`` (where ``bwrap`` is installed and works): own process, network, IPC and host
name spaces; of the machine's files only the interpreter and the system libraries, read-only;
one writable folder in memory, of bounded size (and the library folders of LD_LIBRARY_PATH, where
the interpreter may need them). Covered: reading other files, other processes
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
import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from entropy_mech.errors import UserError, bad_value, unknown_name
from entropy_mech.grading.inside import confine
from entropy_mech.grading.process import ChildGone, ChildServer, GraderFailed, interpreter

INSIDE = Path(__file__).with_name("inside")
BOX = "/box"  # the one writable folder inside
SYSTEM_PATHS = (
    "/usr", "/lib", "/lib64", "/lib32", "/bin", "/etc/ld.so.cache", "/etc/alternatives",
)  # fmt: skip
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_STREAMS = {"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1",
            "stderr": "/proc/self/fd/2"}  # fmt: skip
MODES = ("auto", "bubblewrap", "kernel")
# User numbers that no system hands out (systemd reserves those below and above for its own).
_FIRST_USER, _USERS = 1_879_048_192, 1 << 20
_next_user = itertools.count()


@dataclass(frozen=True)
class Limits:
    """What one program may use. ``timeout_s`` is wall time for all of its tests together."""

    timeout_s: float = 10.0
    memory_gib: float = 1.0  # address space of each process
    processes: int = 32  # processes and threads together, those of the tests too
    file_mib: float = 16.0  # each file
    output_mib: float = 8.0  # what a run may print

    def __post_init__(self):
        for name, value in asdict(self).items():
            if not value > 0:
                raise bad_value(name, value, "give a number above 0")
        if self.timeout_s > 3600:
            raise bad_value("timeout_s", self.timeout_s, "give at most 3600 seconds")
        if self.memory_gib < 0.25:
            fix = "give at least 0.25 (the interpreter's own)"
            raise bad_value("memory_gib", self.memory_gib, fix)


class Sandbox(ChildServer):
    r"""One warm process that forks a fresh one for every program; use each from one thread.

    >>> with Sandbox() as sandbox:
    ...     sandbox.run_stdin("print(int(input()) + 1)", ["41"])["cases"][0]["stdout"]
    '42\n'
    """

    def __init__(self, mode: str = "auto"):
        if mode not in MODES:
            raise unknown_name("sandbox mode", mode, MODES)
        if mode == "bubblewrap" and not shutil.which("bwrap"):
            raise bad_value("sandbox mode", mode, "install bubblewrap (bwrap), or give 'kernel'")
        self._asked_mode = mode
        self._folder: str | None = None
        super().__init__(self._prepare, env=self._environment, after_end=self._clean)

    @functools.cached_property
    def mode(self) -> str:
        """``bubblewrap`` or ``kernel``; ``auto`` is found out when it is first needed."""
        return best_mode() if self._asked_mode == "auto" else self._asked_mode

    def run_stdin(self, program: str, inputs: list[str], limits: Limits | None = None) -> dict:
        """Run a script once for each input.

        Returns ``{"cases": [{"ended", "exit", "stdout", "stderr"}, ...]}``; ``ended`` is exit,
        timeout or output (printed too much), ``exit`` the code, negative for a signal.

        Raises:
            ChildTimeout: the program hung the sandbox.
            ChildGone: it took the sandbox down.
            GraderFailed: the sandbox failed by itself; nothing is known about the program.

        """
        job = {"kind": "stdin", "program": program, "inputs": inputs}
        return self._run(job, limits or Limits())

    def run_tests(
        self, program: str, tests: dict, limits: Limits | None = None, *,
        names: Iterable[str] = (), libraries: Iterable[str] = (), provide: bool = False,
    ) -> dict:  # fmt: skip
        """Run tests against a program in another process; see ``inside/forms.py`` for forms.

        ``names`` are those of the program that the tests ask for first, ``libraries`` the modules
        that they import; ``provide`` gives the program the names that LeetCode's judges provide.

        Returns ``{"ended", "exit", "result"}``, the result being the tests' JSON report. The
        tests never enter a process that runs the program. Raises as ``run_stdin`` does.
        """
        about = {"names": [*names], "libraries": [*libraries], "provide": provide}
        job = {"kind": "tests", "program": program, **about}
        reply = self._run(job, limits or Limits(), tests)
        if reply["ended"] == "exit" and (reply["exit"] or 0) < 0 and not reply["result"]:
            raise ChildGone(f"the tests' process was killed by signal {-reply['exit']}")
        return reply

    def _run(self, job: dict, limits: Limits, *tests: dict) -> dict:
        job = {**job, "limits": asdict(limits)}
        try:
            reply = self.ask(job, *tests, timeout_s=limits.timeout_s + 0.6)
        except ChildGone as gone:
            # In a process namespace of its own no program can send its first process a signal.
            if gone.killed and "processes" in self.ready["protections"]:
                raise GraderFailed(f"the sandbox was killed from outside: {gone}") from None
            raise
        if "failed" in reply:
            raise GraderFailed(f"the sandbox: {reply['failed']}")
        return reply

    def lacking(self, limits: Limits) -> str:
        """Which of the limits this machine does not grant, in words; "" if it grants all.

        A program that fails for want of what it was promised is not to blame.
        """
        granted = dict(self.ready.get("at_most", {}))
        if self._folder:  # of the disk; bubblewrap's lies in memory
            free_mib = shutil.disk_usage(self._folder).free / (1 << 20)
            granted["file_mib"] = min(free_mib, granted.get("file_mib", free_mib))
        return ", ".join(
            f"{name} = {value:g} is more than this machine grants a process ({granted[name]:.3g}; "
            "see ulimit -H and the disk)"
            for name, value in asdict(limits).items()
            if value > granted.get(name, value)
        )

    @property
    def protections(self) -> list[str]:
        """What the running sandbox obtained from the kernel; starts it if need be."""
        self.run_stdin("", [])
        return list(self.ready["protections"])

    def _prepare(self) -> list[str]:
        python = interpreter()
        user = _user_number() if os.getuid() == 0 else None
        reads = readable_paths(str(INSIDE))
        config = {"mode": self.mode, "user": user, "keep_reading": False, "folder": BOX}
        config["import_paths"] = [*reads, "/usr"]
        run = [python, "-s", "-P", "-B", "-X", "no_debug_ranges", str(INSIDE / "server.py")]
        if self.mode == "bubblewrap":
            # A set-uid bwrap would lose LD_LIBRARY_PATH, and needs none itself.
            own = [word for item in own_environment().items() for word in ("--setenv", *item)]
            return [*bubblewrap_command(reads), *own, *run, json.dumps(config)]
        self._folder = config["folder"] = tempfile.mkdtemp(prefix="sandbox-")
        if user is not None:
            config["keep_reading"] = _needs_rights_to_read(reads)
            os.chown(self._folder, user, user)
        config["read_paths"] = [*reads, *SYSTEM_PATHS, *DEVICES]
        return [*run, json.dumps(config)]

    def _clean(self) -> None:
        folder, self._folder = self._folder, None
        if folder:  # rm, unlike shutil, has no trouble with ten thousand nested folders
            try:
                for command in (["chmod", "-R", "u+rwX"], ["rm", "-rf"]):
                    subprocess.run([*command, "--", folder], stderr=subprocess.DEVNULL, timeout=60)
            except (OSError, subprocess.TimeoutExpired) as error:
                warnings.warn(f"{folder} could not be removed: {error}", stacklevel=2)

    def _environment(self) -> dict[str, str]:
        one_thread = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
        fixed = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"}
        own = {} if self.mode == "bubblewrap" else own_environment()
        small = {"MALLOC_ARENA_MAX": "2", "PYTHONUTF8": "1", "TZ": "UTC"}
        return {**fixed, **one_thread, **small, **own}


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


def best_mode() -> str:
    """The safest mode that works here: bubblewrap is tried once, not only looked for."""
    return "bubblewrap" if _bubblewrap_fault(sys.executable) is None else "kernel"


@functools.cache
def _bubblewrap_fault(_interpreter: str | None) -> str | None:
    """Why bubblewrap cannot be used here with an interpreter; None if it can."""
    if not shutil.which("bwrap"):
        return "install bubblewrap for a read-only system of its own"
    try:
        with Sandbox("bubblewrap") as sandbox:
            case = sandbox.run_stdin("print(6 * 7)", [""])["cases"][0]
    except (ChildGone, GraderFailed) as error:
        return f"bubblewrap is installed and does not work: {error}"
    if case["stdout"] == "42\n":
        return None
    return f"bubblewrap is installed and a program in it ended with {case['exit']}"


def describe_sandbox() -> str:
    """One line for people: the mode, what it protects, and what would make it better.

    Raises:
        GraderFailed: no program can be run here.

    """
    with Sandbox() as sandbox:
        text = f"{sandbox.mode} ({', '.join(sandbox.protections) or 'no protections'})"
        lacking = sandbox.lacking(Limits())
    return "; ".join(filter(None, [text, lacking, _bubblewrap_fault(sys.executable)]))


# -- what an interpreter needs in order to start: its folders, its environment --------------------
def library_folders() -> list[str]:
    """The folders of ``LD_LIBRARY_PATH`` that an interpreter may need, as on a cluster's modules.

    Those that hold shared libraries; none with the user's home, the current folder or temporary
    files below it, since programs will be able to read them.
    """
    names = (("HOME", "/"), ("PWD", "/"), ("TMPDIR", "/tmp"))
    private = [os.environ.get(name, default) for name, default in names]
    return [
        folder
        for folder in dict.fromkeys(os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep))
        if os.path.isabs(folder)
        and not any(Path(p).resolve().is_relative_to(os.path.realpath(folder)) for p in private)
        and any(Path(folder).glob("*.so*"))
    ]


def own_environment() -> dict[str, str]:
    """What the interpreter itself may need in order to start: its libraries, its home."""
    own = {"LD_LIBRARY_PATH": ":".join(library_folders())}
    own["PYTHONHOME"] = os.environ.get("PYTHONHOME", "")
    return {name: value for name, value in own.items() if value}


def readable_paths(also: str) -> list[str]:
    """The folders that an interpreter reads: its own, its libraries', and one more."""
    wanted = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix, also}
    wanted |= {
        str(Path(path).parent) for path in (sys.executable, os.path.realpath(sys.executable))
    }
    wanted |= {os.path.realpath(path) for path in wanted}
    return sorted(wanted | set(library_folders()))  # a folder before what is in it


# -- the bubblewrap command: name spaces of its own, a system of the few folders needed ----------
def bubblewrap_command(reads: list[str]) -> list[str]:
    """The bwrap command. Root needs no user name space, only the right to become someone else."""
    words = [shutil.which("bwrap") or "bwrap", "--unshare-ipc", "--unshare-pid", "--unshare-net"]
    words += ["--unshare-uts", "--unshare-cgroup-try", "--as-pid-1"]
    if os.getuid() == 0:
        words += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        words += ["--unshare-user"]
    made = {"/", "/usr"}
    for path in SYSTEM_PATHS:
        if os.path.exists(path):
            words += [*_folders(path, made), "--ro-bind", path, path]
    for path in reads:
        if path != "/usr" and not path.startswith("/usr/"):
            words += [*_folders(path, made), "--ro-bind", path, path]
    words += ["--proc", "/proc", "--perms", "0755", "--dir", "/dev"]
    for device in DEVICES:
        words += ["--dev-bind", device, device]
    for name, target in _STREAMS.items():
        words += ["--symlink", target, f"/dev/{name}"]
    if _bwrap_knows("--size"):
        words += ["--size", str(256 << 20)]
    words += ["--perms", "1777", "--tmpfs", BOX, "--symlink", BOX, "/dev/shm"]
    if "/tmp" not in made:  # else the interpreter itself lies there
        words += ["--symlink", BOX, "/tmp"]
    return [*words, "--remount-ro", "/", "--chdir", BOX]


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
