"""The training loop: sample, grade, measure, validate, update, save."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from entropy_mech.errors import cannot_write
from entropy_mech.evaluation.runner import EvalResult, evaluate
from entropy_mech.objectives import mixed_outcome_groups
from entropy_mech.problems.toy import ModularSums
from entropy_mech.rollout.torch_sampler import TorchSampler
from entropy_mech.runs.locks import folder_lock
from entropy_mech.runs.manifest import environment, now
from entropy_mech.runs.store import Run, RunStore
from entropy_mech.train.batch import RolloutBatch
from entropy_mech.train.checkpoint import load_latest_checkpoint, save_checkpoint
from entropy_mech.train.config import TrainConfig
from entropy_mech.train.engine_torch import TorchEngine
from entropy_mech.train.lemma1_probe import Lemma1Probe
from entropy_mech.train.measurements import covariance_metrics, rollout_metrics, token_record
from entropy_mech.train.pretrain import base_model
from entropy_mech.train.rollouts import RolloutMaker
from entropy_mech.train.update import update_policy


@dataclass(frozen=True)
class Progress:
    """Where a run is: ``done`` of ``total`` steps, and the metrics of the last one."""

    done: int
    total: int
    metrics: dict[str, Any]


Report = Callable[[Progress], None]


def train(
    config: TrainConfig,
    store: RunStore,
    *,
    report: Report = lambda progress: None,
    say: Callable[[str], None] = print,
) -> Run:
    """Bring a run to ``config.steps``, from where it stands, and return it.

    A run that is there already is returned as it is. On one thread the metrics file is the same
    to the last bit however often the run was killed and started again.

    Raises:
        UserError: the configuration cannot be trained, or the disk is full.

    """
    torch.set_num_threads(config.threads)
    run = store.run(config)
    _check_problems(config)
    try:
        with folder_lock(run.path.with_suffix(".lock"), lambda: say(f"waiting: {run} is in use")):
            if not run.complete:
                _Loop(config, store, run, report, say).go()
    except OSError as error:
        known = cannot_write(f"run folder = {run.path}", error)
        if known is None:
            raise
        raise known from error
    return run


def _check_problems(config: TrainConfig) -> None:
    """Refuse an impossible problem set before anything is written."""
    family = ModularSums(config.problems.modulus)
    family.training_set(config.seed, 1, config.problems.level_shares)
    family.validation_set(0, config.problems.validation_counts)


class _Loop:
    """One session of a run."""

    def __init__(self, config: TrainConfig, store: RunStore, run: Run, report: Report, say):
        self.config, self.run, self.report = config, run, report
        self.started, self.say = time.monotonic(), say
        run.path.mkdir(parents=True, exist_ok=True)
        family = ModularSums(config.problems.modulus)
        self.problems = family.training_set(
            config.seed, config.problems.train_size, config.problems.level_shares
        )
        # The same held-out problems for every seed, so that seeds compare like with like.
        self.held_out = family.validation_set(0, config.problems.validation_counts)
        self.model, self.tokenizer = base_model(store.root, config)
        self.engine = TorchEngine(self.model, config.update, temperature=config.rollout.temperature)
        self.sampler = TorchSampler(
            self.model,
            pad_token=self.tokenizer.pad_token_id,
            eos_token=self.tokenizer.eos_token_id,
        )
        self.rollouts = RolloutMaker(config, self.problems, self.tokenizer, self.sampler)
        self.seconds: dict[str, float] = {}

    def go(self) -> None:
        first = self._resume()
        self.run.write("config.json", self.config.model_dump(mode="json"))
        for step in range(first, self.config.steps):
            self.seconds = {}
            metrics = self._step(step)
            self.run.metrics_file.append({"step": step, **metrics})
            done = step + 1
            if done % self.config.checkpoint.every == 0 or done == self.config.steps:
                self._save(done)
            self.run.timings_file.append({"step": step, **self.seconds})
            self._tell(done, metrics)

    def _step(self, step: int) -> dict[str, Any]:
        with self._phase("sample"):
            batch, finished = self.rollouts.sample(step)
        with self._phase("grade"):
            batch, verdicts = self.rollouts.grade(batch)
        with self._phase("measure"):
            logp, entropy = self.engine.measure(batch)
            batch = replace(batch, logp_old=logp, entropy=entropy)
            metrics = rollout_metrics(batch, verdicts, finished)
        with self._phase("validate"):
            metrics |= self._validate(step)
        return metrics | self._update(self._filtered(batch), len(batch), step)

    def _filtered(self, batch: RolloutBatch) -> RolloutBatch:
        """Drop prompts whose responses all fared alike; their advantages are 0 in any case."""
        responses = self.config.rollout.responses
        mixed = mixed_outcome_groups(batch.rewards.view(-1, responses))
        if not self.config.rollout.group_filter or mixed.all():
            return batch
        keep = mixed.repeat_interleave(responses).nonzero().squeeze(1)
        return batch.rows(keep)

    def _update(self, batch: RolloutBatch, sampled: int, step: int) -> dict[str, Any]:
        metrics = {
            "trained_fraction": len(batch) / sampled,
            "trained_tokens": int(batch.response_mask.sum()),
            **covariance_metrics(batch, self.config.rollout.responses),
        }
        changes: dict[str, Any] = {}
        touched = None
        every = self.config.lemma1_every
        probe = Lemma1Probe(self.engine, batch) if every and step % every == 0 else None
        with self._phase("update"):
            if len(batch):
                changes, touched = update_policy(self.engine, batch, self.config, step)
            if self.config.update.measure_entropy_change:
                metrics["entropy_change_nats"] = self._entropy_change(batch)
        if step % self.config.record_tokens_every == 0:
            self._record(self.run.token_path(step), token_record(batch, touched))
        if probe is not None and len(batch):
            self._record(self.run.lemma1_path(step), probe.record())
        return metrics | changes

    def _entropy_change(self, batch: RolloutBatch) -> float:
        """DH of this update at the prefixes of the rollout itself: Lemma 1's left side."""
        if not len(batch):
            return 0.0
        _, after = self.engine.measure(batch)
        return (after - batch.entropy)[batch.response_mask].mean().item()

    def _validate(self, step: int) -> dict[str, Any]:
        if step % self.config.validation.every:
            return {}
        settings = self.config.validation
        sampled = self._evaluate(step, settings.temperature, settings.samples)
        return {
            "validation_accuracy": sampled.accuracy,
            "validation_standard_error": sampled.standard_error,
            "validation_greedy_accuracy": self._evaluate(step, 0.0, 1).accuracy,
            **{
                f"validation_accuracy_{k.replace(' ', '_')}": v for k, v in sampled.by_level.items()
            },
        }

    def _evaluate(self, step: int, temperature: float, samples: int) -> EvalResult:
        return evaluate(
            self.sampler,
            self.tokenizer,
            self.held_out,
            temperature=temperature,
            samples=samples,
            max_new_tokens=self.config.rollout.max_new_tokens,
            stream=(self.config.seed, step),
        )

    def _record(self, path: Path, arrays: dict[str, np.ndarray]) -> None:
        path.parent.mkdir(exist_ok=True)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        temporary = path.with_name(f"tmp-{os.getpid()}-{path.name}")
        temporary.write_bytes(buffer.getbuffer())
        os.replace(temporary, path)

    def _save(self, done: int) -> None:
        with self._phase("checkpoint"):
            self.run.metrics_file.sync()
            save_checkpoint(
                self.run.checkpoints, done, self.engine.state(), keep=self.config.checkpoint.keep
            )
            before = self.run.manifest()
            self.run.write(
                "manifest.json",
                {
                    "steps": done,
                    "started": before.get("started", now()),
                    "saved": now(),
                    "wall_time_s": round(self.earlier_s + time.monotonic() - self.started, 1),
                    "seed": self.config.seed,
                    "threads": self.config.threads,
                    **environment(),
                },
            )

    def _resume(self) -> int:
        """Take up the newest good checkpoint; return the next step."""
        self.earlier_s = self.run.manifest().get("wall_time_s", 0.0)
        found = load_latest_checkpoint(self.run.checkpoints, self.say, at_most=self.run.steps_done)
        step, state = found if found else (0, None)
        if state is not None:
            self.engine.load(state)
        self.run.metrics_file.truncate(step)
        self.run.timings_file.truncate(step)
        return step

    def _tell(self, done: int, metrics: dict[str, Any]) -> None:
        total = self.config.steps
        status = {"stage": "training", "done": done, "total": total, "updated": time.time()}
        self.run.write("status.json", status)
        self.report(Progress(done, total, metrics))

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[f"{name}_s"] = round(time.perf_counter() - start, 5)
