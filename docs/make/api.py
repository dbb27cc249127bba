"""Write docs/api/ from the docstrings of the package: ``make docs``; ``--check`` only compares.

Sources are read, not imported, so that a page needs neither torch nor vLLM and is the same on every
machine. Signatures are cut from the source as they stand there: nothing depends on a version.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

from docstrings import anchors, fenced, inline, prose, summary
from stubs import class_stub, described_fields, function_stub, methods, public, read

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "entropy_mech"
PAGES = ROOT / "docs" / "api"
# Parts of programs: what runs in the grader's sandbox, and the commands of the command line.
LEFT_OUT = ("entropy_mech.grading.inside", "entropy_mech.commands")


def pages() -> dict[str, str]:
    """Return every page's text by its file name: the package's own, and one a sub-package."""
    modules = {"entropy_mech": sorted(PACKAGE.glob("*.py"))}
    for init in sorted(PACKAGE.glob("*/__init__.py")):
        modules[_module_name(init)] = sorted(init.parent.rglob("*.py"))
    shown = {
        name: [path for path in paths if _has_names(path)]
        for name, paths in modules.items()
        if not name.startswith(LEFT_OUT)
    }
    bodies = {name: [line for p in paths for line in _module(p)] for name, paths in shown.items()}
    places = {name: _places(name, paths, bodies[name]) for name, paths in shown.items()}
    texts = {
        _file(name): "\n".join([*_head(name, paths, places), *bodies[name]]).rstrip() + "\n"
        for name, paths in shown.items()
    }
    return {"README.md": _index(shown), **texts}


def main(*, check: bool) -> int:
    """Write the pages and remove those of packages that are gone, or name those that differ."""
    PAGES.mkdir(exist_ok=True)
    texts = pages()
    there = {path.name: path.read_text(encoding="utf-8") for path in PAGES.glob("*.md")}
    differ = sorted(name for name in {*texts, *there} if texts.get(name) != there.get(name))
    for name in differ:
        if check:
            print(f"docs/api/{name} is not what the sources say: make docs", file=sys.stderr)
        elif name in texts:
            (PAGES / name).write_text(texts[name], encoding="utf-8")
        else:
            (PAGES / name).unlink()
    return int(check and bool(differ))


def _module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _file(package: str) -> str:
    return f"{package.rpartition('.')[2]}.md"


def _has_names(path: Path) -> bool:
    name = _module_name(path)
    if name.startswith(LEFT_OUT) or any(part.startswith("_") for part in name.split(".")):
        return False
    return any(public(read(path).tree.body))


def _head(name: str, modules: list[Path], places: dict[str, dict[str, str]]) -> list[str]:
    """Return a page's title, what the package exports, and the table of its modules."""
    tree = read(PACKAGE.parent.joinpath(*name.split("."), "__init__.py")).tree
    lines = [f"# {name}", "", *prose(ast.get_docstring(tree))]
    if words := [word for word in _exported(tree) if not word.startswith("_")]:
        links = ", ".join(_link(word, tree, name, places) for word in words)
        lines += ["", f"Imported from `{name}` itself: {links}."]
    lines += ["", "| module | what it is |", "|---|---|"]
    for path in modules:
        module = _module_name(path)
        said = summary(ast.get_docstring(read(path).tree))
        lines.append(f"| [`{module}`](#{places[name][module]}) | {said} |")
    return [*lines, ""]


def _exported(tree: ast.Module) -> list[str]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return ast.literal_eval(node.value)
    return []


def _link(word: str, tree: ast.Module, page: str, places: dict[str, dict[str, str]]) -> str:
    """Link an exported name to its entry, on whichever page that is; constants have none."""
    keys = [f"{page}.{word}"]
    for node in ast.walk(tree):  # imports inside functions too: some names are made when asked for
        if isinstance(node, ast.ImportFrom) and word in [alias.name for alias in node.names]:
            keys.append(f"{node.module}.{word}")
    for other, entries in places.items():
        for key in keys:
            if key in entries:
                return f"[`{word}`]({'' if other == page else _file(other)}#{entries[key]})"
    return f"`{word}`"


def _places(package: str, modules: list[Path], body: list[str]) -> dict[str, str]:
    """Return the anchors of a page's modules and of their names, by dotted name."""
    names = []
    for path in modules:
        module = _module_name(path)
        names.append(module)
        for node in public(read(path).tree.body):
            names.append(f"{module}.{node.name}")
            if isinstance(node, ast.ClassDef):
                names += [f"{module}.{node.name}.{method.name}" for method in methods(node)]
    return dict(zip(names, anchors([f"# {package}", *body])[1:], strict=True))


def _module(path: Path) -> list[str]:
    source, where = read(path), path.relative_to(ROOT).as_posix()
    lines = [f"## {_module_name(path)}", "", f"[`{where}`](../../{where})", ""]
    lines += [*prose(ast.get_docstring(source.tree)), ""]
    for node in public(source.tree.body):
        lines += [f"### {node.name}", ""]
        if isinstance(node, ast.ClassDef):
            lines += _class(node, source)
        else:
            lines += _described(node, function_stub(node, source))
    return lines


def _class(node: ast.ClassDef, source) -> list[str]:
    lines = _described(node, class_stub(node, source))
    if fields := described_fields(node, source):
        lines += [*(f"- `{name}`: {inline(said)}" for name, said in fields), ""]
    for method in methods(node):
        lines += [f"#### {node.name}.{method.name}", ""]
        lines += _described(method, function_stub(method, source))
    return lines


def _described(node, stub: list[str]) -> list[str]:
    said = prose(ast.get_docstring(node))
    return [*fenced("pyi", stub), *said, *([""] if said else [])]


def _index(shown: dict[str, list[Path]]) -> str:
    lines = [
        "# API reference",
        "",
        "The public names of each sub-package, with signature and docstring. Made from the sources",
        "by `make docs`; a test compares the two.",
        "",
        "| package | what it is | modules |",
        "|---|---|---|",
    ]
    for name, modules in shown.items():
        tree = read(PACKAGE.parent.joinpath(*name.split("."), "__init__.py")).tree
        said = re.sub(r"\s+", " ", summary(ast.get_docstring(tree)))
        lines.append(f"| [`{name}`]({_file(name)}) | {said} | {len(modules)} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv[1:]))
