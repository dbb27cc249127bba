"""papermill and nbconvert, whose import takes seconds: by itself, so that it can be had ahead."""

import sys

# jsonschema, which checks that a notebook is one, tries this for a format that no notebook has,
# and its import takes two seconds to build a parser. None is "not installed" to it.
sys.modules.setdefault("rfc3987_syntax", None)

import nbconvert  # noqa: E402
import papermill  # noqa: E402

__all__ = ["nbconvert", "papermill"]
