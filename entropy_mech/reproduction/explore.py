"""What the notebook ``explore`` shows: a policy's step, a run's tokens, the law's window."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from entropy_mech.errors import UserError, bad_value, number_list, real_number, unknown_name
from entropy_mech.law.fit import LawFit, checked_points, fit_law
from entropy_mech.paper import published
from entropy_mech.paper.lemma1 import QUADRANTS
from entropy_mech.paper.published import SIZES
from entropy_mech.paper.style import ACCURACY_COLOUR, ENTROPY_COLOUR
from entropy_mech.reproduction.report import Report
from entropy_mech.reproduction.targets import check_profile
from entropy_mech.runs.handle import has_front_end
from entropy_mech.runs.status import find_run, list_runs, names_of_runs
from entropy_mech.runs.store import Run, RunStore, atomic_write, default_store, project_root
from entropy_mech.theory.softmax import log_softmax, softmax_policy
from entropy_mech.theory.step import (
    UPDATES,
    entropy_change,
    natural_gradient_step,
    theorem1,
    theorem2,
)

if TYPE_CHECKING:
    from IPython.display import HTML

# -- A picture with controls that move it --------------------------------------------------------

_DPI = 100


class Explorer:
    """What a cell shows: controls above a figure or a page, drawn anew when one is moved.

    Where there is no front end (papermill, a viewer of saved notebooks) the cell shows what was
    drawn last, so that a notebook says something everywhere.

    Attributes:
        content: what is drawn now: a Matplotlib figure, or HTML.
        values: the controls' values, by name.

    """

    def __init__(
        self,
        draw: Callable[..., Figure | str],
        values: Mapping[str, Any],
        controls: Mapping[str, tuple[str, dict[str, Any]]],
    ):
        """Draw once.

        Args:
            draw: takes the values as keywords and returns a figure or HTML.
            values: what to draw first, by control.
            controls: the ipywidget of each value: its class, and options beside value and name.

        """
        self._draw, self._controls = draw, controls
        self.values = dict(values)
        self.content = draw(**self.values)

    @cached_property
    def controls(self) -> dict[str, Any]:
        """The ipywidgets by name; moving one draws anew."""
        import ipywidgets

        found = {}
        for name, (kind, options) in self._controls.items():
            if kind.endswith("Slider"):  # drawing takes longer than moving
                options = {"continuous_update": False, **options}
            options = {"description": name, "value": self.values[name], **options}
            found[name] = getattr(ipywidgets, kind)(**options)
            found[name].observe(lambda change, name=name: self._moved(name, change["new"]), "value")
        return found

    @cached_property
    def widget(self):
        """The controls above the picture, as one ipywidget."""
        import ipywidgets

        # Two sliders a row on a wide screen too, so that pairs stay pairs.
        rows = ipywidgets.Layout(flex_flow="row wrap", max_width="700px")
        return ipywidgets.VBox(
            [ipywidgets.Box(list(self.controls.values()), layout=rows), self.picture]
        )

    @cached_property
    def picture(self):
        """The picture as an ipywidget: an image, or a page."""
        import ipywidgets

        if isinstance(self.shown, bytes):
            return ipywidgets.Image(value=self.shown, format="png", layout={"max_width": "100%"})
        return ipywidgets.HTML(value=self.shown)

    def save(self, name: str, *, profile: str = "toy", out_dir: str = "") -> Explorer:
        """Write what is drawn now under ``figures/``, as PNG or HTML, and return self.

        ``out_dir`` empty: ``out/<profile>`` in the project folder, as every notebook has it.
        """
        folder = (Path(out_dir) if out_dir else project_root() / "out" / profile) / "figures"
        folder.mkdir(parents=True, exist_ok=True)
        drawn = isinstance(self.shown, bytes)
        with atomic_write(folder / (name + (".png" if drawn else ".html"))) as temporary:
            temporary.write_bytes(self.shown if drawn else self.shown.encode())
        return self

    def _moved(self, name: str, value: Any) -> None:
        self.values[name] = value
        self.content = self._draw(**self.values)
        vars(self).pop("shown", None)  # what was rendered
        self.picture.value = self.shown

    @cached_property
    def shown(self) -> bytes | str:
        """The content as PNG or HTML; once, since constrained layout shifts at each rendering."""
        if not isinstance(self.content, Figure):
            return self.content
        buffer = io.BytesIO()
        self.content.savefig(buffer, format="png", dpi=_DPI)
        return buffer.getvalue()

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        kind = "image/png" if isinstance(self.shown, bytes) else "text/html"
        bundle: dict[str, Any] = {"text/plain": repr(self), kind: self.shown}
        if self.values and has_front_end():
            bundle |= self.widget._repr_mimebundle_() | {"text/plain": repr(self)}
        return bundle

    def __repr__(self) -> str:
        shown = ", ".join(f"{name} = {value}" for name, value in self.values.items())
        return f"Explorer({shown})" if self.values else str(self.content)


def only_words(text: str) -> Explorer:
    """Return an explorer that has nothing to move and says why; code in `backquotes`."""
    page = re.sub("`([^`]+)`", r"<code>\1</code>", html.escape(text))
    return Explorer(lambda: f"<p>{page}</p>", {}, {})


# -- The law fitted to a window ------------------------------------------------------------------

_FEWEST = 4


@dataclass(frozen=True)
class WindowFit:
    """The law of the points first ... last - 1, and its error on the points after them.

    ``forecast_rmse`` has the unit of the performance; NaN where no point comes after the window.
    """

    fit: LawFit
    first: int
    last: int
    forecast_rmse: float


def fit_window(
    entropy_nats: np.ndarray, performance: np.ndarray, window_percent: tuple[float, float]
) -> WindowFit:
    """Fit the law to the part of the points from ``window_percent[0]`` to ``window_percent[1]``.

    Points ``(n,)`` in training order. A window of fewer than four points grows, to its right if
    there is room. Raises ``UserError`` for fewer than four points in all, percents out of order, or
    points that ``theory.fit_law`` refuses.

    >>> entropy = np.linspace(1.0, 0.1, 20)
    >>> found = fit_window(entropy, 0.9 - 0.2 * np.exp(entropy), (0, 50))
    >>> found.first, found.last, round(found.fit.ceiling, 9), bool(found.forecast_rmse < 1e-12)
    (0, 10, 0.7, True)
    """
    entropy, scores = checked_points(entropy_nats, performance)
    low, high = window_percent
    if not 0 <= low <= high <= 100:
        raise bad_value("window_percent", window_percent, "give two percents, the lower first")
    n = len(entropy)
    if n < _FEWEST:
        raise bad_value("points", n, f"give at least {_FEWEST}: a window is fitted to so many")
    first = min(round(n * low / 100), n - _FEWEST)
    last = max(round(n * high / 100), first + _FEWEST)
    fit = fit_law(entropy[first:last], scores[first:last])
    error = scores[last:] - fit.predict(entropy[last:])
    rmse = float(np.sqrt(np.mean(error**2))) if len(error) else float("nan")
    return WindowFit(fit, first, last, rmse)


def law_window_figure(
    entropy_nats: np.ndarray,
    performance: np.ndarray,
    window_percent: tuple[float, float],
    *,
    name: str = "",
) -> Figure:
    """Draw the points (filled: in the window), the law of the window down to H = 0, the ceiling.

    Entropy falls to the right, as training goes; performance in fractions. The figure belongs to no
    pyplot window.
    """
    figure = Figure(figsize=(8.6, 4.6), layout="constrained")
    ax = figure.subplots()
    entropy, scores = checked_points(entropy_nats, performance)
    found = fit_window(entropy, scores, window_percent)
    fit, inside = found.fit, np.zeros(len(entropy), dtype=bool)
    inside[found.first : found.last] = True
    ax.plot(entropy[inside], scores[inside], "o", color=ACCURACY_COLOUR, ms=5, zorder=3,
            label=f"fitted ({inside.sum()})")  # fmt: skip
    ax.plot(entropy[~inside], scores[~inside], "o", mfc="none", color="0.45", ms=5,
            label=f"not fitted ({(~inside).sum()})")  # fmt: skip
    grid = np.linspace(0.0, entropy.max(), 120)
    ax.plot(grid, fit.predict(grid), color=ACCURACY_COLOUR, lw=1.4,
            label=rf"law: a = {fit.a:.3g}, b = {fit.b:.3g}")  # fmt: skip
    ax.plot([0.0], [fit.ceiling], marker="_", ms=22, mew=2.5, ls="", color=ENTROPY_COLOUR,
            clip_on=False, zorder=4, label=f"ceiling b - a = {fit.ceiling:.3f}")  # fmt: skip
    if np.isfinite(found.forecast_rmse):
        ax.plot([], [], ls="", label=f"error on later points: {found.forecast_rmse:.3f} (RMSE)")
    _limits(ax, entropy, scores, fit.ceiling)
    ax.set(xlabel="policy entropy H (nats)", ylabel="performance (fraction)", title=name)
    ax.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1.02, 1.0))
    return figure


def _limits(ax: Axes, entropy: np.ndarray, scores: np.ndarray, ceiling: float) -> None:
    """Keep the axes still while the window moves, unless the ceiling leaves them."""
    ax.set_xlim(1.03 * entropy.max(), -0.02 * entropy.max())
    reach = np.ptp(scores) or 0.1
    low, high = scores.min() - 0.3 * reach, scores.max() + 0.6 * reach
    ax.set_ylim(min(low, ceiling - 0.1 * reach), max(high, ceiling + 0.1 * reach))


# -- One policy and one step of it ---------------------------------------------------------------

_THEOREMS = {"policy_gradient": theorem1, "natural_gradient": theorem2}
_NAMES = {
    "policy_gradient": ("policy gradient", "(Theorem 1)"),
    "natural_gradient": ("natural gradient", "(Theorem 2)"),
}
_BEFORE = "0.65"
_COLOURS = {"policy_gradient": "#0072B2", "natural_gradient": "#E69F00"}
_FALLS, _RISES = "#D55E00", "#009E73"


def actions_of_step(
    logits: Sequence[float], advantages: Sequence[float], eta: float
) -> pd.DataFrame:
    """Return one row an action of one step.

    Columns: probability, advantage (less its mean), centred_logp (log pi + H, nats), and for each
    update u: probability_u (after the step).

    >>> frame = actions_of_step([0.0, np.log(3.0)], [0.0, 1.0], eta=0.5)
    >>> frame["probability"].round(9).tolist(), frame["advantage"].round(9).tolist()
    ([0.25, 0.75], [-0.75, 0.25])
    """
    policy = softmax_policy(logits)
    columns = {
        "probability": policy.probs,
        "advantage": natural_gradient_step(logits, advantages, 1.0),
        "centred_logp": policy.centred_logp,
    }
    for update, step in UPDATES.items():
        moved = np.asarray(logits, dtype=float) + step(logits, advantages, eta)
        columns[f"probability_{update}"] = np.exp(log_softmax(moved))
    return pd.DataFrame(columns).rename_axis("action")


def entropy_of_step(
    logits: Sequence[float], advantages: Sequence[float], eta: float
) -> pd.DataFrame:
    """Return dH in nats, a row an update: ``exact``, ``predicted`` (Theorems 1 and 2), ``error``.

    >>> frame = entropy_of_step([0.0, np.log(3.0)], [0.0, 4.0], eta=1.0)
    >>> (frame["predicted"] / np.log(3.0)).round(6).tolist()
    [-0.28125, -0.75]
    """
    rows = {}
    for update, theorem in _THEOREMS.items():
        step = UPDATES[update](logits, advantages, eta)
        exact = float(entropy_change(logits, step).exact)
        predicted = float(theorem(logits, advantages, eta))
        rows[update] = {"exact": exact, "predicted": predicted, "error": exact - predicted}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("update")


def policy_figure(logits: Sequence[float], advantages: Sequence[float], eta: float) -> Figure:
    """Draw probabilities before and after, dH exact and predicted, and the actions' quadrants.

    The figure belongs to no pyplot window. Raises ``UserError`` for unequal lengths or values that
    are not finite.
    """
    frame = actions_of_step(logits, advantages, eta)
    figure = Figure(figsize=(11.0, 3.8), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    probabilities(frame, left)
    changes(entropy_of_step(logits, advantages, eta), middle)
    quadrants_of_actions(frame, right)
    entropy = float(softmax_policy(logits).entropy_nats)
    left.set_title(rf"$\eta$ = {eta:g}; before, H = {entropy:.4f} nats")
    return figure


def probabilities(frame: pd.DataFrame, ax: Axes) -> None:
    """Draw three bars an action: before, and after each update; ``actions_of_step``'s frame."""
    bars = frame[["probability", *(f"probability_{update}" for update in UPDATES)]]
    bars.columns = ["before", *(f"after a {_NAMES[u][0]} step" for u in UPDATES)]
    bars.plot.bar(ax=ax, width=0.8, rot=0, color=[_BEFORE, *map(_COLOURS.get, UPDATES)])
    ax.set(xlabel="action", ylabel=r"probability $\pi(a)$", ylim=(0, 1.25))
    ax.legend(frameon=False, fontsize="small", loc="upper left")


