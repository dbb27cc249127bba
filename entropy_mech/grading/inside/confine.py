"""Take rights away from the calling process: namespaces, Landlock, another user, limits.

Linux offers each of these to a process about itself, and none can be taken back. Everything
here says what it obtained and raises nothing when the kernel refuses, except where going on
would be unsafe (a user that could not be dropped, a limit that could not be set).
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import resource
import signal
import struct

_LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUTS = 0x00020000, 0x08000000, 0x04000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
_PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 4, 36, 38
# Landlock has the same system call numbers on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_READ_FILE, _READ_DIR, _EXECUTE = 1 << 2, 1 << 3, 1 << 0
_ALL_RIGHTS_BY_ABI = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # number of file rights each ABI knows
_IOCTL_DEV = 1 << 15
_FILE_RIGHTS = _EXECUTE | 1 << 1 | _READ_FILE | 1 << 14 | _IOCTL_DEV


def _prctl(option: int, value: int) -> bool:
    try:
        return _LIBC.prctl(option, value, 0, 0, 0) == 0
    except AttributeError:  # not Linux
        return False


def no_new_privileges() -> bool:
    """Forbid this process and its children to gain rights through set-uid programs."""
    return _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def hide_memory(hidden: bool = True) -> bool:
    """Forbid processes of the same user to trace this one or to read its memory and environment."""
    return _prctl(_PR_SET_DUMPABLE, 0 if hidden else 1)


def adopt_orphans() -> bool:
    """Become the parent of every descendant whose own parent ends, so that none gets away."""
    return _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def own_namespaces() -> list[str]:
    """Leave the machine's process, network and IPC namespaces; return those really left.

    The process namespace begins with the next child. Without root a user namespace comes first.
    """
    unshare = getattr(_LIBC, "unshare", None)
    if unshare is None or not os.path.isdir("/proc/self"):  # without it no user could be mapped
        return []
    uid, gid = os.getuid(), os.getgid()
    flags = CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS
    if unshare(flags if uid == 0 else flags | CLONE_NEWUSER) != 0:
        return []
    if uid != 0:
        for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
        with open("/proc/self/gid_map", "w") as file:
            file.write(f"{gid} {gid} 1")
    return ["processes", "network", "ipc"]


def landlock_abi() -> int:
    """The version of Landlock that this kernel offers; 0 where there is none."""
    if not hasattr(_LIBC, "syscall"):
        return 0
    return max(0, _LIBC.syscall(_CREATE_RULESET, None, 0, 1))


def landlock(read_paths: list[str], write_paths: list[str]) -> list[str]:
    """Confine this process for good to reading and writing below the given paths.

    From ABI 4 on TCP is forbidden too, from ABI 6 on signals to processes outside.
    """
    abi = landlock_abi()
    if abi == 0:
        return []
    every = (1 << _ALL_RIGHTS_BY_ABI.get(abi, 16)) - 1
    tcp, scope = (3 if abi >= 4 else 0), (3 if abi >= 6 else 0)
    attributes = struct.pack("=QQQ", every, tcp, scope)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    ruleset = _LIBC.syscall(_CREATE_RULESET, attributes, size, 0)
    if ruleset < 0:
        return []
    try:
        reading = (_READ_FILE | _READ_DIR | _EXECUTE) & every
        rights = {**dict.fromkeys(read_paths, reading), **dict.fromkeys(write_paths, every)}
        for path in filter(os.path.exists, rights):
            _allow(ruleset, path, rights[path])
        no_new_privileges()
        if _LIBC.syscall(_RESTRICT_SELF, ruleset, 0) != 0:
            return []
    finally:
        os.close(ruleset)
    return ["files"] + ["tcp"] * (abi >= 4) + ["signals"] * (abi >= 6)


def _allow(ruleset: int, path: str, rights: int) -> None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not os.path.isdir(path):
            rights &= _FILE_RIGHTS
        rule = struct.pack("=Qi", rights, fd)
        if _LIBC.syscall(_ADD_RULE, ruleset, 1, rule, 0) != 0:
            raise OSError(ctypes.get_errno(), "landlock_add_rule", path)
    finally:
        os.close(fd)


def become_user(uid: int, keep_reading: bool = False) -> None:
    """Give up root for good; the numbers need no entry in /etc/passwd.

    With ``keep_reading`` the process may still read every file, which is for kernels where
    Landlock then narrows it to the interpreter's own folders. Raises OSError if still root.
    """
    if keep_reading:
        _prctl(8, 1)  # PR_SET_KEEPCAPS
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    if keep_reading:
        _only_capability(2)  # CAP_DAC_READ_SEARCH
    if os.getuid() == 0 or os.geteuid() == 0:
        raise PermissionError("still root after giving it up")


def _only_capability(number: int) -> None:
    header = struct.pack("=Ii", 0x20080522, 0)
    data = struct.pack("=6I", 1 << number, 1 << number, 0, 0, 0, 0)
    if _LIBC.capset(header, data) != 0:
        raise OSError(ctypes.get_errno(), "capset")


# What the kernel limits for a program, by the names of ``Limits``, with its unit; and for all.
_LIMITED = {
    "timeout_s": ("RLIMIT_CPU", 1),
    "memory_gib": ("RLIMIT_AS", 1 << 30),
    "file_mib": ("RLIMIT_FSIZE", 1 << 20),
    "processes": ("RLIMIT_NPROC", 1),
}
_ALWAYS = {"RLIMIT_CORE": 0, "RLIMIT_NOFILE": 256, "RLIMIT_STACK": 64 << 20,
           "RLIMIT_MEMLOCK": 0, "RLIMIT_MSGQUEUE": 0}  # fmt: skip


def set_limits(limits: dict, processes_already: int = 0) -> None:
    """Set the kernel's own limits on the calling process, before it runs anything untrusted."""
    wanted = {
        "timeout_s": int(limits["timeout_s"]) + 2,  # the clock on the wall strikes first
        "memory_gib": limits["memory_gib"],
        "file_mib": max(limits["file_mib"], limits["output_mib"]),  # output goes to files
        "processes": limits["processes"] + processes_already,
    }
    own = {kernels: int(wanted[name] * unit) for name, (kernels, unit) in _LIMITED.items()}
    for name, value in {**_ALWAYS, **own}.items():
        if (hard := _hard_limit(name)) is not None:
            value = int(min(value, hard))
            resource.setrlimit(getattr(resource, name), (value, value))


