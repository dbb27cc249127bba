"""The law of one run: how its entropy developed, warnings, forecasts and the report."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from entropy_mech.errors import UserError, bad_value
from entropy_mech.law.fit import (
    LawFit,
    checked_points,
    compare_forms,
    fit_law,
    law_intervals,
    n_first,
)
from entropy_mech.law.log import RunLog, read_log

# -- How entropy developed -----------------------------------------------------------------------
# The law describes runs whose entropy falls because it is spent, and no others.

_SPENT = 0.7  # of the start: a run that spent its entropy ends below


@dataclass(frozen=True)
class Course:
    """One of the classes of ``course_of`` and a sentence about this run; ``is_law`` for falls."""

    name: str
    sentence: str

    @property
    def is_law(self) -> bool:
        """Whether a fit to such a run may be called the law."""
        return self.name == "falls"


def course_of(
    entropy_nats: np.ndarray, performance: np.ndarray | None = None, *, controlled: str = ""
) -> Course:
    """Return how entropy develops over training; all values in training order.

    Entropy is smoothed by a running median over a twentieth of the points; start and end are
    medians of the first and the last few points (a tenth at the end). The first class that holds:

        controlled   ``controlled`` is not empty; it names what controls the entropy
        explodes     the highest value after the start is 3 times the start and 2 nats or more, or
                     10 times the start
        collapses    performance (never negative) ends below half of its best
        rises        the end lies 10 % above the start, or above it with rank correlation 0.3
        returns      the lowest is below 0.7 of the start, and the end 1.5 times the lowest and a
                     tenth of the way back; or entropy doubles on the way, by more than it falls
        flat         the end is above 0.7 of the start, unless the rank correlation is below -0.7
                     and the end 10 % lower
        held         above 0.3 of the start in the last quarter, with no downward trend in the
                     later half: rank correlation above -0.4, or within 5 %, and a tenth of
                     the fall, from the third quarter
        falls        none of these: entropy is spent, and the law can be fitted

    >>> course_of(np.linspace(1.0, 0.1, 30)).name, course_of(np.linspace(0.2, 0.6, 30)).name
    ('falls', 'rises')
    """
    entropy = np.asarray(entropy_nats, dtype=np.float64)
    n = len(entropy)
    few = max(min(n // 12, 3), n // 50, 1)
    smooth = pd.Series(entropy).rolling(max(n // 20, min(3, few)), center=True, min_periods=1)
    smooth = smooth.median().to_numpy()
    start, end = np.median(entropy[:few]), np.median(entropy[-max(few, n // 10) :])
    low, peak = smooth.min(), smooth[few:].max(initial=0.0)
    later = entropy[n // 2 :]
    correlation, late = _trend(entropy), _trend(later)
    third, last = np.median(later[: (len(later) + 1) // 2]), np.median(later[len(later) // 2 :])
    way = f"{start:.3g} -> {end:.3g} nats"
    if controlled:
        return Course("controlled", f"entropy is controlled ({controlled}), not simply spent")
    if peak >= max(3.0 * start, 2.0) or peak >= 10.0 * start > 0.0:
        return Course("explodes", f"entropy explodes, to {peak:.3g} nats from {start:.3g}")
    if performance is not None and _collapses(np.asarray(performance, dtype=np.float64)):
        return Course("collapses", "performance collapses: it ends below half of its best")
    if end > 1.1 * start or (correlation > 0.3 and end > start):
        return Course("rises", f"entropy rises over training ({way})")
    lowest = np.minimum.accumulate(smooth)
    doubles = (smooth >= 2.0 * lowest) & (smooth - lowest > max(start - low, 0.05 * start))
    back = low < _SPENT * start and end > 1.5 * low and end - low > 0.1 * (start - low)
    if back or doubles.any():
        return Course("returns", f"entropy falls and rises again (lowest {low:.3g}; {way})")
    if end > _SPENT * start and not (correlation < -0.7 and end < 0.9 * start):
        return Course("flat", f"entropy is not spent ({way})")
    still = late > -0.4 or abs(third - last) < min(0.05 * third, 0.1 * (start - low))
    if n >= 8 and still and last > 0.3 * start:
        return Course("held", f"entropy seems to be held in the later half, at {last:.3g} nats")
    return Course("falls", f"entropy falls ({way})")


def _trend(values: np.ndarray) -> float:
    """Return the rank correlation with time; 0 where nothing moves."""
    ranks = pd.Series(values).rank().to_numpy()
    return float(np.corrcoef(ranks, np.arange(len(ranks)))[0, 1]) if np.ptp(ranks) else 0.0


def _collapses(performance: np.ndarray) -> bool:
    if len(performance) < 8 or performance.min() < 0.0:
        return False
    means = [part.mean() for part in np.array_split(performance, min(10, len(performance) // 2))]
    return means[-1] < 0.5 * max(means)


# -- Warnings ------------------------------------------------------------------------------------

_FEW_POINTS = 12
_VOCABULARY = 12.5  # nats: the logarithm of the largest, 262,144 words, is 12.48
_NARROW = 0.05  # range of exp(H): on it a = 0.2 moves performance by one point
_GAIN = 4.0  # AICc of another form, beyond which it is clearly the better


def lag1_autocorrelation(residual: np.ndarray) -> float:
    """Return the correlation of neighbouring residuals in training order; 0 where all are 0."""
    total = residual @ residual
    return float(residual[1:] @ residual[:-1] / total) if total > 0.0 else 0.0


def law_warnings(
    entropy_nats: np.ndarray, performance: np.ndarray, forms=None, course: Course | None = None
) -> list[str]:
    """Return the reasons why the law may not hold for this run, a sentence each.

    Points in training order; ``forms`` is ``compare_forms`` of the same points, if made already,
    ``course`` is ``course_of`` the run, and comes first unless entropy is spent. Then: few points,
    a narrow range of entropy, a negative a, a poor fit, a ceiling far beyond the points, a better
    form.

    >>> law_warnings([0.5, 0.4, 0.3], [0.2, 0.3, 0.4])[0]
    'only 3 points: intervals and forecasts mean little below 12'
    """
    entropy, scores = checked_points(entropy_nats, performance)
    course = course or course_of(entropy, scores)
    fit, warnings = fit_law(entropy, scores), []
    growth, n = np.exp(entropy), len(scores)
    if not course.is_law:
        why = "no curve through such points is the law, which is about entropy that is spent"
        warnings.append(f"{course.sentence}: {why}")
    if n < _FEW_POINTS:
        warnings.append(f"only {n} points: intervals and forecasts mean little below {_FEW_POINTS}")
    low, high = entropy.min(), entropy.max()
    if high > _VOCABULARY:
        warnings.append(f"{high:.3g} nats are more than any vocabulary has: a sum, or bits?")
    if np.ptp(growth) < _NARROW:
        moves = f"entropy moves only from {low:.3g} to {high:.3g} nats"
        warnings.append(f"{moves}: too narrow a range to tell a from b")
    if fit.a <= 0.0:
        warnings.append("a is negative: performance fell as entropy fell, the law does not hold")
    elif fit.r2 < 0.8:
        warnings.append(f"R^2 is {fit.r2:.2f}: the law explains little of this run")
    if course.is_law and low > 0.5 * high:
        warnings.append(f"the lowest entropy is {low:.3g} nats: the ceiling (at 0) is far off")
    gain = {"exponential": 0.0} if forms is None else forms["delta_aicc_ar1"]
    if gain["exponential"] > _GAIN:
        by = f"AICc by {gain['exponential']:.0f}, autocorrelation allowed for"
        warnings.append(f"the form {gain.idxmin()} fits better ({by})")
    return warnings


# -- Forecasts (Fig. 5) --------------------------------------------------------------------------


@dataclass(frozen=True)
class LawForecast:
    """A fit on the first ``n_fitted`` points and its errors on the others.

    ``rmse``, ``mean_error`` and ``last_error`` (observed less predicted) are in the unit of the
    performance. ``points`` has a row a point: entropy_nats, performance, predicted, low, high (95 %
    interval of one evaluation, NaN if fewer than 5 points were fitted), forecast (True after the
    first ones).
    """

    fit: LawFit
    n_fitted: int
    rmse: float
    mean_error: float
    last_error: float
    points: pd.DataFrame


def forecast_law(
    entropy_nats: np.ndarray, performance: np.ndarray, *, fraction: float = 0.15
) -> LawForecast:
    """Fit the law on the first ``fraction`` of the points and forecast performance at the rest.

    The forecast uses the entropies that the rest reached: the law predicts the performance at an
    entropy, not when that entropy is reached. Points in training order; at least 4 are fitted, at
    least 1 forecast.

    >>> entropy = np.linspace(1.0, 0.1, 20)
    >>> forecast = forecast_law(entropy, 0.9 - 0.2 * np.exp(entropy), fraction=0.25)
    >>> forecast.n_fitted, bool(forecast.rmse < 1e-12)
    (5, True)
    """
    entropy, scores = checked_points(entropy_nats, performance)
    first = n_first(len(entropy), fraction)
    fit = fit_law(entropy[:first], scores[:first])
    predicted = fit.predict(entropy)
    low = high = np.full(len(entropy), np.nan)
    if first >= 5:
        table = law_intervals(entropy[:first], scores[:first], at_entropy_nats=entropy)
        rows = table[table["quantity"] == "law"]
        low, high = rows["observed_low"].to_numpy(), rows["observed_high"].to_numpy()
    error = (scores - predicted)[first:]
    points = {"entropy_nats": entropy, "performance": scores, "predicted": predicted}
    points |= {"low": low, "high": high, "forecast": np.arange(len(entropy)) >= first}
    rmse = float(np.sqrt(np.mean(error**2)))
    mean_error, last_error = float(error.mean()), float(error[-1])
    return LawForecast(fit, first, rmse, mean_error, last_error, pd.DataFrame(points))


# -- The report ----------------------------------------------------------------------------------

_MOST_POINTS = 20_000  # beyond, intervals take minutes
_FORECAST_SHARES = (0.5, 0.25, 0.1)  # of the lowest entropy reached


@dataclass(frozen=True)
class LawReport:
    """The law on one run. ``points``: step, entropy_nats, performance, in training order.

    ``intervals`` is ``law_intervals`` with rows ``law`` at lower entropies, None below five points;
    ``forms`` is ``compare_forms``, None below eight; ``autocorrelation`` is that of neighbouring
    residuals; ``unit`` is fraction, percent or reward. ``course`` is how entropy developed: unless
    it was spent, the fit is a curve and not the law. ``read`` names what was taken from a log.
    """

    points: pd.DataFrame
    fit: LawFit
    intervals: pd.DataFrame | None
    forms: pd.DataFrame | None
    autocorrelation: float
    warnings: list[str]
    unit: str
    course: Course
    read: list[str] = field(default_factory=list)

    def text(self) -> str:
        """Return the report as a few lines for a terminal, warnings first."""
        fit, entropy = self.fit, self.points["entropy_nats"]
        lines = [f"warning: {warning}" for warning in self.warnings] + self.read
        way = f"{entropy.iloc[0]:.3g} -> {entropy.iloc[-1]:.3g} nats"
        lines += [f"{fit.n_points} points, entropy {way}; performance in {_UNITS[self.unit]}"]
        lag1 = f"residual autocorrelation {self.autocorrelation:.2f}"
        measures = f"R^2 {fit.r2:.3f}, RMSE {fit.rmse:.3g}, {lag1}"
        if not self.course.is_law:
            lines += [f"not the law, only least squares: a {fit.a:.4g}, b {fit.b:.4g}; {measures}"]
            return "\n".join(lines)
        lines += [f"R = -a exp(H) + b    {measures}"]
        if self.intervals is None:
            lines += [f"  a {fit.a:.4g}   b {fit.b:.4g}   ceiling (H = 0) {fit.ceiling:.4g}"]
            return "\n".join(lines)
        for row in self.intervals.itertuples():
            at = f"at H = {row.entropy_nats:.3g} nats"
            name = {"ceiling": "ceiling (H = 0)", "law": at}.get(row.quantity, row.quantity)
            interval = f"95 % interval {row.low:.4g} to {row.high:.4g}"
            lines += [f"  {name:20} {row.estimate:8.4g}   {interval}"]
        return "\n".join(lines)

    def forecast(self, fraction: float = 0.15) -> LawForecast:
        """Fit the first ``fraction`` of the points and forecast the rest (Fig. 5)."""
        points = self.points
        return forecast_law(points["entropy_nats"], points["performance"], fraction=fraction)

    def checks(self) -> pd.DataFrame:
        """Return, a row each, what the law claims of this run: claim, measured, holds."""
        rows = [
            ("R^2 of the law is at least 0.9", f"{self.fit.r2:.3f}", self.fit.r2 >= 0.9),
            ("nothing speaks against the law", "; ".join(self.warnings) or "no warning",
             not self.warnings),
        ]  # fmt: skip
        if self.intervals is not None:
            a = self.intervals.set_index("quantity").loc["a"]
            measured = f"{a['estimate']:.3g} [{a['low']:.3g}, {a['high']:.3g}]"
            rows.insert(0, ("a is positive: entropy buys performance", measured, a["low"] > 0.0))
            rows += self._forecast_check()
        if not self.course.is_law:
            claim = "entropy is spent, by nothing but training"
            rows.insert(0, (claim, self.course.sentence, False))
        frame = pd.DataFrame(rows, columns=["claim", "measured", "holds"])
        return frame.astype({"holds": bool})

    def _forecast_check(self) -> list[tuple[str, str, bool]]:
        claim = "the first 15 % forecast the rest: 90 % of it in the 95 % intervals"
        try:
            later = self.forecast().points.query("forecast and low == low")
        except UserError as error:  # entropy does not move among the first
            return [(claim, str(error), False)]
        inside = later["performance"].between(later["low"], later["high"]).mean()
        return [(claim, f"{100 * inside:.0f} %", inside >= 0.9)] if len(later) else []


def analyse_run(
    entropy_nats: np.ndarray,
    performance: np.ndarray,
    *,
    step: np.ndarray | None = None,
    at_entropy_nats: np.ndarray | None = None,
    performance_name: str = "",
    course: Course | None = None,
) -> LawReport:
    """Fit the law to one run, with intervals, rival forms and warnings.

    Points in training order. ``at_entropy_nats`` are entropies to forecast at; by default a half, a
    quarter and a tenth of the lowest reached. ``performance_name`` helps ``performance_unit``;
    ``course`` is ``course_of`` these points if None. Raises ``UserError`` for what ``fit_law``
    refuses, for performance that never moves and for percent mixed with fractions.

    >>> entropy = np.linspace(1.0, 0.1, 30)
    >>> noise = 0.01 * np.random.default_rng(0).standard_normal(30)
    >>> report = analyse_run(entropy, 0.9 - 0.2 * np.exp(entropy) + noise)
    >>> round(report.fit.ceiling, 1), report.unit, report.warnings
    (0.7, 'fraction', [])
    """
    entropy, scores = checked_points(entropy_nats, performance)
    unit = performance_unit(scores, performance_name)
    course = course or course_of(entropy, scores)
    step = np.arange(len(entropy)) if step is None else np.asarray(step)
    block, read = -(-len(entropy) // _MOST_POINTS), []
    if block > 1:  # the law is linear in exp(H): the means of points on it are on it too
        read = [f"note: {len(entropy)} points, averaged over {block} neighbours each"]
        starts = np.arange(0, len(entropy), block)
        sizes = np.diff([*starts, len(entropy)])
        entropy = np.log(np.add.reduceat(np.exp(entropy), starts) / sizes)
        scores, step = np.add.reduceat(scores, starts) / sizes, step[starts]
    if np.ptp(scores) == 0.0:
        fix = "give a run in which performance moves"
        raise bad_value("performance", f"{scores[0]:g} everywhere", fix)
    shares = np.array(_FORECAST_SHARES)
    at = entropy.min() * shares if at_entropy_nats is None else np.asarray(at_entropy_nats, float)
    if not ((at >= 0.0) & (at <= 50.0)).all():
        raise UserError(f"--at {at.min():g}: give entropies in nats, 0 or more")
    enough = len(entropy) >= 5
    forms = compare_forms(entropy, scores) if len(entropy) >= 8 else None
    intervals = law_intervals(entropy, scores, at_entropy_nats=at) if enough else None
    warnings = law_warnings(entropy, scores, forms, course)
    best = {"fraction": 1.0, "percent": 100.0, "reward": np.inf}[unit]
    if course.is_law and intervals is not None and intervals.loc[2, "high"] > best:
        warnings.append(f"the interval of the ceiling reaches beyond {best:g}, which cannot be")
    accuracy = _ACCURACY.search(performance_name) and not _REWARD.search(performance_name)
    if unit == "reward" and accuracy:
        spread = f"goes from {scores.min():.4g} to {scores.max():.4g}"
        warnings.append(f"{performance_name!r} {spread}, as no accuracy does: read as a reward")
    fit = fit_law(entropy, scores)
    return LawReport(
        points=pd.DataFrame({"step": step, "entropy_nats": entropy, "performance": scores}),
        fit=fit,
        intervals=intervals,
        forms=forms,
        autocorrelation=lag1_autocorrelation(scores - fit.predict(entropy)),
        warnings=warnings,
        unit=unit,
        course=course,
        read=read,
    )


def analyse_log(
    path: str | Path, *, at_entropy_nats: np.ndarray | None = None, **columns: str
) -> tuple[LawReport, RunLog]:
    """Read a log (``read_log``, with its ``columns``) and analyse it (``analyse_run``)."""
    log = read_log(path, **columns)
    scores = log.frame["performance"]
    everywhere = log.every_step["entropy_nats"].dropna()
    checked_points(log.frame["entropy_nats"], scores)  # says what is wrong in terms of the points
    report = analyse_run(
        log.frame["entropy_nats"],
        scores,
        step=log.frame["step"],
        at_entropy_nats=at_entropy_nats,
        performance_name="%" if log.percent else log.performance_column,
        course=course_of(everywhere, scores, controlled=log.controlled),
    )
    report.warnings.extend(log.warnings)
    if log.on_training_data:
        why = "is measured on training prompts: the paper's law is about held-out accuracy"
        report.warnings.append(f"{log.performance_column!r} {why}")
    report.read[:0] = [log.columns_taken(), *(f"note: {note}" for note in log.notes)]
    return report, log


def performance_unit(performance: np.ndarray, name: str = "") -> str:
    """Return ``fraction``, ``percent`` or ``reward``; refuse fractions and percent mixed.

    Values within [0, 1] are fractions. Up to 100 they are percent if the column's name means an
    accuracy or says percent; without such a name if the largest is above 20, and never if the name
    says reward, return or sum: rewards are summed over parts, up to 8 or 13.7. Mixed means: some
    values are at most 1, others above 1.5, and reading the former as fractions of 100 makes the
    series clearly smoother (the sum of its steps smaller by a quarter).

    >>> performance_unit(np.array([0.2, 0.4])), performance_unit(np.array([0.4, 21.0, 38.0]))
    ('fraction', 'percent')
    >>> performance_unit(np.array([1.0, 13.7])), performance_unit(np.array([1.0, 13.7]), "eval_acc")
    ('reward', 'percent')
    """
    scores = np.asarray(performance, dtype=np.float64)
    if scores.min() < 0.0 or scores.max() > 100.0:
        return "reward"
    percent = re.search(r"%|percent|(?:^|[/_.])pct", name, re.IGNORECASE)
    if scores.max() <= 1.0 + 1e-6:
        return "percent" if percent else "fraction"
    known_reward = _REWARD.search(name) or scores.max() <= (1.5 if _ACCURACY.search(name) else 20.0)
    if known_reward and not percent:
        return "reward"
    small = (scores > 0.0) & (scores <= 1.0)
    if small.any():
        scaled = np.where(small, 100.0 * scores, scores)
        if np.abs(np.diff(scaled)).sum() < 0.75 * np.abs(np.diff(scores)).sum():
            mixed = f"{scores[small][0]:g} beside {scores.max():g}"
            fix = "percent mixed with fractions: give one of the two"
            raise bad_value("performance", mixed, fix)
    return "percent"


_REWARD = re.compile(
    r"reward|return|(?:^|[/_.])(?:sum|total|points|count|(?:num|n)_correct)(?:$|[/_.])",
    re.IGNORECASE,
)
_ACCURACY = re.compile(r"acc(?:uracy|[/_.]|$)|correct|pass[@_]|(?:mean|avg)@|_rate$", re.IGNORECASE)
_UNITS = {"fraction": "fractions", "percent": "percent", "reward": "units of the reward"}
