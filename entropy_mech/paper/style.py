"""Colours, bands, axes and tables that all figures share."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

# -- Figures -------------------------------------------------------------------------------------

# Okabe and Ito's palette, which people with the common colour-blindnesses can tell apart.
METHOD_COLOURS = {
    "grpo": "#000000",
    "clip_higher": "#E69F00",
    "clip_cov": "#0072B2",
    "kl_cov": "#009E73",
}
ENTROPY_COLOUR, ACCURACY_COLOUR = "#D55E00", "#0072B2"
ORDINAL_COLOURS = ("#CC79A7", "#56B4E9", "#009E73", "#E69F00", "#0072B2")
SEED_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DECADE_TICKS_FROM = 4.0  # on a shorter axis 1, 2 and 5 would leave a tick or two
LOWEST_NATS = 1e-4  # where an entropy of 0 is drawn: a logarithmic axis has none


def band_over_seeds(frame: pd.DataFrame, column: str, ax: Axes, *, colour: str, label: str) -> None:
    """Draw the mean over seeds against step, and a band from the lowest to the highest seed."""
    by_step = frame.dropna(subset=column).groupby("step")[column]
    mean, low, high = by_step.mean(), by_step.min(), by_step.max()
    ax.fill_between(mean.index, low, high, color=colour, alpha=0.18, lw=0)
    ax.plot(mean.index, mean, color=colour, lw=1.6, label=label)


def smoothed(frame: pd.DataFrame, column: str, window: int) -> pd.DataFrame:
    """Return the frame with a centred running mean of ``column`` over steps, run by run."""
    keys = [key for key in ("run", "seed") if key in frame]
    ordered = frame.sort_values("step")
    mean = ordered.groupby(keys)[column].transform(
        lambda values: values.rolling(window, center=True, min_periods=1).mean()
    )
    return ordered.assign(**{column: mean})


def log_entropy_axis(ax: Axes) -> None:
    """Set the paper's entropy axis: logarithmic, decreasing to the right."""
    ax.set_xscale("log")
    if not ax.xaxis_inverted():
        ax.invert_xaxis()
    # 1, 2 and 5 of each decade: an entropy seldom spans two powers of ten.
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=20))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel("policy entropy H (nats, log scale)")


def log_entropy_scale(ax: Axes) -> None:
    """Make an upright entropy axis logarithmic, with plain numbers; call it when all is drawn."""
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    wide = high / low > _DECADE_TICKS_FROM
    locator = LogLocator(subs=(1.0, 2.0, 5.0), numticks=20) if wide else MaxNLocator(5)
    ax.yaxis.set_major_locator(locator)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())


def panels(
    rows: Sequence[Sequence[Callable[[Axes], object]]],
    *,
    width_in: float = 13.5,
    row_height_in: float = 3.7,
) -> Figure:
    """Make a figure with one panel for each function, which is given its axes; row by row.

    So a figure can leave out the rows that there is nothing to draw for: ours, in the published
    profile. Shorter rows leave the places at their end empty.
    """
    columns = max(len(row) for row in rows)
    figure, axes = plt.subplots(
        len(rows), columns, figsize=(width_in, row_height_in * len(rows)), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for row, places in zip(rows, axes, strict=True):
        for ax, draw in zip(places, row, strict=False):
            draw(ax)
        for ax in places[len(row) :]:
            ax.set_axis_off()
    return figure


def ours(frame: pd.DataFrame) -> str:
    """Return how to call what a frame shows; a toy is named as the stand-in that it is."""
    return ours_of("profile" in frame and (frame["profile"] == "toy").all())


def ours_of(toy: bool) -> str:
    """Return how to call what is ours, where it is known whether it is a toy's."""
    return "Ours (toy stand-in)" if toy else "Ours"


def seeds_of(frame: pd.DataFrame) -> str:
    """Return how many seeds a frame has, in words: ``3 seeds``."""
    seeds = frame["seed"].nunique()
    return f"{seeds} seed{'' if seeds == 1 else 's'}"


def note(ax: Axes, text: str) -> Axes:
    """Write what there is to say in place of a picture, without axes around it."""
    ax.set_axis_off()
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color="#57606a")
    return ax


# -- Tables --------------------------------------------------------------------------------------

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
