"""Public names of a source file, each as the stub that a reader wants: no body, no import."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

Function = ast.FunctionDef | ast.AsyncFunctionDef
_WIDTH = 88


@dataclass(frozen=True)
class Source:
    """A parsed file; expressions are cut from it as they are written."""

    path: Path
    tree: ast.Module
    lines: tuple[bytes, ...]

    def text(self, node: ast.expr) -> str:
        """Return an expression on one line, without its line comments."""
        rows = list(self.lines[node.lineno - 1 : node.end_lineno])
        rows[-1] = rows[-1][: node.end_col_offset]
        rows[0] = rows[0][node.col_offset :]
        parts = [re.sub(r"\s+# .*$", "", row.decode()).strip() for row in rows]
        joined = re.sub(r"([(\[{]) ", r"\1", " ".join(parts))
        return re.sub(r",? ([)\]}])", r"\1", joined)


@cache
def read(path: Path) -> Source:
    """Return a file, parsed once."""
    raw = path.read_bytes()
    return Source(path, ast.parse(raw), tuple(raw.split(b"\n")))


def public(body: list[ast.stmt]) -> Iterator[Function | ast.ClassDef]:
    """Yield the functions and classes without a leading underscore, in the file's order."""
    for node in body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            yield node


def methods(node: ast.ClassDef) -> list[Function]:
    """Return the public methods and properties that say what they do."""
    return [n for n in public(node.body) if isinstance(n, Function) and ast.get_docstring(n)]


def function_stub(node: Function, source: Source) -> list[str]:
    """Return a function's signature, on one line or with a line an argument."""
    word = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    returns = f" -> {source.text(node.returns)}" if node.returns else ""
    arguments = _arguments(node.args, source)
    flat = f"{word} {node.name}({', '.join(arguments)}){returns}: ..."
    if len(flat) <= _WIDTH:
        return [*_decorators(node, source), flat]
    body = [f"    {argument}," for argument in arguments]
    return [*_decorators(node, source), f"{word} {node.name}(", *body, f"){returns}: ..."]


def class_stub(node: ast.ClassDef, source: Source) -> list[str]:
    """Return a class's head and fields; where it has none, what it is made from."""
    bases = ", ".join(source.text(base) for base in node.bases)
    head = f"class {node.name}({bases}):" if bases else f"class {node.name}:"
    body = [_field(part, source) for part in _annotated(node)]
    for part in node.body:
        if isinstance(part, Function) and part.name == "__init__":
            body += function_stub(part, source)
    return [*_decorators(node, source), head, *(f"    {line}" for line in body or ["..."])]


def described_fields(node: ast.ClassDef, source: Source) -> list[tuple[str, str]]:
    """Return (name, description) of the fields of a settings class."""
    constants = {
        part.targets[0].id: part.value.value
        for part in source.tree.body
        if isinstance(part, ast.Assign)
        and isinstance(part.targets[0], ast.Name)
        and isinstance(part.value, ast.Constant)
    }
    found = []
    for part in _annotated(node):
        for keyword in _field_keywords(part):
            if keyword.arg == "description":
                value = keyword.value
                said = value.value if isinstance(value, ast.Constant) else constants[value.id]
                found.append((part.target.id, said))
    return found


def _decorators(node: Function | ast.ClassDef, source: Source) -> list[str]:
    return [f"@{source.text(decorator)}" for decorator in node.decorator_list]


def _annotated(node: ast.ClassDef) -> list[ast.AnnAssign]:
    fields = [part for part in node.body if isinstance(part, ast.AnnAssign)]
    return [part for part in fields if not part.target.id.startswith("_")]


def _field_keywords(part: ast.AnnAssign) -> list[ast.keyword]:
    """Return what a field of a settings class is told: bounds, description."""
    if isinstance(part.value, ast.Call) and getattr(part.value.func, "id", "") == "Field":
        return part.value.keywords
    return []


def _field(part: ast.AnnAssign, source: Source) -> str:
    """Return a field's line; its description is told below the stub."""
    text = f"{part.target.id}: {source.text(part.annotation)}"
    keywords = _field_keywords(part)
    if keywords:
        told = [source.text(argument) for argument in part.value.args]
        told += [f"{k.arg}={source.text(k.value)}" for k in keywords if k.arg != "description"]
        return f"{text} = Field({', '.join(told)})"
    return text + (f" = {source.text(part.value)}" if part.value else "")


def _arguments(args: ast.arguments, source: Source) -> list[str]:
    positional = [*args.posonlyargs, *args.args]
    defaults = [None] * (len(positional) - len(args.defaults)) + list(args.defaults)
    words = [_argument(a, d, source) for a, d in zip(positional, defaults, strict=True)]
    if args.posonlyargs:
        words.insert(len(args.posonlyargs), "/")
    if args.vararg:
        words.append("*" + _argument(args.vararg, None, source))
    elif args.kwonlyargs:
        words.append("*")
    for argument, default in zip(args.kwonlyargs, args.kw_defaults, strict=True):
        words.append(_argument(argument, default, source))
    if args.kwarg:
        words.append("**" + _argument(args.kwarg, None, source))
    return words


def _argument(arg: ast.arg, default: ast.expr | None, source: Source) -> str:
    text = arg.arg + (f": {source.text(arg.annotation)}" if arg.annotation else "")
    if default is None:
        return text
    return f"{text}{' = ' if arg.annotation else '='}{source.text(default)}"
