"""Rows of one run only: tables of several runs are split with a name or refused, never joined.

Runs are told apart by columns such as run, seed or group; by steps that go back (a second run
appended, or a branch left behind by a resume); and by two values of one metric at one step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from entropy_mech.errors import UserError, unknown_name
from entropy_mech.law.dialects import matching
from entropy_mech.law.table import Table

_PREFIX = r"(?:.+[/.])?(?:wandb_|slurm_|mlflow_)?"
_RUNS = tuple(
    _PREFIX + name
    for name in (
        r"(?:run|experiment|exp|trial)(?:_?(?:name|id|num(?:ber)?|index))?|name|label|curve|series",
        r"(?:\w+_)?seed|(?:run_?)?group(?:_?name)?|variant|arm|replicate|ablation|condition",
        r"model(?:_?(?:name|size|id|path))?|method|algo(?:rithm)?|config(?:_?(?:name|id))?|setting",
        r"source|(?:source_?)?file(?:_?name)?|folder|dir(?:ectory)?|log_?dir",
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


@dataclass(frozen=True)
class Steps:
    """The step of each row: ``values`` (rows,); ``name`` is its column, empty for row numbers."""

    name: str
    values: np.ndarray

    def take(self, keep: np.ndarray) -> Steps:
        """Return the rows of a mask."""
        return Steps(self.name, self.values[keep])


def one_run(table: Table, steps: Steps, metrics: list[str], run: str) -> tuple[Table, Steps]:
    """Return the rows of one run: of ``run`` if it is given, else of the only one there is.

    ``metrics`` are the columns that will be used. Raises ``UserError``, with the names to choose
    from, if there are several.

    >>> table = Table(2, {"h": np.array([0.5, 0.4]), "seed": np.array([1.0, 2.0])})
    >>> one_run(table, Steps("", np.arange(2.0)), ["h"], "2")[0].numbers["h"].tolist()
    [0.4]
    """
    keep, left = _by_column(table, steps, metrics, run)
    table, steps = table.take(keep), steps.take(keep)
    for metric in metrics:
        keep, left = _by_going_back(table, steps, metric, left)
        table, steps = table.take(keep), steps.take(keep)
    for metric in metrics:
        if left:
            keep, left = _by_any_column(table, steps, metric, left)
            table, steps = table.take(keep), steps.take(keep)
    if left:
        raise UserError(f"--run {left!r}: no such run, this log holds only one: leave it out")
    for name in table.texts:
        used = [np.unique(table.texts[name][0][np.isfinite(table.numbers[m])]) for m in metrics]
        if 1 < min(map(len, used)) <= max(map(len, used)) <= 5:
            table.notes.append(f"{name!r} changes within this log: is it one run?")
    return table, steps


def series(table: Table, steps: Steps, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Return steps and values of a metric, in order of steps, one value a step.

    Repeats of the same value count once. Of several updates within a step, told apart by a counter
    such as optimizer_step, the first is taken. Any other two values of one step are refused.
    """
    rows = np.nonzero(np.isfinite(table.numbers[metric]))[0]
    at, values = steps.values[rows], table.numbers[metric][rows]
    order = np.argsort(at, kind="stable")
    rows, at, values = rows[order], at[order], values[order]
    again = np.nonzero(_same(at[1:], at[:-1]))[0] + 1
    clash = again[~_same(values[again], values[again - 1])]
    if len(clash):
        counter = _counter(table, rows, at)
        if not counter:
            one, two = clash[0] - 1, clash[0]
            raise UserError(
                f"column {metric!r} has two values at step {at[one]:g}: {values[one]:.6g} in row "
                f"{rows[one] + 1}, {values[two]:.6g} in row {rows[two] + 1}: rows of different "
                f"runs? {_hint(table, rows, at)}"
            )
        said = f"{metric!r} has several updates a step (by {counter!r}): the first is taken"
        table.notes.append(said)
    first = np.concatenate([[True], ~_same(at[1:], at[:-1])]) if len(at) else np.zeros(0, bool)
    return at[first], values[first]


def _by_column(table: Table, steps: Steps, metrics: list[str], run: str) -> tuple[np.ndarray, str]:
    used = np.any([np.isfinite(table.numbers[metric]) for metric in metrics], axis=0)
    names = [n for n in table.names if n not in metrics and matching([n], _RUNS)]
    varying = []
    for name in names:
        codes, words = _labels(table, name)
        there = used & (codes >= 0)
        distinct = np.unique(codes[there])
        if len(distinct) > 1 and not _counts_steps(steps, codes, there):
            varying.append((codes, words, name))
        elif len(distinct) == 1 and run == words[distinct[0]]:
            run = ""  # the name of the only run
    if not varying:
        return np.ones(table.rows, bool), run
    stacked = np.stack([codes for codes, _, _ in varying])
    combinations = np.unique(stacked[:, used & (stacked >= 0).all(axis=0)], axis=1).T
    labels = [
        [words[code] for code, (_, words, _) in zip(row, varying, strict=True)]
        for row in combinations
    ]
    full = [" / ".join(label) for label in labels]
    chosen = [i for i, label in enumerate(labels) if run in (*label, full[i])]
    if run and not chosen:
        raise unknown_name("run", run, full)
    if len(chosen) != 1:
        columns = ", ".join(repr(name) for _, _, name in varying)
        among = [full[i] for i in chosen] or full
        raise UserError(
            f"rows of {len(among)} runs, by {columns} ({_listed(among)}): name one with --run NAME"
        )
    same = (stacked == combinations[chosen[0]][:, None]) | (stacked < 0)
    return same.all(axis=0), ""


