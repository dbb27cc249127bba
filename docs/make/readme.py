"""Copy the table of docs/verdicts.md into README.md: ``make docs``; ``--check`` only compares."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
README, VERDICTS = ROOT / "README.md", ROOT / "docs" / "verdicts.md"
BLOCK = re.compile(r"(<!-- from docs/verdicts\.md -->\n).*?(<!-- end -->)", re.DOTALL)


def table(page: str) -> str:
    """Return the page's first table, its links leading into the page from the README."""
    rows = [line for line in page.split("\n## ")[0].splitlines() if line.startswith("|")]
    return "\n".join(rows).replace("](#", "](docs/verdicts.md#") + "\n"


def main(*, check: bool) -> int:
    """Write README's table, or say that it is not the page's."""
    text = README.read_text(encoding="utf-8")
    rows = table(VERDICTS.read_text(encoding="utf-8"))
    new, places = BLOCK.subn(lambda found: found[1] + rows + found[2], text)
    if places != 1:
        print("README.md has no one place for the table of verdicts", file=sys.stderr)
        return 1
    if check:
        if new != text:
            said = "README.md does not have the table of docs/verdicts.md: make docs"
            print(said, file=sys.stderr)
        return int(new != text)
    README.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(check=sys.argv[1:] == ["--check"]))