def changes(frame: pd.DataFrame, ax: Axes) -> None:
    """Draw the exact dH beside the predicted one, by update; ``entropy_of_step``'s frame."""
    places = np.arange(len(frame))
    colours = [_COLOURS[update] for update in frame.index]
    for offset, column, hatch in ((-0.2, "exact", ""), (0.2, "predicted", "///")):
        bars = ax.bar(places + offset, frame[column], 0.36, color=colours, hatch=hatch,
                      edgecolor="white", label=column)  # fmt: skip
        ax.bar_label(bars, [f"{column}\n{v:+.5f}" for v in frame[column]], fontsize="small",
                     padding=3)  # fmt: skip
    ax.axhline(0.0, color="0.3", lw=0.8)
    ax.margins(y=0.28)
    ax.set_xticks(places, labels=["\n".join(_NAMES[update]) for update in frame.index])
    ax.set_ylabel(r"change of entropy $\Delta H$ (nats)")
    ax.set_title(r"exact, and $-\eta\,\mathrm{Cov}$")


def quadrants_of_actions(frame: pd.DataFrame, ax: Axes) -> None:
    """Draw each action by log-probability and advantage, with its quadrant's effect on entropy."""
    ax.axhline(0.0, color="0.3", lw=0.8)
    ax.axvline(0.0, color="0.3", lw=0.8)
    product = frame["centred_logp"] * frame["advantage"]
    colours = np.select([product > 0, product < 0], [_FALLS, _RISES], "0.6")
    ax.scatter(frame["centred_logp"], frame["advantage"], s=260, c=colours, zorder=3)
    for action, row in frame.iterrows():
        ax.annotate(f"{action}", (row["centred_logp"], row["advantage"]), color="white",
                    ha="center", va="center", zorder=4, weight="bold")  # fmt: skip
    for set_limits, values in ((ax.set_xlim, "centred_logp"), (ax.set_ylim, "advantage")):
        reach = 1.6 * max(frame[values].abs().max(), 0.1)
        set_limits(-reach, reach)
    for what, effect, x, y, ha, va in QUADRANTS.values():
        ax.text(x, y, f"{what}:\n{effect}", ha=ha, va=va, transform=ax.transAxes,
                fontsize="small", color=_FALLS if effect.endswith("falls") else _RISES)  # fmt: skip
    ax.set_xlabel(r"$\log\pi(a) + H$ (nats): rare $\leftarrow 0 \rightarrow$ likely")
    ax.set_ylabel(r"advantage $A(a) - \mathbb{E}_\pi[A]$")


