"""A report's runs one by one: started now and watched, or only what has been trained already.

``Report.metrics`` brings all runs about before it returns; a notebook that shows training as it
happens, or that shows more where there is more, takes them from here.
"""

from __future__ import annotations

import pandas as pd

from entropy_mech.config import TrainConfig
from entropy_mech.errors import UserError, unknown_name
from entropy_mech.hub import check_gguf_readers, packaged_model
from entropy_mech.reproduction.report import Report, kept_runs, stacked_metrics
from entropy_mech.reproduction.targets import run_config
from entropy_mech.runs.handle import RunHandle, launch
from entropy_mech.runs.kept import KEPT, kept_store
from entropy_mech.runs.store import Run, default_store


def launch_runs(report: Report, *names: str) -> list[RunHandle]:
    """Start the runs of these files, all seeds of the report, in processes of their own.

    None in the profiles published and of kept runs. What is trained already is not trained again.

    Raises:
        UserError: the report has no such run (says the nearest).

    """
    chosen = _chosen(report, names)
    if report.profile in KEPT:
        kept = kept_runs([name for name, _ in chosen], [one for _, one in chosen], report.profile)
        report.used += [(name, run) for (name, _), run in zip(chosen, kept, strict=True)]
        return []
    handles = [_launched(name, config) for name, config in chosen]
    report.used += [(name, handle.run) for (name, _), handle in zip(chosen, handles, strict=True)]
    return handles


def _launched(name: str, config: TrainConfig) -> RunHandle:
    handle = launch(config, store=default_store())
    handle.name = f"{name} seed {config.seed}"
    return handle


# Of the small language model, measured on a quiet core of an AMD EPYC with AVX-512: a rollout, a
# validation, and once, for all its runs, reading the package and the supervised steps.
_ROLLOUT_S, _VALIDATION_S, _BASE_MODEL_S = 22.0, 15.0, 120.0


def live_run(
    report: Report, name: str, *, train: bool, steps: int = 0, threads: int = 1
) -> list[RunHandle]:
    """Start one run of the small language model and say first how long it takes; [] if not asked.

    It is a run of its own: with another number of threads sums are rounded otherwise. Where the
    model's package is not installed, one line says what to install, and nothing starts.

    Args:
        report: whose run it is.
        name: of the run's file in profile smollm.
        train: whether to start it.
        steps: rollouts; 0 takes the file's own.
        threads: of torch.

    """
    config = run_config(name, profile="smollm", seed=report.seed, steps=steps)
    config = config.model_copy(update={"threads": threads})
    validations_s = config.steps / config.validation.every * _VALIDATION_S
    minutes = (config.steps * _ROLLOUT_S + validations_s + _BASE_MODEL_S) / 60
    cost = (
        f"{config.steps} rollouts of {name}: about {minutes:.0f} minutes of one quiet core (AMD "
        f"EPYC with AVX-512: {_ROLLOUT_S:.0f} s a rollout), less on two"
    )
    if not train:
        print(f"nothing is trained: train_live = True trains {cost}")
        return []
    try:
        packaged_model(config.model.path)
        check_gguf_readers(config.model.path)
    except UserError as error:
        print(f"nothing is trained: {error}")
        return []
    print(f"{cost}; it runs with {threads} thread{'s' if threads > 1 else ''}")
    return [_launched(name, config)]


def wait_for(report: Report, handles: list[RunHandle]) -> pd.DataFrame:
    """Wait for runs and return their metrics as ``Report.metrics`` does; open views go on drawing.

    Raises:
        RunFailed: one ended with an error; the others go on.

    """
    runs = report.used if report.profile in KEPT else _waited(handles)
    return stacked_metrics(runs, report.profile)


def wait_for_live(handles: list[RunHandle]) -> pd.DataFrame:
    """Wait for what ``live_run`` started; the same table, empty where it started nothing."""
    return stacked_metrics(_waited(handles), "smollm")


def _waited(handles: list[RunHandle]) -> list[tuple[str, Run]]:
    return [(handle.name.split()[0], handle.wait().run) for handle in handles]


def trained(report: Report, *names: str) -> pd.DataFrame:
    """Return the metrics of these runs as ``Report.metrics`` does: of the trained, else the kept.

    Those that are neither trained here nor kept are left out; the published profile has none.
    """
    complete = [
        (name, run)
        for name, config in _chosen(report, names)
        if (run := _trained_or_kept(report, config)).complete
    ]
    report.used += complete
    return stacked_metrics(complete, report.profile)


def _trained_or_kept(report: Report, config: TrainConfig) -> Run:
    if report.profile in KEPT:
        return kept_store(report.profile).run(config)
    run = default_store().run(config)
    return run if run.complete else kept_store().run(config)


def _chosen(report: Report, names: tuple[str, ...]) -> list[tuple[str, TrainConfig]]:
    for name in names:
        known = (*report.target.runs, *report.target.toy_runs)
        if name not in known:
            raise unknown_name(f"run of {report.target.name}", name, known)
    pairs = zip(report.names, report.configs, strict=True)
    return [(name, config) for name, config in pairs if name in names]
