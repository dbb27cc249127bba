"""Public training runs of others: where each lies, which points it gives, what is computed of it.

The series are not ours to publish. What is kept is where each lies and what was computed from it;
with the series in a folder, or fetched from their addresses, all of it is computed again.
"""

from __future__ import annotations

import math
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import urlopen

import numpy as np
import pandas as pd

from entropy_mech.errors import UserError, bad_value, folder_path
from entropy_mech.law.fit import fit_form, fit_law, law_intervals, n_first
from entropy_mech.law.log import read_log
from entropy_mech.law.report import course_of
from entropy_mech.paper.claims import correlation

# -- The rule, stated before the fits ------------------------------------------------------------

LEAST_VALIDATIONS = 8  # with fewer, performance is the train reward
FORECAST_FRACTION = 0.15
# What ``course_of`` says of the whole entropy curve, and of performance where it collapses.
CLASSES = {
    "falls": "falling",
    "flat": "flat",  # not spent
    "held": "flat",  # falls at first, then stays
    "returns": "flat",  # falls and comes back
    "rises": "rising",
    "explodes": "exploding",
    "collapses": "collapsing",
    "controlled": "controlled",  # by an entropy bonus of 0.01 or more, or clip-higher
}
CLASS_ORDER = tuple(dict.fromkeys(CLASSES.values()))
RIVALS = {"linear": "H", "log_entropy": "log H", "log_step": "log step"}