# -- Responses with coloured tokens --------------------------------------------------------------

# What a colour may stand for: the record's column, the words, the colour of its largest value.
COLOURINGS = {
    "covariance": ("covariance", "covariance (red: spends entropy; blue: earns it)"),
    "entropy": ("entropy_nats", "entropy of the policy where the token was drawn (nats)"),
    "touched": ("selected_mask", "tokens that the method touched"),
}
_FULL = {"covariance": "#d55e00", "entropy": "#e69f00", "touched": "#009e73"}
_NEGATIVE = "#56b4e9"
_BLANKS = {" ": "·", "\n": "↵", "\t": "⇥"}


def token_colour(value: float, scale: float, colouring: str) -> str:
    """Return the background of a token, ``#rrggbb``: white at 0, full colour from ``scale`` on.

    >>> token_colour(0.0, 2.0, "covariance"), token_colour(5.0, 2.0, "covariance")
    ('#ffffff', '#d55e00')
    >>> token_colour(-1.0, 2.0, "covariance"), token_colour(1.0, 1.0, "touched")
    ('#aadaf4', '#009e73')
    """
    if colouring not in _FULL:
        raise unknown_name("colouring", colouring, _FULL)
    full = bytes.fromhex((_NEGATIVE if value < 0 else _FULL[colouring])[1:])
    share = min(abs(value) / scale, 1.0) if scale > 0 else 0.0
    return "#" + "".join(f"{round(255 - share * (255 - part)):02x}" for part in full)


