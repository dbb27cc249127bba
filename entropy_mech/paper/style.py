"""One theme, colours, bands, axes and tables that all figures share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from pandas.io.formats.style import Styler

from entropy_mech.paper.claims import mean_interval

# -- Figures -------------------------------------------------------------------------------------

THEME = {
    **sns.axes_style("ticks", {"axes.spines.top": False, "axes.grid": True}),
    **sns.plotting_context("notebook", font_scale=0.85),
    "grid.alpha": 0.35,
    "legend.frameon": False,
    "legend.fontsize": "small",
}
# Okabe and Ito's palette, which people with the common colour-blindnesses can tell apart.
METHOD_COLOURS = {
    "grpo": "#000000",
    "clip_higher": "#E69F00",
    "clip_cov": "#0072B2",
    "kl_cov": "#009E73",
    "clip_cov_x10": "#56B4E9",
    "kl_cov_x10": "#CC79A7",
}
ENTROPY_COLOUR, ACCURACY_COLOUR = "#D55E00", "#0072B2"
ORDINAL_COLOURS = ("#CC79A7", "#56B4E9", "#009E73", "#E69F00", "#0072B2")
SEED_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LOWEST_NATS = 1e-4  # where an entropy of 0 is drawn: a logarithmic axis has none
SMOOTHED_OVER = 5  # rollouts, where a curve is too noisy to be read as measured


def over_seeds(values: pd.Series) -> tuple[float, float]:
    """Return the ends of the 95 % interval, for seaborn's ``errorbar``."""
    interval = mean_interval(values)
    return interval.low, interval.high


# Mean over seeds; the band reaches from the lowest to the highest seed.
curves_over_seeds = partial(sns.lineplot, x="step", errorbar=("pi", 100), err_kws={"lw": 0})


def smoothed(frame: pd.DataFrame, column: str, window: int = SMOOTHED_OVER) -> pd.DataFrame:
    """Return the frame with a centred running mean of ``column`` over steps, run by run."""
    ordered = frame.sort_values("step")
    mean = ordered.groupby(["run", "seed"])[column].transform(
        lambda values: values.rolling(window, center=True, min_periods=1).mean()
    )
    return ordered.assign(**{column: mean})


def entropy_axis(ax: Axes) -> Axes:
    """Let the horizontal axis be entropy, falling to the right as training goes."""
    if not ax.xaxis_inverted():
        ax.invert_xaxis()
    ax.set_xlabel("policy entropy H (nats)")
    return ax


def log_entropy_axis(ax: Axes) -> Axes:
    """Make a horizontal entropy axis logarithmic, as the paper's is; call it when all is drawn."""
    ax.set_xscale("log")
    _plain_ticks(entropy_axis(ax).xaxis, ax.get_xlim())
    ax.set_xlabel("policy entropy H (nats, log scale)")
    return ax


def log_entropy_scale(ax: Axes) -> None:
    """Make an upright entropy axis logarithmic; call it when all is drawn."""
    ax.set_yscale("log")
    _plain_ticks(ax.yaxis, ax.get_ylim())


def _plain_ticks(axis: Axis, limits: tuple[float, float]) -> None:
    # 1, 2 and 5 of each decade: an entropy seldom spans two powers of ten. On a shorter axis they
    # would leave a tick or two.
    wide = max(limits) / min(limits) > 4.0
    locator = LogLocator(subs=(1.0, 2.0, 5.0), numticks=20) if wide else MaxNLocator(5)
    axis.set_major_locator(locator)
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    axis.set_minor_formatter(NullFormatter())


def two_curves(
    frame: pd.DataFrame, ax: Axes, *curves: tuple[str, str, str, str], loc: str = "upper right"
) -> Axes:
    """Draw two columns against steps, one on each upright axis; return the right one.

    A curve is its column, its name, its axis' name, and the colour of all three.
    """
    right = ax.twinx()
    right.grid(False)
    for axis, (column, name, label, colour) in zip((ax, right), curves, strict=True):
        curves_over_seeds(frame, y=column, ax=axis, color=colour, label=name, legend=False)
        axis.set_ylabel(label, color=colour)
    ax.legend(handles=[axis.get_lines()[0] for axis in (ax, right)], loc=loc)
    return right


def panels(
    rows: Sequence[Sequence[Callable[[Axes], object]]],
    *,
    width_in: float = 13.5,
    row_height_in: float = 3.7,
    sharey: bool | str = False,
) -> Figure:
    """Make a figure with one panel for each function, which is given its axes; row by row.

    So a figure can leave out the rows that there is nothing to draw for: ours, in the published
    profile. Shorter rows leave the places at their end empty.
    """
    shape, size = (len(rows), max(map(len, rows))), (width_in, row_height_in * len(rows))
    with plt.rc_context(THEME):
        figure, axes = plt.subplots(
            *shape, figsize=size, squeeze=False, layout="constrained", sharey=sharey
        )
        for row, places in zip(rows, axes, strict=True):
            for ax, draw in zip(places, row, strict=False):
                draw(ax=ax)
            for ax in places[len(row) :]:
                ax.set_axis_off()
    return figure


def ours(frame: pd.DataFrame, model: str = "") -> str:
    """Return how to call what a frame shows, of a ``model`` of the paper where one is named.

    A toy is named as the stand-in that it is, a small language model in the place of the paper's.
    """
    profiles = set(frame["profile"]) if "profile" in frame else set()
    if profiles == {"smollm"}:
        return "Ours: SmolLM2-135M-Instruct" if model else "Ours (SmolLM2-135M-Instruct)"
    who = "Ours (toy stand-in)" if profiles == {"toy"} else "Ours"
    return f"{who}: {model}" if model else who


def seeds_of(frame: pd.DataFrame) -> str:
    """Return how many seeds a frame has, in words: ``3 seeds``."""
    seeds = frame["seed"].nunique()
    return f"{seeds} seed{'' if seeds == 1 else 's'}"


def note(text: str, ax: Axes) -> Axes:
    """Write what there is to say in place of a picture, without axes around it."""
    ax.set_axis_off()
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color="#57606a")
    return ax


# -- Tables --------------------------------------------------------------------------------------


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
        cells = self.cells.where(~self.bold, "**" + self.cells + "**")
        rows = [[str(cells.index.name or ""), *cells], ["---", *["---:"] * cells.shape[1]]]
        rows += [[str(label), *row] for label, row in zip(cells.index, cells.to_numpy())]  # noqa: B905
        return f"{self.caption}\n\n" + "".join(f"| {' | '.join(row)} |\n" for row in rows)

    def latex(self) -> str:
        """Return a ``tabular`` with booktabs rules, best in bold, in a ``table``."""
        styler = self._styler("latex").set_caption(self.caption.replace("%", r"\%"))
        columns = "l" + "r" * self.cells.shape[1]
        text = styler.to_latex(
            hrules=True, convert_css=True, position_float="centering", column_format=columns
        )
        return text.replace("±", r"$\pm$").replace("−", "-")

    def _repr_html_(self) -> str:
        return self._styler("html").to_html()

    def _styler(self, language: str) -> Styler:
        css = self.bold.map(lambda best: "font-weight: bold" if best else "")
        cells = self.cells.rename_axis(index=None, columns=self.cells.index.name)
        styler = cells.style.apply(lambda _: css, axis=None).format(escape=language)
        for axis in ("index", "columns"):
            styler = styler.format_index(escape=language, axis=axis)
        return styler.set_caption(self.caption)
