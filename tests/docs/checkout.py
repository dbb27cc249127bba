"""A folder a page: what its reader's checkout would be, after what the page says so far."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.docs import commands
from tests.docs.pages import BLOCKS, ROOT, Block

_NAMED = re.compile(r"# ([\w./]+\.(?:py|toml))\n")
_SHOWN = ("reproduce", "notebooks", "benchmarks", "docs", "tests", "entropy_mech")


class Checkout:
    """Blocks of one page, executed in order in one folder and one namespace.

    A block of Python or TOML whose first line is a comment with a path is written there. A page
    with differences gets copies of the package and its tests with the differences applied, and
    its commands run in processes of that copy; other pages get links, and only the run files are
    copies.
    """

    def __init__(self, page: str, folder: Path):
        self.folder, self.names, self.printed = folder, {"__name__": "page"}, ""
        self.waiting = [block for block in BLOCKS if block.page == page]
        differences = [block for block in self.waiting if block.language == "diff"]
        self.changed = bool(differences)
        for name in _SHOWN:
            if self.changed or name == "reproduce":
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / name, folder / name, ignore=ignored)
            else:
                (folder / name).symlink_to(ROOT / name)
        for block in differences:
            apply(block.text, folder)

    def reach(self, block: Block) -> None:
        """Execute what the page has before ``block`` and was not executed yet, then it."""
        while block in self.waiting:
            first = self.waiting.pop(0)
            # What needs a package that may be missing stands alone.
            for_all = first.language in ("python", "toml") and not first.needs_trl
            if first == block or for_all:
                self._execute(first)

    def _execute(self, block: Block) -> None:
        named = _NAMED.match(block.text)
        if named:
            own = self.changed or named[1].startswith("reproduce/")
            assert own, f"{block}: show the difference that makes {named[1]} part of the package"
            (self.folder / named[1]).write_text(block.text)
        if block.language == "python":
            # As many empty lines before it as make the lines of an error the page's own.
            source = "\n" * (block.line - 1) + block.text
            exec(compile(source, block.page, "exec", dont_inherit=True), self.names)
        elif block.language == "toml":
            assert named, f"{block}: say in a first line, # reproduce/runs/NAME.toml, where it lies"
            self._command(f"entropy-mech train {named[1]} --dry-run")
        elif block.language == "sh":
            for line in commands.lines_of(block.text):
                self._command(line)

    def _command(self, line: str) -> None:
        if not self.changed:
            commands.check(line)
            return
        command = [sys.executable, "-m", "tests.docs.commands", line]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


def apply(difference: str, folder: Path) -> None:
    """Apply a difference (unified, without line numbers); each hunk must fit in one place."""
    for name, body in re.findall(r"^\+\+\+ b/(\S+)\n(.*?)(?=^--- a/|\Z)", difference, re.M | re.S):
        path = folder / name
        text = path.read_text()
        for hunk in body.split("@@\n")[1:]:
            lines = hunk.splitlines(keepends=True)
            before = "".join(line[1:] for line in lines if line[0] in " -")
            after = "".join(line[1:] for line in lines if line[0] in " +")
            assert text.count(before) == 1, f"{name}: not there, or more than once:\n{before}"
            text = text.replace(before, after)
        path.write_text(text)
