"""Guesses at what jobs take, in seconds on one core: for the order and the time left alone.

What a run with another seed has taken is known; else the guess is from the configuration. Guesses
are corrected while jobs finish (``schedule.py``).
"""

from __future__ import annotations

from entropy_mech.runs.store import Run, RunStore
from entropy_mech.train.architecture import architecture_of
from entropy_mech.train.config import TrainConfig

STARTUP_S = 0.5
# Of a model of no size at all, and for each 100,000 parameters of its body: seconds of a supervised
# step of 64 demonstrations; of what a rollout of 256 responses costs whatever the updates; and of
# one update on it. Of the size of what was measured on one core of a shared machine.
_BASE_STEP_S = (0.012, 0.016)
_SAMPLING_S = (0.05, 0.08)
_UPDATE_S = (0.01, 0.012)
_CODE_FACTOR = 1.4  # programs are run
_PRIME_FACTOR = 1.6  # a second model learns
_EVALUATION_S = 6.0
_SEEDS_LOOKED_AT = 5


def base_model_s(config: TrainConfig) -> float:
    """Return the seconds of the supervised stage that makes a base model."""
    stage = getattr(config.base, "instruct", None) or config.base
    return STARTUP_S + stage.steps * _by_size(config, _BASE_STEP_S) * config.base.batch_size / 64


def run_s(run: Run, store: RunStore) -> float:
    """Return the seconds of a whole run, as another seed's have been or by its configuration."""
    config = run.config
    for seed in range(1, _SEEDS_LOOKED_AT + 1):
        told = store.run(config.model_copy(update={"seed": seed})).manifest()
        if told.get("steps") and "wall_time_s" in told and "imported" not in told:
            return config.steps * told["wall_time_s"] / told["steps"]
    responses = config.rollout.prompts * config.rollout.responses
    updates = config.update.updates_per_rollout
    rollout_s = _by_size(config, _SAMPLING_S) + updates * _by_size(config, _UPDATE_S)
    factor = responses / 256
    factor *= _PRIME_FACTOR if config.algorithm.name == "prime" else 1.0
    factor *= _CODE_FACTOR if getattr(config.problems, "domain", "") == "code" else 1.0
    return config.steps * rollout_s * factor


def evaluation_s(config: TrainConfig, group: str) -> float:
    """Return the seconds of measuring a policy on a group of benchmarks."""
    return STARTUP_S + _EVALUATION_S


def _by_size(config: TrainConfig, seconds: tuple[float, float]) -> float:
    shape = architecture_of(config)
    return seconds[0] + seconds[1] * (shape.body_parameters if shape else 0) / 1e5
