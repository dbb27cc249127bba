# ruff: noqa: E501 (programs are easier to read on their own lines)
"""Programs that attack the sandbox, in both modes: what they get, and that nothing hangs."""

import os
import shutil
import time

import pytest

from entropy_mech.errors import UserError
from entropy_mech.grading import Limits, Sandbox, Verdict
from entropy_mech.grading.code import grade_program
from entropy_mech.grading.inside.confine import descendants

QUICK = Limits(timeout_s=0.7, processes=12, memory_gib=0.5, output_mib=1.0, file_mib=1.0)


def run(sandbox, program, limits=QUICK, stdin=""):
    """Run, and check the promise that holds for every program: an end, and nothing left of it."""
    case = sandbox.run_stdin(program, [stdin], limits)["cases"][0]
    assert case["ended"] in ("exit", "timeout", "output")
    if sandbox.pid and "processes" in sandbox.ready["protections"]:
        assert len(descendants(sandbox.pid)) == 1  # the warm process
    return case


def is_alive_and_clean(sandbox):
    listing = "import os; print(os.listdir('.'))"
    assert sandbox.run_stdin(listing, [""])["cases"][0]["stdout"] == "[]\n"


def test_a_program_runs_like_a_script(sandbox):
    program = "import sys\nif __name__ == '__main__':\n    print(input()[::-1])\n    sys.exit(3)"
    case = run(sandbox, program, stdin="abc")
    assert (case["stdout"], case["exit"], case["ended"]) == ("cba\n", 3, "exit")


def test_an_exception_ends_with_1_and_a_traceback(sandbox):
    case = run(sandbox, "def f():\n    return 1 / 0\nf()")
    assert case["exit"] == 1
    assert "ZeroDivisionError" in case["stderr"]
    assert "line 2" in case["stderr"]


def test_runs_do_not_see_each_other(sandbox):
    case = run(sandbox, "open('left', 'w').write('x'); import math; math.pi = 3; print(1)")
    assert case["stdout"] == "1\n"
    case = run(sandbox, "import math, os; print(math.pi, os.path.exists('left'))")
    assert case["stdout"] == "3.141592653589793 False\n"


def test_nobody_is_root_and_the_environment_is_empty(sandbox):
    os.environ["SECRET_FOR_THE_TEST"] = "leak"
    try:
        case = run(sandbox, "import os; print(os.getuid(), sorted(os.environ))")
    finally:
        del os.environ["SECRET_FOR_THE_TEST"]
    user, names = case["stdout"].split(" ", 1)
    assert int(user) != 0
    assert "SECRET" not in names