def _counts_steps(steps: Steps, codes: np.ndarray, there: np.ndarray) -> bool:
    """Return whether a column has a value of its own at every step, as a seed drawn anew has."""
    if not steps.name:
        return False
    pairs = np.unique(np.stack([codes[there], steps.values[there]]), axis=1)
    return pairs.shape[1] == len(np.unique(pairs[0])) == len(np.unique(pairs[1]))


def _by_going_back(table: Table, steps: Steps, metric: str, run: str) -> tuple[np.ndarray, str]:
    everything = np.ones(table.rows, bool)
    clock, name = steps.values, steps.name
    if not name:
        clocks = [n for n in matching(table.measured(), _CLOCKS) if n not in table.bad]
        if not clocks:
            return everything, run
        name, clock = clocks[0], table.numbers[clocks[0]]
    rows = np.nonzero(np.isfinite(table.numbers[metric]) & np.isfinite(clock))[0]
    at = clock[rows]
    if (np.diff(at) <= 0).all():  # newest first
        return everything, run
    cuts = np.nonzero(np.diff(at) < 0)[0] + 1
    if not len(cuts) or (steps.name and _only_out_of_order(at, table.numbers[metric][rows])):
        return everything, run
    cut_rows = []
    for cut in cuts:  # rows between belong to the second part from where they go back too
        between = np.arange(rows[cut - 1] + 1, rows[cut] + 1)
        cut_rows.append(between[clock[between] < at[cut - 1]][0])
    part = np.searchsorted(cut_rows, np.arange(table.rows), side="right")
    spans = [(at[i], at[j - 1]) for i, j in zip([0, *cuts], [*cuts, len(at)], strict=True)]
    if run == RESUMED:
        return _without_abandoned(table, clock, part, name), ""
    names = [f"part {k}" for k in range(1, len(spans) + 1)]
    if run in names:
        return part == names.index(run), ""
    shown = [f"'{n}': {a:g} to {b:g}" for n, (a, b) in zip(names, spans, strict=True)]
    raise UserError(
        f"{name!r} goes back from {at[cuts[0] - 1]:g} to {at[cuts[0]]:g} at row "
        f"{rows[cuts[0]] + 1}: a second run, or a branch left behind by a resume: name one with "
        f"--run ({_listed(shown)}), or --run {RESUMED} to let later rows replace earlier ones"
    )


def _only_out_of_order(at: np.ndarray, values: np.ndarray) -> bool:
    """Return whether steps that go back are late, shuffled or written twice, but of one run."""
    order = np.argsort(at, kind="stable")
    again = _same(at[order][1:], at[order][:-1])
    if (again & ~_same(values[order][1:], values[order][:-1])).any():
        return False
    late = np.abs(order - np.arange(len(at))).max() <= 3
    shuffled = (np.diff(at) < 0).sum() > len(at) / 4
    copies = again.sum() >= len(at) - len(np.unique(at)) > 0 and _repeats(at)
    return bool(late or shuffled or copies)


def _repeats(at: np.ndarray) -> bool:
    """Return whether all rows after the first step back only repeat steps or go on from them."""
    seen = np.maximum.accumulate(at)
    behind = at < seen
    first = np.argmax(behind)
    return bool(np.isin(at[behind], at[:first]).all())


def _without_abandoned(table: Table, clock: np.ndarray, part: np.ndarray, name: str) -> np.ndarray:
    keep = np.ones(table.rows, bool)
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


def _by_any_column(table: Table, steps: Steps, metric: str, run: str) -> tuple[np.ndarray, str]:
    """Keep rows in which the column that tells the rows of one step apart has the value ``run``."""
    rows = np.nonzero(np.isfinite(table.numbers[metric]))[0]
    for name in _telling(table, rows, steps.values[rows]):
        codes, words = _labels(table, name)
        if run in words:
            return (codes == words.index(run)) | (codes < 0), ""
    return np.ones(table.rows, bool), run


def _telling(table: Table, rows: np.ndarray, at: np.ndarray) -> Iterator[str]:
    """Yield columns with a value of their own for each row of a step, and about as few in all."""
    most = np.unique(at, return_counts=True)[1].max(initial=0)
    for name in table.names:
        codes, words = _labels(table, name)
        if 1 < most <= len(words) <= 2 * most and (codes[rows] >= 0).all():
            pairs = np.unique(np.stack([codes[rows], at]), axis=1)
            if pairs.shape[1] == len(rows):
                yield name


def _labels(table: Table, name: str) -> tuple[np.ndarray, list[str]]:
    """Return a column as codes (rows,), -1 where empty, and their texts."""
    if name in table.texts:
        codes, words = table.texts[name]
        return codes, list(words)
    column = table.numbers[name]
    there = np.isfinite(column)
    codes = np.full(table.rows, -1)
    distinct, codes[there] = np.unique(column[there], return_inverse=True)
    return codes, [f"{value:.12g}" for value in distinct]


def _counter(table: Table, rows: np.ndarray, at: np.ndarray) -> str:
    """Return a counter that grows from row to row wherever the step stays the same."""
    stays = np.nonzero(_same(at[1:], at[:-1]))[0]
    for name in table.numbers:
        if matching([name], _UPDATES):
            count = table.numbers[name][rows]
            if np.isfinite(count).all() and (count[stays + 1] > count[stays]).all():
                return name
    return ""


def _hint(table: Table, rows: np.ndarray, at: np.ndarray) -> str:
    for name in _telling(table, rows, at):
        words = _labels(table, name)[1]
        return f"{name!r} tells them apart ({_listed(words)}): name one with --run NAME"
    return "no column tells them apart: keep one row a step"


def _same(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    return np.isclose(one, two, rtol=1e-9, atol=0.0)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