def colour_scale(record: Mapping[str, np.ndarray], colouring: str) -> float:
    """Return the value of full colour: the 95th percentile of the size, 1 for ``touched``.

    A record is what ``Run.tokens`` returns; only its response tokens count.
    """
    if colouring not in COLOURINGS:
        raise unknown_name("colouring", colouring, COLOURINGS)
    if colouring == "touched":
        return 1.0
    values = np.abs(record[COLOURINGS[colouring][0]][record["response_mask"]])
    return float(np.quantile(values, 0.95)) if values.size else 1.0


def responses_html(
    record: Mapping[str, np.ndarray],
    rows: Sequence[int],
    text_of: Callable[[int], str],
    *,
    colouring: str = "covariance",
    scale: float | None = None,
    prompt: str = "",
    title: str = "",
) -> str:
    """Return responses as HTML, a line each: right or wrong, then its tokens.

    A token has its number as tooltip and, whatever the colouring, a dark line under it where the
    method touched it. Nothing in the page is loaded from elsewhere.

    Args:
        record: what ``Run.tokens`` returns: B x T arrays, ``reward`` (B).
        rows: which of the B responses.
        text_of: the text of a token id.
        colouring: one of ``COLOURINGS``.
        scale: the value of full colour; None takes the record's own.
        prompt: what was asked, above the responses.
        title: in bold above all.

    Raises:
        UserError: no such colouring (says the nearest).

    """
    scale = colour_scale(record, colouring) if scale is None else scale
    lines = "".join(_response(record, row, text_of, colouring, scale) for row in rows)
    words = COLOURINGS[colouring][1]
    reach = "" if colouring == "touched" else f"; full colour from {scale:.3g} on"
    asked = f"<div>asked: <code>{html.escape(prompt)}</code></div>" if prompt else ""
    return (
        '<div style="color:#1b1f24;background:#ffffff;padding:6px">'
        f"<div><b>{html.escape(title)}</b></div>{asked}{lines}"
        f'<div style="color:#57606a">Colour: {html.escape(words)}{reach}. '
        "Underlined: touched by the method.</div></div>"
    )


