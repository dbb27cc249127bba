"""Read entropy and performance of one run from a training log, whatever program wrote it.

``files`` reads it as a table, ``dialects`` knows the names; here the columns are chosen, the rows
of one run are picked, and both are joined into points.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from entropy_mech.errors import UserError, unknown_name
from entropy_mech.law.dialects import (
    DIALECTS,
    LENGTHS,
    STEPS,
    Dialect,
    control_in,
    entropy_doubt,
    listed,
    matching,
)
from entropy_mech.law.files import Table, read_metrics

_ANY = DIALECTS[-1]
_BITS = r"(?<![a-zA-Z\d])(?<!\d[-_ ])(?i:bits?)(?![a-z])|[a-z]Bits?$|log_?2|base_?2"
_LEAST = 3  # values that a validation column needs to be fitted


@dataclass(frozen=True)
class RunLog:
    """Points of one run in training order: ``frame`` has step, entropy_nats and performance.

    ``every_step`` has a row for each step with anything: these and response_length_mean, NaN where
    not measured. The names are those in the log; ``step_column`` is empty where rows were counted.
    ``on_training_data``: performance is the training reward, as there is no validation;
    ``percent``: the log writes percent signs; ``controlled``: the setting or column that controls
    the entropy. ``warnings`` are doubts about the columns, ``notes`` what was done to the rows.
    ``table`` has all columns of the run.
    """

    frame: pd.DataFrame
    entropy_column: str
    performance_column: str
    on_training_data: bool = False
    step_column: str = ""
    dialect: str = ""
    percent: bool = False
    controlled: str = ""
    every_step: pd.DataFrame = field(default_factory=pd.DataFrame)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    table: Table = field(default_factory=lambda: Table(pd.DataFrame()))

    def columns_taken(self) -> str:
        """Return one line that names every column taken."""
        step = repr(self.step_column) if self.step_column else "the order of the rows"
        known = "" if self.dialect in ("", _ANY.name) else f" (names of {self.dialect})"
        return (
            f"entropy from {self.entropy_column!r}, performance from {self.performance_column!r}, "
            f"step from {step}{known}"
        )


def read_log(
    path: str | Path, *, entropy: str = "", performance: str = "", step: str = "", run: str = ""
) -> RunLog:
    """Return the points of a log, one for each step at which performance was measured.

    An evaluation is joined to the entropy of its step, or of the last step before it that has one.
    An empty cell or an absent key is a value not measured; NaN or infinity written out is refused,
    as are text and columns that are missing or could be any of several. ``run`` names one of
    several runs. Every refusal is one ``UserError`` line.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "run.jsonl")  # as verl's file logger writes it
    >>> _ = path.write_text('{"step": 1, "data": {"actor/entropy": 0.5, "critic/score/mean": 0.2}}')
    >>> log = read_log(path)
    >>> log.performance_column, log.on_training_data, log.frame.values.tolist()
    ('critic/score/mean', True, [[1.0, 0.5, 0.2]])
    """
    table = read_metrics(path, run)
    return run_of(table, entropy=entropy, performance=performance, step=step, run=run)


def run_of(
    table: Table, *, entropy: str = "", performance: str = "", step: str = "", run: str = ""
) -> RunLog:
    """Return the points of a log that was read (``read_log`` has the rules)."""
    table = replace(table, notes=list(table.notes))
    dialect = _dialect(table)
    entropy_name = _entropy_column(table, entropy, dialect)
    performance_name, on_training_data = _performance_column(table, performance, dialect)
    for name in (entropy_name, performance_name):
        table.checked(name)  # refuses text, NaN and infinity
    steps = _steps(table, step, dialect, entropy_name, performance_name)
    metrics = list(dict.fromkeys([entropy_name, performance_name]))
    table, steps = one_run(table, steps, metrics, "" if table.export else run)
    every_step, points = _joined(table, steps, entropy_name, performance_name)
    known = dialect if matching([entropy_name], dialect.entropies) else _ANY
    if known.remark:
        table.notes.insert(0, known.remark)
    return RunLog(
        points,
        entropy_name,
        performance_name,
        on_training_data,
        step_column=steps.name,
        dialect=dialect.name,
        percent=performance_name in table.percent,
        controlled=_settings(table.path) or control_in(table.frame),
        every_step=every_step,
        warnings=_doubts(entropy_name, known, table.export) + _copied(points, performance_name),
        notes=table.notes,
        table=table,
    )


# -- Choosing columns ----------------------------------------------------------------------------


def _dialect(table: Table) -> Dialect:
    """Return the framework whose names fit best: its entropy, and then performance and step."""
    names = table.measured()

    def fit(dialect: Dialect) -> int:
        if not matching(names, dialect.entropies):
            return 0
        scores = matching(names, dialect.validation) or matching(names, dialect.rewards)
        step = [s for s in dialect.steps if s != "step"]
        return 1 + 2 * bool(scores) + bool(matching(names, step))

    best = max(DIALECTS, key=fit)  # of equals the first
    return best if fit(best) else _ANY


def _entropy_column(table: Table, given: str, dialect: Dialect) -> str:
    if given:
        return _given(table, "entropy", given)
    return _only(table, matching(table.measured(), dialect.entropies), "entropy")


def _performance_column(table: Table, given: str, dialect: Dialect) -> tuple[str, bool]:
    """Return the column and whether it is measured on training prompts."""
    names = table.measured()
    order = dict.fromkeys((dialect, _ANY, *DIALECTS))
    rewards = matching(names, [pattern for d in order for pattern in d.rewards])
    if given:
        name = _given(table, "performance", given)
        trained = name in rewards and not re.fullmatch("scores?", name, re.IGNORECASE)
        return name, trained and not matching([name], _ANY.validation)
    validation = matching(names, [pattern for d in order for pattern in d.validation])
    few = [name for name in validation if np.isfinite(table.numbers(name)).sum() < _LEAST]
    if validation and rewards and len(few) == len(validation):
        table.notes.append(f"{validation[0]!r} has fewer than {_LEAST} values: not taken")
        validation = []
    name = _only(table, validation or rewards, "performance")
    copy_of_reward = name == "performance" and any(
        np.array_equal(table.numbers(name), table.numbers(other), equal_nan=True)
        for other in rewards
    )
    return name, not validation or copy_of_reward


def _given(table: Table, kind: str, name: str) -> str:
    """Return the column that is meant: by its whole name, or by its end where rows have a type."""
    if name in table.frame:
        return name
    ends = [n for n in table.measured() if n.endswith(f"/{name}")]
    if not ends:
        raise unknown_name(f"{kind} column", name, table.frame)
    return _only(table, ends, kind)


def _only(table: Table, names: list[str], kind: str) -> str:
    if not names:
        columns = f"columns: {listed(list(table.frame))}"
        raise UserError(f"no {kind} column found: name it with --{kind} COL ({columns})")
    if len(names) > 1:
        columns = f"{len(names)} columns could be the {kind} ({listed(names, 4)})"
        raise UserError(f"{columns}: name one with --{kind} COL")
    return names[0]


def _steps(table: Table, given: str, dialect: Dialect, *metrics: str) -> pd.Series:
    """Return the step of each row: the first known column that is filled wherever a metric is.

    Its name is the column's, empty where rows are counted.
    Columns such as ``train/global_step`` and ``eval/global_step`` are joined into one, if they end
    at about the same step.
    """
    used = [np.isfinite(table.numbers(metric)) for metric in metrics]
    if given:
        name = _given(table, "step", given)
        if not np.isfinite(table.checked(name)).any():
            raise UserError(f"column {name!r} is empty: give the column of the step")
        return _filled(table.frame[name])
    candidates = []
    for pattern in (*dialect.steps, *STEPS):
        names = _clean(table, [pattern])
        if not names or set(names) & set(metrics):
            continue
        together = table.frame[names].bfill(axis=1).iloc[:, 0].rename(", ".join(names))
        ends = [np.nanmax(together.to_numpy()[rows], initial=-np.inf) for rows in used]
        if len(names) == 1 or max(ends) <= 1.5 * max(min(ends), 1.0):
            candidates.append(together)
    any_used = np.any(used, axis=0)
    full = [s for s in candidates if s[any_used].notna().all()] or candidates
    if not full:
        return pd.Series(np.arange(len(table.frame), dtype=float), name="")
    chosen = full[0]
    within = [s for s in full if matching([s.name], ["global_step"])]
    if within and _goes_back(chosen, any_used) and not _goes_back(within[0], any_used):
        chosen = within[0]  # the other starts anew at every epoch
    return _filled(chosen)


def _clean(table: Table, patterns: tuple[str, ...] | list[str]) -> list[str]:
    """Return the measured columns that match, without those in which a number is bad."""
    return [n for n in matching(table.measured(), patterns) if not len(table.texts(n))]


def _goes_back(steps: pd.Series, rows: np.ndarray) -> bool:
    return bool((_filled(steps)[rows].diff() < 0).any())


def _filled(steps: pd.Series) -> pd.Series:
    return steps.ffill().bfill()


def _settings(path: Path) -> str:
    """Return the setting in the folder of a run of this package that controls its entropy."""
    file = path / "config.json"
    try:
        loss = json.loads(file.read_text())["loss"] if file.is_file() else {}
    except (json.JSONDecodeError, KeyError):  # another program's
        return ""
    low, high = loss.get("clip_low"), loss.get("clip_high")
    if "_cov" in str(loss.get("method")):
        return f"loss.method = {loss['method']}"
    if loss.get("entropy_bonus"):
        return f"loss.entropy_bonus = {loss['entropy_bonus']}"
    return f"loss.clip_high = {high}" if None not in (low, high) and high > low else ""


def _doubts(entropy: str, dialect: Dialect, export: str) -> list[str]:
    doubts = [f"{entropy!r}: {dialect.warning}"] if dialect.warning else []
    if dialect is _ANY and (doubt := entropy_doubt(entropy)):
        doubts.append(f"{entropy!r}: by its name {doubt}")
    if export.startswith("Group: "):
        why = "is a mean over runs, and means of runs on one curve are not on it"
        doubts.append(f"{export!r} {why}")
    return doubts


def _copied(points: pd.DataFrame, name: str) -> list[str]:
    """Warn of a validation that is copied into the rows up to the next one."""
    moves = np.nonzero(np.diff(points["performance"]))[0][:-1]  # the last may come off its beat
    every = np.gcd.reduce(np.diff(moves)) if len(moves) > 5 else 1
    fix = "if it was not measured between, leave those cells empty"
    return [f"{name!r} changes only every {every} points: {fix}"] if every > 1 else []


# -- The rows of one run -------------------------------------------------------------------------
# Tables of several runs are split with a name or refused, never joined. Runs are told apart by
# columns such as run, seed or group; by steps that go back (a second run appended, or a branch left
# behind by a resume). Two values of one metric at one step are refused.

_PREFIX = r"(?:.+[/.])?(?:wandb_|slurm_|mlflow_)?"
_RUNS = tuple(
    _PREFIX + name
    for name in (
        r"(?:run|experiment|exp|trial)(?:_?(?:name|id|num(?:ber)?|index))?|name|label|curve|series",
        r"(?:\w+_)?seed|(?:run_?)?group(?:_?name)?|variant|arm|replicate|ablation|condition",
        r"model(?:_?(?:name|size|id|path))?|method|algo(?:rithm)?|config(?:_?(?:name|id))?|setting",
        r"source|(?:source_?)?file(?:_?name)?|folder|dir(?:ectory)?|log_?dir",
        r"rank|dataset|benchmark",
    )
)
# Counters of the updates within one step: the first is made by the policy that sampled.
_UPDATES = (
    r"(?:.+/)?(?:optim(?:izer)?|inner|micro|mini|ppo|gradient|grad)_?(?:step|batch|update)s?",
    r"(?:.+/)?(?:rollout_|ppo_|inner_)?epochs?|(?:.+/)?(?:train_|mini_?|micro_?)batch_index|_step",
    r"(?:.+/)?(?:minibatch|microbatch|update|substep)",
)
_CLOCKS = (r"(?:.+/)?(?:num_tokens|epoch|episode|_runtime|_timestamp|wall.?time|timestamp)",)
RESUMED = "resumed"
_Kept = tuple[np.ndarray, str]  # a mask of rows, and the run that is still to be found


def one_run(
    table: Table, steps: pd.Series, metrics: list[str], run: str
) -> tuple[Table, pd.Series]:
    """Return the rows of one run: of ``run`` if it is given, else of the only one there is.

    ``metrics`` are the columns that will be used. Raises ``UserError``, with the names to choose
    from, if there are several.

    >>> table = Table(pd.DataFrame({"h": [5.0, 4.0], "seed": [1.0, 2.0]}))
    >>> one_run(table, pd.Series([0.0, 1.0], name=""), ["h"], "2")[0].numbers("h").tolist()
    [4.0]
    """
    ways = [(_by_column, metrics), *((_by_going_back, metric) for metric in metrics)]
    for way, used in ways:
        keep, run = way(table, steps, used, run)
        if not keep.all():
            table, steps = table.take(keep), steps[keep].reset_index(drop=True)
    if run:
        raise UserError(f"--run {run!r}: no such run, this log holds only one: leave it out")
    return table, steps


def _by_column(table: Table, steps: pd.Series, metrics: list[str], run: str) -> _Kept:
    """Keep the rows of the run that columns such as run or seed name; "" once it is found."""
    used = np.any([np.isfinite(table.numbers(metric)) for metric in metrics], axis=0)
    varying: dict[str, pd.Series] = {}
    for name in [n for n in table.frame if n not in metrics and matching([n], _RUNS)]:
        labels = table.labels(name)
        distinct = labels[used].dropna().unique()
        if len(distinct) > 1 and not _counts_steps(steps, labels[used]):
            varying[name] = labels
        elif run and list(distinct) == [run]:
            run = ""  # the name of the only run
    if not varying:
        return np.ones(len(table.frame), bool), run
    columns = pd.DataFrame(varying)
    runs = columns[used].dropna().drop_duplicates().to_numpy()
    full = [" / ".join(labels) for labels in runs]
    chosen = [i for i, labels in enumerate(runs) if run in (*labels, full[i])]
    if run and not chosen:
        raise unknown_name("run", run, full)
    if len(chosen) != 1:
        names, among = ", ".join(map(repr, varying)), [full[i] for i in chosen] or full
        raise UserError(
            f"rows of {len(among)} runs, by {names} ({listed(among)}): name one with --run NAME"
        )
    same = columns.isna() | (columns == runs[chosen[0]])
    return same.all(axis=1).to_numpy(), ""


def _counts_steps(steps: pd.Series, labels: pd.Series) -> bool:
    """Return whether a column has a new value at every step, as a seed drawn anew has."""
    pairs = pd.DataFrame({"label": labels.dropna(), "step": steps}).dropna().drop_duplicates()
    return bool(steps.name) and pairs["label"].is_unique and pairs["step"].is_unique


def _by_going_back(table: Table, steps: pd.Series, metric: str, run: str) -> _Kept:
    """Keep one of the parts between which the step, or else a clock, goes back."""
    everything = np.ones(len(table.frame), bool)
    name, clock = steps.name, steps.to_numpy()
    if not name:
        clocks = _clean(table, _CLOCKS)
        if not clocks:
            return everything, run
        name, clock = clocks[0], table.numbers(clocks[0])
    rows = np.nonzero(np.isfinite(table.numbers(metric)) & np.isfinite(clock))[0]
    at = clock[rows]
    cuts = np.nonzero(np.diff(at) < 0)[0] + 1
    newest_first = (np.diff(at) <= 0).all()
    if newest_first or not len(cuts):
        return everything, run
    if steps.name and _only_out_of_order(at, table.numbers(metric)[rows]):
        return everything, run
    cut_rows = []
    for cut in cuts:  # rows between belong to the second part from where they go back too
        between = np.arange(rows[cut - 1] + 1, rows[cut] + 1)
        cut_rows.append(between[clock[between] < at[cut - 1]][0])
    part = np.searchsorted(cut_rows, np.arange(len(everything)), side="right")
    if run == RESUMED:
        return _without_abandoned(table, clock, part, name), ""
    names = [f"part {k}" for k in range(1, len(cuts) + 2)]
    if run in names:
        return part == names.index(run), ""
    ends = zip(names, [0, *cuts], [*cuts, len(at)], strict=True)
    shown = [f"'{n}': {at[i]:g} to {at[j - 1]:g}" for n, i, j in ends]
    raise UserError(
        f"{name!r} goes back from {at[cuts[0] - 1]:g} to {at[cuts[0]]:g} at row "
        f"{rows[cuts[0]] + 1}: a second run, or a branch left behind by a resume: name one with "
        f"--run ({listed(shown)}), or --run {RESUMED} to let later rows replace earlier ones"
    )


def _only_out_of_order(at: np.ndarray, values: np.ndarray) -> bool:
    """Return whether steps go back because rows of one run are late, shuffled or repeated."""
    order = np.argsort(at, kind="stable")
    again = _same(at[order][1:], at[order][:-1])
    if (again & ~_same(values[order][1:], values[order][:-1])).any():
        return False
    late = np.abs(order - np.arange(len(at))).max() <= 3
    shuffled = (np.diff(at) < 0).sum() > len(at) / 4
    behind = at < np.maximum.accumulate(at)  # after the first step back all repeat or go on
    copies = again.any() and np.isin(at[behind], at[: np.argmax(behind)]).all()
    return bool(late or shuffled or copies)


def _without_abandoned(table: Table, clock: np.ndarray, part: np.ndarray, name: str) -> np.ndarray:
    keep = np.ones(len(part), bool)
    for later in range(1, part.max() + 1):
        start = np.nanmin(clock[part == later])
        gone = keep & (part < later) & (clock >= start)
        keep &= ~gone
        if gone.any():
            rows = np.nonzero(gone)[0] + 1
            table.notes.append(
                f"rows {rows[0]} to {rows[-1]} ({name!r} from {start:g} on) are left out: later "
                "rows replace them"
            )
    return keep


# -- Points --------------------------------------------------------------------------------------


def _joined(
    table: Table, steps: pd.Series, entropy: str, performance: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return all metrics by step, and the points: evaluations with the last entropy before them."""
    columns = {"entropy_nats": entropy, "performance": performance}
    frame = pd.DataFrame({name: by_step(table, steps, columns[name]) for name in columns})
    lengths = _clean(table, LENGTHS)
    frame["response_length_mean"] = by_step(table, steps, lengths[0]) if lengths else np.nan
    frame = frame.rename_axis("step").reset_index()
    if re.search(_BITS, entropy):
        frame["entropy_nats"] *= np.log(2.0)
        table.notes.append(f"{entropy!r} is in bits: made into nats")
    at = frame["step"][frame["entropy_nats"].notna()].to_numpy()
    gap = 2.0 * np.diff(at).max(initial=1.0)
    late = (frame["step"] > at.max(initial=-np.inf) + gap) & (len(at) > 0)
    points = frame.assign(entropy_nats=frame["entropy_nats"].ffill())[~late]
    points = points[["step", "entropy_nats", "performance"]].dropna().reset_index(drop=True)
    if points.empty:
        raise UserError(
            f"{table.path.name}: no step has both {entropy!r} and {performance!r}: "
            "give columns that were logged in one run"
        )
    if late.any():
        table.notes.append(
            f"{late.sum()} evaluations after the last entropy are left out: theirs is not known"
        )
    return frame, points


