# ruff: noqa: E501 (programs are easier to read on their own lines)
"""Containers that tests and program both hold: at random, the same as in one process."""

import random

import pytest

from entropy_mech.grading import Limits, Sandbox
from entropy_mech.grading.code import grade_program

PROGRAM = """
import collections
class Stack(list):
    def both(self, o): self.append(o); return o
class O:
    def __init__(self, x=None):
        self.x = [] if x is None else x
        self.d, self.s, self.q, self.st = {"k": self.x}, {1}, collections.deque([1], 3), Stack([1])
    def keep(self, a): self.kept = a; return a
    def get(self): return self.kept
    def push(self, v): self.x.append(v); return self.x
    def nest(self): self.x.append([self.x]); return self.x[-1]
    def drop(self): return self.x.pop() if self.x else None
    def put(self, k, v): self.d[k] = v; return dict(self.d)
    def call(self, f): return f(self.x)
    def swap(self, o): self.x, o.x = o.x, self.x
    def copy(self): return list(self.x)
"""
SHAPE = """
def shape(v, seen, depth=0):
    if id(v) in seen: return f"<{seen[id(v)]}>"
    if isinstance(v, (list, dict, set)) or type(v).__name__ == "deque":
        seen[id(v)] = len(seen)
        items = list(v.items()) if isinstance(v, dict) else list(v)
        return "..." if depth > 6 else type(v).__name__ + str([shape(i, seen, depth + 1) for i in items])
    if isinstance(v, tuple): return str([shape(i, seen, depth + 1) for i in v])
    return "O" if type(v).__name__ == "O" else repr(v)
"""
ALL = "log.append(shape((w, [(o.x, o.d, o.s, o.q, o.st) for o in v], keep), {}))"


def script(rng):
    """Lines that pass containers to and fro and change them on either side."""
    lines = ["v = [O(), O([5])]; w = [[1, [2]], {'a': [3]}, [], {4}]; log = []; keep = []"]
    for i in range(rng.randint(10, 40)):
        o = rng.choice(["v[0]", "v[1]"])
        a = rng.choice(
            ["w[0]", "w[2]", "w[1]['a']", f"{o}.x", "v[0].d['k']", "v[1].st", "keep[-1]"]
        )
        lines.append(
            rng.choice(
                [
                    f"{a}.append({i})", f"{a}.insert(0, {i})", f"{a}.append({a}[:1])", f"{a}.clear()",
                    f"{a}.extend([{i}, [{i}]])", f"keep.append({o}.push({i}))", f"keep.append({o}.nest())",
                    f"log.append(shape({o}.drop(), {{}}))", f"{o}.keep({a})", f"keep.append({o}.get())",
                    f"keep.append({o}.put('z{i % 3}', {a}))", f"log.append({o}.call(lambda x: (x.append({i}), len(x))[1]))",
                    "v[0].swap(v[1])", f"{o}.x = {a}", f"{o}.d['m'] = {{'n': {a}}}", f"log.append({a} is {o}.x)",
                    f"{o}.s.add({i})", f"{o}.q.append({a})", f"keep.append({o}.copy())", f"w[2] = {a}",
                    f"w[1]['b'] = {o}.d", f"keep.append({o}.st.both({a}))", "keep[:] = keep[-3:]", f"del {a}[:1]",
                    f"{a}.reverse()", f"log.append({o}.push({i}) is {o}.x)", ALL,
                ]
            )
        )  # fmt: skip
    return [*lines, ALL]


RUN = """
def run(lines, space):
    for line in lines:
        try: exec(line, space)
        except Exception as error: space["log"].append(type(error).__name__)
    return space["log"]
"""


@pytest.fixture(scope="module")
def box():
    with Sandbox() as sandbox:
        yield sandbox


@pytest.mark.parametrize("seed", range(12))
def test_what_either_side_does_to_a_container_the_other_sees(box, seed):
    lines = script(random.Random(seed))
    native: dict = {}
    exec(PROGRAM + SHAPE + RUN, native)
    expected = native["run"](lines, native)
    tests = (
        f"from solution import O, Stack\n{SHAPE}{RUN}\ndef test_all():\n"
        f"    got = run({lines!r}, dict(globals()))\n    want = {expected!r}\n"
        "    assert got == want, [pair for pair in zip(got, want) if pair[0] != pair[1]][:1]\n"
    )
    verdict = grade_program(PROGRAM, tests, box, Limits(timeout_s=20.0))
    assert verdict.name == "correct", verdict.reason