def _response(record, row: int, text_of, colouring: str, scale: float) -> str:
    column = COLOURINGS[colouring][0]
    spans = []
    for t in np.flatnonzero(record["response_mask"][row]):
        value, touched = float(record[column][row, t]), bool(record["selected_mask"][row, t])
        measured = (
            f"probability {np.exp(record['logp'][row, t]):.3f}, "
            f"entropy {record['entropy_nats'][row, t]:.3f} nats, "
            f"advantage {record['advantage'][row, t]:+.2f}, "
            f"covariance {record['covariance'][row, t]:+.3f}"
        )
        line = "border-bottom:3px solid #1b1f24" if touched else "border-bottom:3px solid #ffffff"
        text = text_of(int(record["tokens"][row, t]))
        shown = html.escape("".join(_BLANKS.get(c, c) for c in text))
        spans.append(
            f'<span title="{measured}" style="background:{token_colour(value, scale, colouring)};'
            f'{line};padding:1px 2px">{shown}</span>'
        )
    mark = "&#10003;" if record["reward"][row] > 0 else "&#10007;"
    return (
        '<div style="font-family:monospace;line-height:1.9;overflow-wrap:anywhere">'
        f"{mark} {''.join(spans)}</div>"
    )


# -- A run's token records -----------------------------------------------------------------------

