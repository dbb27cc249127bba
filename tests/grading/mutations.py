"""Programs that are wrong in known ways: one-line changes, and objects instead of answers."""

import ast
import random

_SWAPPED = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip


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


# What answers every call: a new object without content, or the same one each time.
_EMPTY = """
class Nothing:
    def __init__(self, *a, **k): pass
    def __call__(self, *a, **k): return Nothing()
    def __getattr__(self, name):
        if name[:2] == "__": raise AttributeError(name)
        return Nothing()
answer = Nothing
"""
_CONSTANT = _EMPTY.replace("return Nothing()", "return CONSTANT").replace(
    "answer = Nothing", "CONSTANT = Nothing()\nanswer = lambda: CONSTANT"
)
# The same, and equal to everything, in every way that a test may ask.
_LIES = """
def _yes(self, *a): return True
for _name in "eq le ge lt gt contains bool".split():
    setattr(Nothing, f"__{_name}__", _yes)
Nothing.__ne__ = lambda self, other: False
Nothing.__hash__ = lambda self: 0
Nothing.__sub__ = Nothing.__rsub__ = Nothing.__abs__ = Nothing.__add__ = lambda self, *a: self
"""
KINDS = {
    "empty objects": _EMPTY,
    "constant objects": _CONSTANT,
    "objects whose __eq__ lies": _EMPTY + _LIES,
    "a constant object whose __eq__ lies": _CONSTANT + _LIES,
}
HONEST = {
    "objects whose __eq__ lies": "empty objects",
    "a constant object whose __eq__ lies": "constant objects",
}


def instead(program: str, kind: str) -> str:
    """A program with the same names, all of which answer with objects of a kind."""
    parts = [KINDS[kind]]
    for node in ast.parse(program).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            parts.append(f"def {node.name}(*a, **k): return answer()\n")
        elif isinstance(node, ast.ClassDef):
            parts.append(f"class {node.name}(Nothing): pass\n")
    return "".join(parts)