ENDLESS = {
    "infinite loop": "while True: pass",
    "swallows exceptions and signals": (
        "import signal\nfor n in range(1, 65):\n    try: signal.signal(n, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\n"
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass"
    ),
    "sleep": "import time; time.sleep(1000)",
    "waits for input that does not come": "import select; select.select([], [], [])",
    "endless thread": (
        "import threading\ndef spin():\n    while True: pass\nthreading.Thread(target=spin).start()"
    ),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_endless_programs_are_killed_in_time(sandbox, name):
    assert run(sandbox, ENDLESS[name])["ended"] == "timeout"
    is_alive_and_clean(sandbox)


def test_daemon_threads_do_not_keep_a_program_alive(sandbox):
    program = (
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()\nprint('done')"
    )
    case = run(sandbox, program)
    assert (case["ended"], case["stdout"]) == ("exit", "done\n")


def test_few_processes_may_start(sandbox):
    program = (
        "import os, time\nstarted = 0\ntry:\n    for _ in range(40):\n"
        "        if os.fork() == 0:\n            time.sleep(60)\n            os._exit(0)\n"
        "        started += 1\nexcept OSError:\n    print(started)"
    )
    assert 1 <= int(run(sandbox, program)["stdout"]) <= QUICK.processes
    is_alive_and_clean(sandbox)


def test_fork_bomb_leaves_nothing_behind(sandbox):
    program = (
        "import os\nwhile True:\n    try:\n        os.fork()\n        os.setsid()\n"
        "    except OSError: pass"
    )
    assert run(sandbox, program)["ended"] == "timeout"
    is_alive_and_clean(sandbox)
    count = "import os; print(sum(p.isdigit() for p in os.listdir('/proc')))"
    if sandbox.mode == "bubblewrap":
        assert int(run(sandbox, count)["stdout"]) == 2  # the warm process and the program


def test_a_daemon_does_not_survive(sandbox):
    program = (
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
        "        time.sleep(0.3)\n        open('late', 'w').close()\n    os._exit(0)\nprint(1)"
    )
    assert run(sandbox, program)["stdout"] == "1\n"
    time.sleep(0.5)
    is_alive_and_clean(sandbox)


def test_memory_is_limited(sandbox):
    case = run(sandbox, "try:\n    bytearray(10 << 30)\nexcept MemoryError:\n    print('no')")
    assert case["stdout"] == "no\n"
    assert run(sandbox, "x = []\nwhile True: x.append(bytearray(1 << 24))")["exit"] != 0


def test_output_is_limited(sandbox):
    case = run(sandbox, "while True: print('x' * 65536)")
    assert case["ended"] == "output"
    assert len(case["stdout"]) <= QUICK.output_mib * 2**20
    case = run(sandbox, "import sys\nwhile True: sys.stderr.write('x' * 65536)")
    assert case["ended"] == "output"


def test_files_are_limited(sandbox):
    program = "f = open('big', 'wb')\nfor _ in range(64): f.write(b'x' * (1 << 20)); f.flush()"
    case = run(sandbox, program)
    assert case["exit"] != 0
    is_alive_and_clean(sandbox)


def test_closing_stdout_is_no_crash(sandbox):
    case = run(sandbox, "import os, sys\nsys.stdout.close()\nos.close(1)")
    assert case["ended"] == "exit"
    assert case["stdout"] == ""


def test_deep_recursion_hurts_only_itself(sandbox):
    case = run(sandbox, "import sys\nsys.setrecursionlimit(10**9)\nclass A:\n"
               "    def __getattr__(self, n): return getattr(self, n + 'a')\nA().x")  # fmt: skip
    assert case["ended"] in ("exit", "timeout")
    assert case["exit"] != 0
    is_alive_and_clean(sandbox)


def test_unreadable_folders_are_swept(sandbox):
    program = "import os\nos.makedirs('a/b/c')\nopen('a/b/f', 'w').close()\nos.chmod('a/b', 0)\nos.chmod('a', 0)"
    run(sandbox, program)
    is_alive_and_clean(sandbox)


READS = {
    "/etc/passwd": "open('/etc/passwd').read()",
    "the parent's environment": "open(f'/proc/{os.getppid()}/environ').read()",
    "some process's environment": (
        "''.join(open(f'/proc/{p}/environ').read() for p in os.listdir('/proc') "
        "if p.isdigit() and int(p) != os.getpid())"
    ),
    "the parent's memory": "open(f'/proc/{os.getppid()}/mem', 'rb').read(1)",
    "the user's files": f"os.listdir({os.path.expanduser('~')!r})[0]",
    "this repository": f"open({os.path.abspath('pyproject.toml')!r}).read()",
}


@pytest.mark.parametrize("name", READS)
def test_reading_what_is_not_its_own(sandbox, name):
    if sandbox.mode == "kernel" and "files" not in sandbox.protections:
        pytest.skip("this kernel has no Landlock, so files stay readable")
    program = f"import os\ntry:\n    print({READS[name]})\nexcept (OSError, IndexError) as e:\n    print('refused')"
    text = run(sandbox, program)["stdout"].strip()
    assert text in ("refused", "", ".pyenv"), text  # the way to the interpreter may be visible


@pytest.mark.parametrize("path", ["/tmp/../escaped", "/usr/escaped", "/etc/escaped", "/dev/escaped",
                                  "/var/tmp/escaped", "/proc/sys/kernel/hostname"])  # fmt: skip
def test_writing_outside_the_folder(sandbox, path):
    if sandbox.mode == "kernel" and "files" not in sandbox.protections:
        pytest.skip("this kernel has no Landlock, so the user's folders stay writable")
    program = f"try:\n    open({path!r}, 'w').write('x'); print('written')\nexcept OSError: print('refused')"
    assert run(sandbox, program)["stdout"] == "refused\n"
    assert not os.path.exists(path) or path.startswith("/proc")


def test_no_network(sandbox):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        program = (
            f"import socket\ntry:\n    socket.create_connection(('127.0.0.1', {port}), 0.5)\n"
            "    print('connected')\nexcept OSError:\n    print('refused')"
        )
        assert run(sandbox, program)["stdout"] == "refused\n"


def test_killing_the_parent_and_everything(sandbox):
    starts = sandbox.starts
    program = (
        "import os, signal\nfor target in (os.getppid(), 1, -1, 0):\n"
        "    for number in (signal.SIGSTOP, signal.SIGKILL):\n        if target > 0:\n"
        "            try: os.kill(target, number)\n            except OSError: pass\nprint('still here')"
    )
    assert run(sandbox, program)["stdout"] == "still here\n"
    if "processes" in sandbox.protections:
        assert sandbox.starts == starts
    is_alive_and_clean(sandbox)


def test_a_dead_sandbox_is_replaced(mode):
    with Sandbox(mode) as sandbox:
        run(sandbox, "")
        os.killpg(sandbox.pid, 9)
        verdict = grade_program("print(1)", {"inputs": [""], "outputs": ["1"]}, sandbox, Limits())
        assert verdict == Verdict("correct", "", 1, 1)
        assert sandbox.starts == 2


def test_closing_leaves_no_process(mode):
    sandbox = Sandbox(mode)
    run(sandbox, "")
    family = [sandbox.pid, *descendants(sandbox.pid)]
    sandbox.close()
    deadline_s = time.monotonic() + 5
    while any(map(running, family)):
        assert time.monotonic() < deadline_s, "processes of a closed sandbox are still running"
        time.sleep(0.01)


def running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_wrong_settings_are_named():
    with pytest.raises(UserError, match="timeout_s = 0"):
        Limits(timeout_s=0)
    with pytest.raises(UserError, match="unknown sandbox mode 'bubblewarp': did you mean"):
        Sandbox("bubblewarp")


def test_an_interpreter_below_tmp_is_not_covered_by_the_programs_own_tmp():
    from entropy_mech.grading.sandbox import BOX, bubblewrap_command

    def links(words):
        return [words[i + 2] for i, word in enumerate(words) if word == "--symlink"]

    if not shutil.which("bwrap"):
        pytest.skip("bubblewrap (bwrap) is not installed")
    assert "/tmp" in links(bubblewrap_command(["/opt/python"]))
    assert "/tmp" not in links(bubblewrap_command(["/tmp/clone/.venv"]))
    assert BOX != "/tmp"