_SHOWN_AT_ONCE = 16


class TokenView:
    """One run's token records, read when they are first shown."""

    def __init__(self, run: Run):
        self.run, self.steps = run, run.token_steps()
        self.record = lru_cache(maxsize=4)(run.tokens)

    @cached_property
    def text_of(self) -> Callable[[int], str]:
        """What makes text of a token id: ``Run.token_texts``."""
        return self.run.token_texts()

    @cached_property
    def prompts(self) -> list[str] | None:
        """The prompts of the training problems; None of a real data set, which is not loaded."""
        from entropy_mech.train.tasks import load_tasks

        if not hasattr(self.run.config.problems, "domain"):
            return None
        return [problem.prompt for problem in load_tasks(self.run.config).training]

    def page(self, name: str, step: int, colouring: str, prompt: int) -> str:
        """Return the responses to one prompt of the last kept step up to ``step``, as HTML.

        ``prompt`` counts the record's prompts in the order of the rollout; beyond them, the last.
        """
        kept = max((s for s in self.steps if s <= step), default=self.steps[0])
        record = self.record(kept)
        if not len(record["problem"]):
            return f"<p>{name}, step {kept}: no trained token</p>"
        _, places = np.unique(record["problem"], return_index=True)
        problems = record["problem"][np.sort(places)]
        problem = int(problems[min(prompt, len(problems) - 1)])
        rows = np.flatnonzero(record["problem"] == problem)[:_SHOWN_AT_ONCE]
        return responses_html(
            record, rows, self.text_of, colouring=colouring,
            prompt=self.prompts[problem] if self.prompts else "",
            scale=colour_scale(self.record(self.steps[0]), colouring),
            title=f"{name}, step {kept}, problem {problem} of the training set",
        )  # fmt: skip


def kept_tokens(
    report: Report, name: str, *, step: int = 0, prompt: int = 0, colouring: str = "covariance"
) -> HTML:
    """Return the coloured responses to one prompt of a report's kept run of its first seed.

    Where no tokens of it are kept, a line says so. See ``TokenView.page``.
    """
    from IPython.display import HTML

    pairs = zip(report.names, report.runs, strict=True)
    runs = [run for one, run in pairs if one == name and run.token_steps()]
    if not runs:
        return HTML(f"<p>tokens of {html.escape(name)}: none are kept in this profile</p>")
    return HTML(TokenView(runs[0]).page(name, step, colouring, prompt))


