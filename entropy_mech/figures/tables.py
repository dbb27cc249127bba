"""Tables for readers: shown in a notebook, and written as Markdown and as LaTeX."""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

_LATEX = str.maketrans({"%": r"\%", "_": r"\_", "&": r"\&", "#": r"\#", "−": "-", "±": r"$\pm$"})


@dataclass(frozen=True, repr=False)
class Table:
    """Cells as text, with the best of each kind in bold.

    Attributes:
        cells: text; rows and columns are named by plain strings.
        bold: the same shape, True where a cell is among the best.
        caption: what the table shows, and the unit.

    """

    cells: pd.DataFrame
    bold: pd.DataFrame
    caption: str

    def __repr__(self) -> str:
        return self.markdown()

    def markdown(self) -> str:
        """Return the table in GitHub's Markdown, best in bold, the caption above."""
        name = str(self.cells.index.name or "")
        lines = [[name, *self.cells.columns], ["---", *["---:"] * self.cells.shape[1]]]
        lines += self._rows(lambda text: f"**{text}**")
        body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"{self.caption}\n\n{body}\n"

    def latex(self) -> str:
        """Return a ``tabular`` with booktabs rules, best in bold, in a ``table``."""
        name = str(self.cells.index.name or "")
        rows = self._rows(lambda text: f"\\textbf{{{text}}}", lambda t: t.translate(_LATEX))
        head = [text.translate(_LATEX) for text in (name, *self.cells.columns)]
        body = "\n".join(" & ".join(row) + r" \\" for row in rows)
        return (
            "\\begin{table}\n\\centering\n"
            f"\\caption{{{self.caption.translate(_LATEX)}}}\n"
            f"\\begin{{tabular}}{{l{'r' * self.cells.shape[1]}}}\n\\toprule\n"
            f"{' & '.join(head)} \\\\\n\\midrule\n{body}\n\\bottomrule\n"
            "\\end{tabular}\n\\end{table}\n"
        )

    def _rows(
        self, embolden: Callable[[str], str], clean: Callable[[str], str] = str
    ) -> list[list[str]]:
        return [
            [clean(str(label))]
            + [
                embolden(clean(text)) if best else clean(text)
                for text, best in zip(row, self.bold.loc[label], strict=True)
            ]
            for label, row in zip(self.cells.index, self.cells.to_numpy(), strict=True)
        ]

    def _repr_html_(self) -> str:
        rows = self._rows(lambda text: f"<b>{text}</b>", html.escape)
        head = [html.escape(str(text)) for text in (self.cells.index.name or "", *self.cells)]
        lines = "".join(
            f"<tr><th>{row[0]}</th>{''.join(f'<td>{cell}</td>' for cell in row[1:])}</tr>"
            for row in rows
        )
        heads = "".join(f"<th>{text}</th>" for text in head)
        return (
            f"<table><caption>{html.escape(self.caption)}</caption>"
            f"<thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table>"
        )