def chosen_points(series: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """Return which performance a series is judged by, and its points: step, entropy, performance.

    Validation where it was measured at least eight times, else the train reward.

    >>> series = pd.DataFrame({"step": [0, 1], "entropy_nats": [0.5, 0.4]})
    >>> series = series.assign(validation_accuracy=[0.1, None], train_reward=[0.1, 0.2])
    >>> chosen_points(series)[0], len(chosen_points(series)[1])
    ('train reward', 2)
    """
    validated = series["validation_accuracy"].notna().sum() >= LEAST_VALIDATIONS
    name = "validation_accuracy" if validated else "train_reward"
    return name.replace("_", " "), _points(series, name)


def _points(series: pd.DataFrame, performance: str) -> pd.DataFrame:
    frame = series[["step", "entropy_nats", performance]].dropna()
    return frame.rename(columns={performance: "performance"})


# -- What is computed from one run ---------------------------------------------------------------


def measured(points: pd.DataFrame, entropy: pd.Series, controlled_by: str = "") -> dict:
    """Return all that the table has of one run: its class, the law, its rivals, forecasts.

    ``points`` has step, entropy_nats and performance in training order, ``entropy`` the whole
    curve. AICc is the rival's less the law's: above 0 the law fits better. All have two numbers to
    fit, so AICc and R^2 order them alike.
    """
    step, h, r = (points[name].to_numpy(float) for name in ("step", "entropy_nats", "performance"))
    course = course_of(entropy.dropna(), r, controlled=controlled_by).name
    fit, law = fit_law(h, r), fit_form("exponential", h, r)
    time = np.log1p(step)
    intervals = law_intervals(h, r).set_index("quantity")
    found = {"class": CLASSES[course], "course": course, "points": len(r)}
    found |= {"a": fit.a, "b": fit.b, "r2": fit.r2, "rmse": fit.rmse}
    found["a_without_first"] = fit_law(h[1:], r[1:]).a
    found |= {f"{q}_{end}": intervals.loc[q, end] for q in ("a", "b") for end in ("low", "high")}
    for name, form, x in (
        ("linear", "linear", h),
        ("log_entropy", "logarithm", h),
        ("log_step", "linear", time),
    ):
        log_of_zero = form == "logarithm" and x.min() <= 0.0
        rival = None if log_of_zero else fit_form(form, x, r)
        r2 = np.nan if log_of_zero else 1.0 - rival.rss / (len(r) * r.var())
        found |= {f"r2_{name}": r2, f"aicc_{name}": rival.aicc - law.aicc if rival else np.nan}
    found["partial_correlation"] = partial_correlation(np.exp(h), r, time)
    return found | _forecasts(h, r)


_ROUNDING = 1e-12


def partial_correlation(x: np.ndarray, y: np.ndarray, given: np.ndarray) -> float:
    """Return the correlation of what straight lines in ``given`` leave of x and y.

    It follows from the three plain correlations; NaN where a line leaves nothing of one of them.

    >>> time = np.arange(4.0)
    >>> round(partial_correlation(time + [1, -1, -1, 1], 2 * time - [1, -1, -1, 1], time), 9)
    -1.0
    """
    xy, x_given, y_given = correlation(x, y), correlation(x, given), correlation(y, given)
    left = (1 - x_given**2) * (1 - y_given**2)
    return (xy - x_given * y_given) / math.sqrt(left) if left > _ROUNDING else math.nan


def _forecasts(h: np.ndarray, r: np.ndarray) -> dict[str, float]:
    """RMSE over the later points: of the law, told their entropies, and of the last value kept."""
    first = n_first(len(r), FORECAST_FRACTION)
    carried = float(np.sqrt(np.mean((r[first:] - r[first - 1]) ** 2)))
    try:
        error = r[first:] - fit_law(h[:first], r[:first]).predict(h[first:])
        forecast = float(np.sqrt(np.mean(error**2)))
    except UserError:  # entropy does not move among the first
        forecast = np.nan
    return {"forecast_rmse": forecast, "carried_rmse": carried}


# -- The table -----------------------------------------------------------------------------------

_DATA = Path(__file__).parent / "data"
_BESIDE = Path(__file__).resolve().parents[3] / "shared" / "data" / "logs"
_RAW = "https://raw.githubusercontent.com"
_TEXTS = ("controlled_by", "recipe", "variant", "not_fetched", "read_performance")


def kept_runs() -> pd.DataFrame:
    """Return the kept table: source, settings and what was computed, a row a run.

    >>> len(kept_runs()), kept_runs()["repository"].nunique()
    (47, 13)
    """
    table = pd.read_csv(_DATA / "public_runs.csv")
    texts = {name: table[name].fillna("") for name in _TEXTS}
    return table.assign(**texts, numbers="kept")


def load_runs(
    folder: str | Path = "", *, fetch: bool = False, cache: str | Path = ""
) -> pd.DataFrame:
    """Return the table, computed anew for each run whose series is at hand.

    Column ``numbers`` says where a row's come from: ``folder``, ``fetched`` or ``kept`` (with the
    reason, where a log could not be fetched or read).

    Args:
        folder: of series ``<run>.csv`` with step, entropy_nats, validation_accuracy, train_reward;
            empty takes ``../shared/data/logs`` beside the project where there is one.
        fetch: download the public logs into ``cache`` (once) and read those instead.
        cache: a folder.

    Raises:
        UserError: the folder has none of the series; the network does not answer.

    """
    if folder:
        folder = folder_path("folder", folder, "give the folder of the series")
    table = kept_runs()
    rows = [_measured_row(row, folder, fetch, cache) for row in table.to_dict("records")]
    if folder and not fetch and all(row["numbers"] == "kept" for row in rows):
        fix = "give the folder that has them as RUN.csv, or leave it empty for the kept numbers"
        raise bad_value("folder", str(folder), f"{fix}; none of {len(rows)} series is there")
    return with_recipes(pd.DataFrame(rows)[table.columns], folder)


def _measured_row(row: dict, folder: str | Path, fetch: bool, cache: str | Path) -> dict:
    series = series_of(row["run"], folder)
    if fetch and not row["not_fetched"]:
        path, why = _fetched(row, Path(cache))
        return row | (_of_log(row, path) if path else {"numbers": f"kept: {why}"})
    if fetch or series.empty:
        return row
    performance, points = chosen_points(series)
    found = measured(points, series["entropy_nats"], row["controlled_by"])
    train = _points(series, "train_reward")
    fit = fit_law(train["entropy_nats"], train["performance"])
    found |= {"train_a": fit.a, "train_b": fit.b, "train_r2": fit.r2, "train_points": fit.n_points}
    return row | found | {"performance": performance, "numbers": "folder"}


def _of_log(row: dict, path: Path) -> dict:
    """What a fetched log says; where it cannot be read, why the kept numbers stay."""
    try:
        log = read_log(path, performance=row["read_performance"])
        entropy = log.every_step[["step", "entropy_nats"]].dropna()
        entropy = entropy.assign(step=entropy["step"] - row["entropy_lead"])
        points = log.every_step[["step", "performance"]].dropna().merge(entropy, on="step")
        points = points.assign(performance=row["scale"] * points["performance"])
        found = measured(points, entropy["entropy_nats"], row["controlled_by"])
    except UserError as error:  # another version of a log must not take the other 46 with it
        return {"numbers": f"kept: {error}"}
    kind = "train reward" if log.on_training_data else "validation accuracy"
    return found | {"performance": kind, "numbers": "fetched"}


def series_of(run: str, folder: str | Path = "") -> pd.DataFrame:
    """Return the series of a run from a folder; empty where it is not there."""
    path = Path(folder or _BESIDE) / f"{run}.csv"
    return pd.read_csv(path) if path.is_file() else pd.DataFrame()


def _fetched(row: dict, cache: Path) -> tuple[Path | None, str]:
    """Return a run's log in the cache, downloaded if it is not there yet, or why there is none."""
    path = cache / row["run"] / Path(row["path"]).name
    if path.is_file():
        return path, ""
    address = f"{_RAW}/{row['repository']}/{row['commit']}/{quote(row['path'])}"
    try:
        with urlopen(address, timeout=60) as answer:
            content = answer.read()
    except HTTPError as error:
        return None, f"{address} answers {error.code}"
    except URLError as error:
        why = f"fetch: {_RAW} does not answer ({error.reason})"
        raise UserError(f"{why}: give fetch = False for the kept numbers") from None
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(content)
    return temporary.replace(path), ""


def with_recipes(table: pd.DataFrame, folder: str | Path = "") -> pd.DataFrame:
    """Add how one law for all falling runs of a recipe fits each (``recipe_rmse``), from series."""
    for _, part in table[(table["class"] == "falling") & (table["recipe"] != "")].groupby("recipe"):
        points = {run: series_of(run, folder) for run in part["run"]}
        if any(frame.empty for frame in points.values()):
            continue  # the kept value stays
        points = {run: chosen_points(frame)[1] for run, frame in points.items()}
        every = pd.concat(points.values())
        fit = fit_law(every["entropy_nats"], every["performance"])
        for run, frame in points.items():
            error = frame["performance"] - fit.predict(frame["entropy_nats"])
            table.loc[table["run"] == run, "recipe_rmse"] = float(np.sqrt((error**2).mean()))
    return table
