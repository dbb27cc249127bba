"""Sphinx configuration of the documentation site; ``make docs`` builds it (docs/make/site.py)."""

from docutils import nodes
from latex2mathml.converter import convert

project = "entropy_mech"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
include_patterns = [
    "index.md",
    "README.md",
    "api/*.md",
    "benchmarks/*.md",
    "docs/*.md",
    "docs/guides/*.md",
    "entropy_mech/paper/README.md",
    "notebooks/*.ipynb",
]
exclude_patterns = ["docs/README.md"]  # its content is the index
html_theme = "furo"
html_title = "entropy_mech"
html_use_index = html_domain_indices = False  # the side bar and the search serve
nb_execution_mode = "off"  # they were executed by ``make reproduce``
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
autodoc_member_order = "bysource"
# What needs a GPU's packages, or another trainer's, is documented without them.
autodoc_mock_imports = ["deepspeed", "trl", "verl", "vllm"]
html_math_renderer = "mathml"


def _inline(writer, node: nodes.math) -> None:
    writer.body.append(convert(node.astext()))
    raise nodes.SkipNode


def _display(writer, node: nodes.math_block) -> None:
    writer.body.append(f'<div class="math">{convert(node.astext(), display="block")}</div>')
    raise nodes.SkipNode


def _bars_are_bars(app, what, name, thing, options, lines: list[str]) -> None:
    """Keep |x| of a docstring from being read as a substitution; ``literals`` are left alone."""
    for number, line in enumerate(lines):
        parts = line.split("``")
        parts[::2] = [part.replace("|", "\\|") for part in parts[::2]]
        lines[number] = "``".join(parts)


def setup(app) -> None:
    """Draw formulas as MathML, which browsers do by themselves: no script, no network."""
    app.connect("autodoc-process-docstring", _bars_are_bars)
    app.add_html_math_renderer("mathml", (_inline, None), (_display, None))
