"""Build the documentation site: guides, API reference, executed notebooks. ``make docs``.

Pages are staged in ``out/site-source``, each where the repository has it, so that links between
them hold: what is tracked, over it the notebooks that ``make reproduce`` has executed (from
``out/<profile>/notebooks``), and a page a sub-package whose text autodoc takes from docstrings.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
COPIED = ("README.md", "LICENSE", "CITATION.cff", "Makefile", "environment.yml", "pyproject.toml",
          "benchmarks", "docs", "entropy_mech", "notebooks", "reproduce", "tests")  # fmt: skip
# Parts of programs: what runs in the grader's sandbox, and the commands of the command line.
LEFT_OUT = ("inside", "commands", "__pycache__")
TOCTREE = "```{{toctree}}\n:caption: {caption}\n:hidden:\n\n{pages}\n```\n"


def stage(source: Path, executed: Path) -> None:
    """Lay all pages out below ``source``."""
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir(parents=True)
    for name in COPIED:
        place = ROOT / name
        if place.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
            shutil.copytree(place, source / name, ignore=ignored)
        else:
            shutil.copyfile(place, source / name)
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        if (executed / notebook.name).is_file():
            shutil.copyfile(executed / notebook.name, source / "notebooks" / notebook.name)
    _api(source)
    _index(source)


def _api(source: Path) -> None:
    package = ROOT / "entropy_mech"
    (source / "api").mkdir()
    rooms = [package, *sorted(path.parent for path in package.glob("*/__init__.py"))]
    for room in rooms:
        if room.name in LEFT_OUT:
            continue
        files = sorted(room.glob("*.py") if room == package else room.rglob("*.py"))
        modules = [_dotted(file) for file in files if not set(file.parts) & set(LEFT_OUT)]
        name = _dotted(room / "__init__.py")
        lines = [f"# {name}", ""]
        for module in modules:
            if module.endswith("__main__"):
                continue
            lines += [f"## {module}", "", "```{eval-rst}", f".. automodule:: {module}"]
            lines += ["   :members:", "   :show-inheritance:", "```", ""]
        (source / "api" / f"{name}.md").write_text("\n".join(lines))


def _dotted(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _index(source: Path) -> None:
    """Write the first page: the index of docs/, and what the side bar lists."""
    text = (ROOT / "docs" / "README.md").read_text()
    text = text.replace("](guides/", "](docs/guides/").replace("](../", "](")
    for page in ("verdicts.md", "toy-world.md"):
        text = text.replace(f"]({page}", f"](docs/{page}")

    def pages(pattern: str) -> list[str]:
        return [p.relative_to(source).as_posix() for p in sorted(source.glob(pattern))]

    groups = {
        "Start": ["README.md", "docs/verdicts.md", "docs/toy-world.md"],
        "Guides": pages("docs/guides/*.md"),
        "Notebooks": pages("notebooks/*.ipynb"),
        "API": pages("api/*.md"),
        "Numbers": ["entropy_mech/paper/README.md", *pages("benchmarks/*.md")],
    }
    trees = [TOCTREE.format(caption=name, pages="\n".join(group)) for name, group in groups.items()]
    (source / "index.md").write_text("\n".join([text, *trees]))


def build(source: Path, site: Path) -> int:
    """Run Sphinx; a warning is an error. Return its exit code."""
    shutil.rmtree(site, ignore_errors=True)
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html"]
    return subprocess.run([*command, "-c", str(ROOT / "docs"), str(source), str(site)]).returncode


def main() -> int:
    """Stage, build, and say where the site is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="toy", help="whose executed notebooks (toy)")
    parser.add_argument("--out", type=Path, default=ROOT / "out", help="folder (out)")
    arguments = parser.parse_args()
    source, site = arguments.out / "site-source", arguments.out / "site"
    stage(source, ROOT / "out" / arguments.profile / "notebooks")
    code = build(source, site)
    if code == 0:
        print(f"{site / 'index.html'}")
    return code


if __name__ == "__main__":
    sys.exit(main())