# -- The views of the notebook -------------------------------------------------------------------

_WHERE = {"paper": ", on GPUs", "one_gpu": ", on a GPU"}


def policy(logits: Sequence[float], advantages: Sequence[float], eta: float) -> Explorer:
    """Explore one softmax policy: a slider a logit, a slider an advantage, one for the step size.

    Raises:
        UserError: logits and advantages of unequal length, or not finite.

    """
    logits, advantages = number_list("logits", logits), number_list("advantages", advantages)
    eta = real_number("eta", eta)
    n = len(logits)
    if n != len(advantages):
        raise bad_value("advantages", advantages, f"give {n}, one a logit")
    first = {}
    for a, (z, advantage) in enumerate(zip(logits, advantages, strict=True)):
        first |= {f"logit {a}": float(z), f"advantage {a}": float(advantage)}  # side by side

    def draw(**values: float):
        z = [values[f"logit {a}"] for a in range(n)]
        advantage = [values[name] for name in values if name.startswith("advantage")]
        return policy_figure(z, advantage, values["eta"])

    ranges = {name: (min(-5.0, value), max(5.0, value), 0.1) for name, value in first.items()}
    ranges["eta"] = (0.0, max(2.0, eta), 0.01)
    like = {"style": {"description_width": "84px"}}
    controls = {
        name: ("FloatSlider", {"min": least, "max": most, "step": step, **like})
        for name, (least, most, step) in ranges.items()
    }
    return Explorer(draw, {**first, "eta": eta}, controls)


def tokens(
    run: str = "",
    *,
    profile: str = "toy",
    colouring: str = "covariance",
    store: RunStore | None = None,
) -> Explorer:
    """Explore the tokens that stored runs sampled, coloured by what was measured of them.

    Controls: the run, the rollout step, the colouring, the prompt. Of a step that a run has not
    kept, the last kept before it is shown. Colours mean the same at all steps of a run: they are
    full at the 95th percentile of its first kept step.

    Args:
        run: what ``runs.handle_on`` takes; empty begins with the newest that kept tokens.
        profile: whose runs; in ``published`` there are none.
        colouring: covariance, entropy or touched.
        store: where runs lie; the default store if None.

    Raises:
        UserError: no such run, profile or colouring.

    """
    if colouring not in COLOURINGS:
        raise unknown_name("colouring", colouring, COLOURINGS)
    store = store or default_store()
    asked = _asked(run, profile, store)
    if asked is not None and not asked.token_steps():
        return only_words(f"{_label(asked)}: it has kept no tokens of its rollouts")
    found = _stored(asked, profile, store, lambda one: bool(one.token_steps()))
    if not found:
        return only_words(_nothing(profile, "tokens of stored runs"))
    views = {name: TokenView(one) for name, one in found.items()}
    steps = sorted({step for view in views.values() for step in view.steps})
    first = next(iter(views))
    values = {"run": first, "step": views[first].steps[0], "colour": colouring, "prompt": 0}

    most = max(one.config.rollout.prompts for one in found.values())
    controls = {
        "run": ("Dropdown", {"options": list(views)}),
        "step": ("SelectionSlider", {"options": steps}),
        "colour": ("Dropdown", {"options": list(COLOURINGS)}),
        "prompt": ("IntSlider", {"min": 0, "max": most - 1}),
    }

    def draw(run: str, step: int, colour: str, prompt: int) -> str:
        return views[run].page(run, step, colour, prompt)

    return Explorer(draw, values, controls)