def hard_limits() -> dict[str, float]:
    """What the machine grants this process at most, by the names of ``Limits``."""
    found = {name: (_hard_limit(kernels), unit) for name, (kernels, unit) in _LIMITED.items()}
    return {n: hard / unit for n, (hard, unit) in found.items() if hard not in (None, math.inf)}


def _hard_limit(name: str) -> float | None:
    """Infinite where there is none; None where this system does not know the limit."""
    kind = getattr(resource, name, None)
    hard = None if kind is None else resource.getrlimit(kind)[1]
    return math.inf if hard in (-1, resource.RLIM_INFINITY) else hard


def close_all_but(*keep: int) -> None:
    """Close every descriptor above standard error, but these."""
    last = 3
    for fd in sorted(keep):
        os.closerange(last, fd)
        last = fd + 1
    os.closerange(last, 4096)


def processes_of(uid: int) -> int:
    """Count the processes and threads of a user, which RLIMIT_NPROC counts as well."""
    total = 0
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if name.isdigit():
            try:
                if os.stat(f"/proc/{name}").st_uid == uid:
                    total += len(os.listdir(f"/proc/{name}/task"))
            except OSError:
                continue  # it has just ended
    return total


def descendants(root: int) -> list[int]:
    """Process ids of everything below ``root``, where /proc can tell; nearest first."""
    children: dict[int, list[int]] = {}
    names: list[str] = []
    with contextlib.suppress(OSError):  # no /proc, or no descriptor left to read it with
        names = os.listdir("/proc")
    for name in names:
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat") as file:
                parent = int(file.read().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(name))
    found, todo = [], [root]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def kill(*pids: int) -> None:
    """End processes; a negative number is a group, and -1 all of this process namespace."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
