"""The child process that executes one notebook and leaves it beside its HTML.

Importing it takes seconds, for papermill and nbconvert do: the fork server has it ahead.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from entropy_mech.runs.store import atomic_write, folder_lock, read_json_if_whole, write_json

# jsonschema, which checks that a notebook is one, tries this for a format that no notebook has,
# and its import takes two seconds to build a parser. None is "not installed" to it.
sys.modules.setdefault("rfc3987_syntax", None)

import nbconvert  # noqa: E402
import papermill  # noqa: E402


def execute(source: Path, output: Path, parameters: dict[str, Any], stamp: Path, key: str) -> None:
    """Execute a notebook with papermill; the output appears whole, as .ipynb and .html.

    ``key`` names all that the result depends on; it is written to ``stamp`` last, so that a
    stamp with the right key means a result that is there. The source is never written to. Of two
    that are to make the same at once, the second waits and takes what the first has made.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    with folder_lock(stamp.with_suffix(".lock")):
        if read_json_if_whole(stamp).get("key") != key or not output.exists():
            _execute(source, output, parameters)
            write_json(stamp, {"key": key})


def _execute(source: Path, output: Path, parameters: dict[str, Any]) -> None:
    with atomic_write(output) as running:
        papermill.execute_notebook(
            str(source), str(running), parameters=parameters, progress_bar=False, log_output=False
        )
        html, _ = nbconvert.HTMLExporter(exclude_input_prompt=True).from_filename(str(running))
        with atomic_write(output.with_suffix(".html")) as page:
            page.write_text(html)


def main() -> int:
    """Read the arguments of ``execute`` as JSON from stdin."""
    order = json.load(sys.stdin)
    execute(**order | {name: Path(order[name]) for name in ("source", "output", "stamp")})
    return 0


if __name__ == "__main__":
    sys.exit(main())