def law(
    run: str = "",
    *,
    profile: str = "toy",
    window_percent: tuple[int, int] = (0, 50),
    store: RunStore | None = None,
) -> Explorer:
    """Explore which points the law is fitted to, and where it then puts the ceiling.

    Controls: the run (stored ones, and the paper's five sizes as digitised from its Figure 1) and
    the window, in percent of its points.

    Args:
        run: what ``runs.handle_on`` takes; empty begins with the newest stored run of at least
            four validations, or with the paper's 7B points where there is none.
        profile: whose runs; ``published`` offers the paper's points alone.
        window_percent: the part of the points to begin with.
        store: where runs lie; the default store if None.

    Raises:
        UserError: no such run or profile, or percents out of order.

    """
    store = store or default_store()
    if len(number_list("window_percent", window_percent)) != 2:
        raise bad_value("window_percent", window_percent, "give two percents, the lower first")
    asked = _asked(run, profile, store)
    if asked is not None and (n := len(_points(asked)[0])) < _FEWEST:
        return only_words(f"{_label(asked)}: {n} validations so far; the law takes four")
    runs = _stored(asked, profile, store, lambda one: one.steps_done >= _FEWEST)
    sources = {name: _points(one) for name, one in runs.items()}
    sources = {name: xy for name, xy in sources.items() if len(xy[0]) >= _FEWEST}
    for size in sorted(SIZES, key=lambda size: size != "7B"):  # the 7B before the others
        name = f"the paper's Qwen2.5-{size} (digitised, by falling entropy)"
        sources[name] = tuple(np.asarray(column) for column in published.scatter(size))
    first = next(iter(sources))

    window = {"min": 0, "max": 100, "description": "window, %", "layout": {"width": "420px"}}
    controls = {
        "run": ("Dropdown", {"options": list(sources), "layout": {"width": "480px"}}),
        "window": ("IntRangeSlider", window),
    }

    def draw(run: str, window: tuple[int, int]):
        return law_window_figure(*sources[run], tuple(window), name=run)

    return Explorer(draw, {"run": first, "window": tuple(window_percent)}, controls)


def _asked(run: str, profile: str, store: RunStore) -> Run | None:
    check_profile(profile)
    there = run and profile != "published"
    return find_run(run, store=store, profile=profile) if there else None


def _stored(
    asked: Run | None, profile: str, store: RunStore, has: Callable[[Run], bool]
) -> dict[str, Run]:
    """Return the profile's runs that ``has`` accepts, by name; the one asked for is first."""
    if profile == "published":
        return {}
    found = [] if asked is None else [asked]
    for row in list_runs(store).itertuples():
        try:
            if row.state == "damaged":
                raise UserError(row.error)
            one = find_run(store.root / row.id, store=store)
        except UserError as error:  # it only starts, or another version wrote it
            print(f"{row.id} is left out: {error}")
            continue
        of_a_profile = "toy" if one.config.toy else "smollm" if one.config.base.form else "gpu"
        if of_a_profile == (profile if profile in ("toy", "smollm") else "gpu") and has(one):
            found.append(one)
    names = names_of_runs(found, profile)
    labelled: dict[str, Run] = {}
    for one in found:
        labelled.setdefault(_label(one, names.get(one.path.name, "")), one)
    return labelled


def _label(run: Run, name: str = "") -> str:
    """Say which run it is: its file's name, or its method and id."""
    if name:
        return f"{name}, seed {run.config.seed}"
    return f"{run.config.loss.method}, seed {run.config.seed} ({run.path.name[:8]})"


def _points(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Return entropy (nats) and accuracy (fractions) of a run's validations, in their order."""
    frame = run.metrics().reindex(columns=["entropy_nats", "validation_accuracy"]).dropna()
    return frame["entropy_nats"].to_numpy(), frame["validation_accuracy"].to_numpy()


def _nothing(profile: str, what: str) -> str:
    if profile == "published":
        return f"{what}: the paper has published none; in profile toy, {_try('toy')}"
    return f"{what}: there are none of profile {profile} yet; {_try(profile)}"


def _try(profile: str) -> str:
    file = f"reproduce/runs/{profile}/fig11_7b_clip_cov.toml"
    return f"`entropy-mech train {file}` makes one{_WHERE.get(profile, '')}"