def by_step(table: Table, steps: pd.Series, metric: str) -> pd.Series:
    """Return a metric's values by step, in order of steps, one value a step.

    Repeats of the same value count once. Of several updates within a step, told apart by a counter
    such as optimizer_step, the first is taken. Any other two values of one step are refused.
    """
    points = pd.DataFrame({"step": steps, "value": table.numbers(metric)}).dropna(subset="value")
    points = points.sort_values("step", kind="stable")
    rows, at, values = points.index, points["step"].to_numpy(), points["value"].to_numpy()
    repeated = _same(at[1:], at[:-1])
    again = np.nonzero(repeated)[0] + 1
    clash = again[~_same(values[again], values[again - 1])]
    if len(clash):
        counter = _counter(table, rows, again)
        if not counter:
            one, two = clash[0] - 1, clash[0]
            raise UserError(
                f"column {metric!r} has two values at step {at[one]:g}: {values[one]:.6g} in row "
                f"{rows[one] + 1}, {values[two]:.6g} in row {rows[two] + 1}: rows of different "
                "runs? keep one row a step, or add a column 'run'"
            )
        said = f"{metric!r} has several updates a step (by {counter!r}): the first is taken"
        table.notes.append(said)
    first = np.r_[True, ~repeated][: len(at)]
    return pd.Series(values[first], at[first])


def _counter(table: Table, rows: np.ndarray, again: np.ndarray) -> str:
    """Return a counter that grows from row to row wherever the step stays the same."""
    for name in table.frame:
        if matching([name], _UPDATES):
            count = table.numbers(name)[rows]
            if np.isfinite(count).all() and (count[again] > count[again - 1]).all():
                return name
    return ""


def _same(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    return np.isclose(one, two, rtol=1e-9, atol=0.0)
