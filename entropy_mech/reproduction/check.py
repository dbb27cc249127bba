"""Does this machine give the kept numbers? The beginning of each run, beside the kept run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from entropy_mech.paper import style
from entropy_mech.reproduction.targets import Target, run_config
from entropy_mech.runs.jobs import Job
from entropy_mech.runs.kept import Follows, follows, kept_store
from entropy_mech.runs.launch import training_jobs
from entropy_mech.runs.store import Run, RunStore, atomic_write

_COLUMNS, _ROW_HEIGHT_IN, _WIDTH_IN = 4, 2.3, 13.0


@dataclass(frozen=True)
class Check:
    """How far the beginning of a run, trained here, is that of the kept run of its seed.

    Attributes:
        name: the run's file.
        seed: of both.
        follows: the comparison; None while it is not trained here.

    """

    name: str
    seed: int
    follows: Follows | None

    @property
    def good(self) -> bool:
        """Whether no metric left the kept run's by more than rounding."""
        return self.follows is not None and self.follows.left_at is None and self.follows.steps > 0

    def __str__(self) -> str:
        return "not trained here" if self.follows is None else str(self.follows)


@dataclass(frozen=True)
class Beginnings:
    """The first rollouts of the runs behind some targets: those of one seed.

    Attributes:
        seed: which.
        rollouts: how many of each run; of a shorter run all.
        store: where they are trained.

    """

    seed: int
    rollouts: int
    store: RunStore

    def jobs(self, targets: Sequence[Target]) -> list[Job]:
        """Return what has to be trained, none twice."""
        names = _run_names(targets)
        return training_jobs([self._config(name) for name in names], self.store, names=names)

    def checks(self, targets: Sequence[Target]) -> dict[str, list[Check]]:
        """Compare the targets' runs with the kept ones, each once; by target, those with runs."""
        found = {name: self._check(name) for name in _run_names(targets)}
        by_target = {t.name: [found[name] for name in _run_names([t])] for t in targets}
        return {name: checks for name, checks in by_target.items() if checks}

    def draw(self, target: Target, checks: Sequence[Check], folder: Path) -> None:
        """Draw the entropy of a target's runs over the kept curves, once all are there.

        A panel a run.
        """
        path = folder / f"{target.name}_here.png"
        if path.exists() or not all(check.follows for check in checks):
            return
        folder.mkdir(parents=True, exist_ok=True)
        draws = [partial(self._panel, check.name) for check in checks]
        rows = [draws[i : i + _COLUMNS] for i in range(0, len(draws), _COLUMNS)]
        figure = style.panels(rows, width_in=_WIDTH_IN, row_height_in=_ROW_HEIGHT_IN)
        with atomic_write(path) as temporary:
            figure.savefig(temporary, dpi=110, format="png")
        plt.close(figure)

    def full_time_s(self, targets: Sequence[Target], cores: int) -> float | None:
        """Return how long all kept runs would take on this machine; None before any is here.

        Their own time, times what the beginnings took here over what they took there.
        """
        sources, here_s, there_s = kept_store().sources(), 0.0, 0.0
        for name in _run_names(targets):
            run = self._run(name)
            source = sources.get(run.path.name)
            if run.complete and source:
                here_s += run.manifest()["wall_time_s"]
                there_s += source["wall_time_s"] * run.steps_done / source["steps"]
        if not there_s:
            return None
        return sum(source["wall_time_s"] for source in sources.values()) * here_s / there_s / cores

    def _config(self, name: str):
        config = run_config(name, seed=self.seed)
        return config.model_copy(update={"steps": min(self.rollouts, config.steps)})

    def _run(self, name: str) -> Run:
        return self.store.run(self._config(name))

    def _check(self, name: str) -> Check:
        run = self._run(name)
        kept = kept_store().run(run.config)
        return Check(name, self.seed, follows(run, kept) if run.complete else None)

    def _panel(self, name: str, ax: Axes) -> None:
        whole = run_config(name, seed=self.seed)
        kept, run = kept_store().run(whole).metrics(), self._run(name)
        ax.plot(kept["step"], kept["entropy_nats"], color="#56B4E9", lw=2.5, label="kept")
        if run.complete:
            here = run.metrics("step", "entropy_nats")
            ax.plot(here["step"], here["entropy_nats"], "k.", ms=4, label="this machine")
        ax.set_title(f"{name}, seed {self.seed}", fontsize="small")
        ax.set(xlabel="rollout step", ylabel="entropy (nats)")
        ax.legend(loc="upper right")


def _run_names(targets: Sequence[Target]) -> list[str]:
    return list(dict.fromkeys(name for target in targets for name in target.own_run_names("toy")))


def summary(checks: Sequence[Check]) -> str:
    """Return in a sentence how many runs follow the kept ones.

    >>> summary([Check("a", 1, Follows(12, None, 0.0)), Check("b", 1, Follows(12, 3, 0.0))])
    '1 of 2 runs follows the kept one (1 to the last bit), 1 leaves it'
    """
    compared = [check.follows for check in checks if check.follows is not None]
    good = [check.follows for check in checks if check.good]
    exact = sum(follows.largest == 0.0 for follows in good)
    left = sum(follows.left_at is not None for follows in compared)
    lost = len(compared) - len(good) - left
    waiting = len(checks) - len(compared)
    verb, ones = ("follows", "one") if len(good) == 1 else ("follow", "ones")
    words = [
        f"{len(good)} of {len(checks)} runs {verb} the kept {ones} ({exact} to the last bit)",
        f"{left} {'leaves it' if left == 1 else 'leave them'}" if left else "",
        f"{lost} not kept" if lost else "",
        f"{waiting} not trained here" if waiting else "",
    ]
    return ", ".join(filter(None, words))
