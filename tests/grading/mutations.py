"""One-line changes to programs, and an independent judge: a fresh interpreter a program."""

import ast
import random
import signal
import subprocess
import sys

_SWAPPED = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip

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


def mutate(program: str, seed: str) -> str | None:
    """Change one operator, number or returned value; None where there is nothing to change."""
    tree = ast.parse(program)
    spots = []
    for node in ast.walk(tree):
        if (isinstance(node, ast.BinOp) and type(node.op) in _SWAPPED) or isinstance(
            node, ast.BoolOp
        ):
            spots.append(lambda n=node: setattr(n, "op", _SWAPPED[type(n.op)]()))
        elif isinstance(node, ast.Compare) and type(node.ops[0]) in _SWAPPED:
            spots.append(lambda n=node: n.ops.__setitem__(0, _SWAPPED[type(n.ops[0])]()))
        elif isinstance(node, ast.Constant) and type(node.value) is int:
            spots.append(lambda n=node: setattr(n, "value", n.value + 1))
        elif isinstance(node, ast.Return) and node.value is not None:
            spots.append(lambda n=node: setattr(n, "value", ast.Constant(None)))
    if not spots:
        return None
    random.Random(seed).choice(spots)()
    return ast.unparse(tree)


def fresh_interpreter_passes(program: str, tests: str, cpu_s: int) -> bool | None:
    """Whether all test functions pass in an interpreter of their own; None at the limit.

    The limit is on processor seconds, so that a busy machine does not change the verdict; one
    that waits without computing is given twenty times as long.
    """
    import json

    try:
        run = subprocess.run(
            [sys.executable, "-c", _JUDGE],
            input=json.dumps({"program": program, "tests": tests, "cpu_s": cpu_s}),
            capture_output=True,
            text=True,
            timeout=20 * cpu_s,
        )
    except subprocess.TimeoutExpired:
        return None
    at_the_limit = run.returncode in (-signal.SIGXCPU, -signal.SIGKILL)
    return None if at_the_limit else run.returncode == 0
