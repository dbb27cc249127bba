"""The training loop: sample, grade, measure, validate, update, save."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter
from transformers import PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from entropy_mech.config import LossConfig, TrainConfig
from entropy_mech.errors import bad_value, naming_disk_faults
from entropy_mech.objectives import steer, token_advantages
from entropy_mech.runs.store import Run, RunStopped, RunStore, stop_is_asked
from entropy_mech.train.checkpoint import (
    LoopState,
    export_policy,
    keep_accepted,
    latest_checkpoint,
    only_one_run,
    restore_accepted,
    save_checkpoint,
    write_arrays,
    write_manifest,
)
from entropy_mech.train.dashboards import mirror_of
from entropy_mech.train.distributed import Ranks, join_ranks, leave_ranks
from entropy_mech.train.engine import Engine, FrozenPolicy, measure, refuse_diverged
from entropy_mech.train.metrics import (
    Lemma1Probe,
    Validation,
    covariance_metrics,
    logp_gap,
    rollout_metrics,
    token_record,
)
from entropy_mech.train.pretrain import build_engine, load_policy
from entropy_mech.train.pretrained import positions_of
from entropy_mech.train.rollouts import Rollout, RolloutBatch, RolloutMaker
from entropy_mech.train.sampler import build_sampler, whole_copy_needed
from entropy_mech.train.tasks import Grader, Prompts, Tasks, load_tasks
from entropy_mech.train.update import ImplicitPRM, update_policy

Report = Callable[[int, dict[str, Any]], None]  # steps done, and the metrics of the last one


def train(
    config: TrainConfig,
    store: RunStore,
    *,
    report: Report = lambda done, metrics: None,
    say: Callable[[str], None] = print,
) -> Run:
    """Train a run up to ``config.steps``, from where it stopped, and return it.

    A run that is complete is returned as it is. On one thread the metrics file is the same
    to the last bit however often the run was killed and started again. Under a launcher
    (torchrun) all processes call this together and rank 0 alone writes and prints.

    Raises:
        UserError: the configuration cannot be trained, or the disk is full.
        RunStopped: a stop was requested (``runs.store.ask_to_stop``); the next call resumes.

    """
    began = time.time()
    torch.set_num_threads(config.threads)
    if config.toy:  # bars of a few milliseconds say nothing
        disable_progress_bar()
    run = store.run(config)
    ranks = join_ranks(timeout_s=config.engine.collective_timeout_s, on_cpu=config.toy)
    say = say if ranks.first else (lambda text: None)
    try:
        disk = naming_disk_faults(f"run folder = {run.path}")
        with disk, only_one_run(run, ranks, say), ranks.naming_peers():
            if not ranks.from_first(run.complete):
                # Before anything is written: an impossible problem set is refused here.
                tasks = ranks.on_first(lambda: load_tasks(config, say))
                run.path.mkdir(parents=True, exist_ok=True)
                if ranks.first:  # before what may fail, so that a run that fails can be told apart
                    run.write("config.json", config.model_dump(mode="json"))
                with ExitStack() as stack:
                    _Loop(run, ranks, tasks, stack, report, say, began).go()
    finally:
        leave_ranks(ranks)
    return run


class _Loop:
    """One session of a run, and what it works with; all ranks call every method together.

    ``tasks`` are rank 0's alone; what has to be closed at the end goes onto the stack.
    """

    def __init__(
        self,
        run: Run,
        ranks: Ranks,
        tasks: Tasks | None,
        stack: ExitStack,
        report: Report,
        say: Callable[[str], None],
        began: float,
    ):
        self.run, self.ranks, self.report, self.say = run, ranks, report, say
        self.config, self.stack = run.config, stack
        self.began, self.started = began, time.monotonic()
        self.state = LoopState()
        self.seconds: dict[str, float] = {}
        self.loaded = load_policy(self.config, run.path.parent, ranks)
        # Copies of what the run starts from, before the engine takes the model itself.
        self.reference, self.prm = self._frozen_reference(), None
        if self.config.algorithm.name == "prime":
            self.prm = ImplicitPRM(self._copy(), self.config, ranks)
        whole = self._copy() if whole_copy_needed(self.config) else None
        config, temperature = self.config, self.config.rollout.temperature
        self.engine = build_engine(
            self.loaded.model, config.engine, config.update, ranks, temperature=temperature
        )
        prompts, self.grader = Prompts(self.loaded.tokenizer, config), Grader(ranks)
        stack.callback(self.grader.close)
        encoded = prompts.of_tasks(tasks, ranks)
        length = self._sequence_length(encoded.longest)
        self.sampler = build_sampler(config, self.engine, self.loaded, whole, length)
        stack.callback(self.sampler.close)
        answering = (self.sampler, self.grader)
        self.rollouts = RolloutMaker(config, encoded, prompts.tokenizer, *answering)
        self.validation = Validation(config, encoded.validation, prompts, *answering)

    def _copy(self) -> PreTrainedModel:
        return copy.deepcopy(self.loaded.model)

    def _frozen_reference(self) -> FrozenPolicy | None:
        prime = self.config.algorithm.name == "prime"
        if not (prime or self.config.loss.reference_kl):
            return None
        # PRIME's ratio is of the models themselves, a KL's of the policies that sample.
        temperature = 1.0 if prime else self.config.rollout.temperature
        return FrozenPolicy(self._copy(), self.config.engine, self.ranks, temperature=temperature)

    def _sequence_length(self, longest_prompt: int) -> int:
        """Return the length for a sampler's sequences: one more than the longest, for the probe.

        Raises:
            UserError: the model has fewer positions than the longest sequence needs.

        """
        longest = longest_prompt + self.config.rollout.max_new_tokens
        positions = positions_of(self.loaded.model.config) or longest + 1
        if longest > positions:
            raise bad_value(
                "rollout.max_new_tokens",
                longest,
                f"the longest prompt and response have {longest} tokens together, the model "
                f"{positions} positions; give fewer new tokens or a smaller "
                "problems.max_prompt_tokens",
            )
        return min(longest + 1, positions)

    def go(self) -> None:
        first = self._resume()
        if first == self.config.steps:
            self._save(first)  # for the manifest, which does not say yet that all steps are done
        mirror = mirror_of(self.run, self.ranks, self.say)
        self.stack.callback(mirror.close)
        for step in range(first, self.config.steps):
            self.ranks.meet(f"the start of step {step}")
            self._stop_if_asked(step, resumed=step == first)
            self.seconds = {}
            metrics = self._step(step)
            self._keep(step, metrics)
            mirror.log(step, metrics)

    def _keep(self, step: int, metrics: dict[str, Any]) -> None:
        """Write a step's metrics and timings, and a checkpoint where one is due."""
        done = step + 1
        refuse_diverged(metrics, step)
        if self.ranks.first:
            keep_accepted(self.run, self.grader.tripwire, step)
            self.run.metrics_file.append({"step": step, **metrics})
        if done % self.config.checkpoint.every == 0 or done == self.config.steps:
            self._save(done)
        if self.ranks.first:
            self.run.timings_file.append({"step": step, **self.seconds})
            self.run.write_status("training", done)
            self.report(done, metrics)

    def _stop_if_asked(self, done: int, *, resumed: bool) -> None:
        """Save and leave the loop if a stop was requested; no step is lost."""
        if not self.ranks.from_first(stop_is_asked(self.run.path, since=self.began)):
            return
        if not resumed and done % self.config.checkpoint.every:
            self._save(done)
        if self.ranks.first:
            self.run.write_status("stopped", done)
        raise RunStopped(self.run.path.name, done, self.config.steps)

    def _step(self, step: int) -> dict[str, Any]:
        version = step * self.config.update.updates_per_rollout  # of the policy
        with self._phase("sync"):
            synced = self.sampler.sync(version)
        with self._phase("sample"):
            rollout = self.rollouts.make(step, self.state.cursor, self.state.kept_fraction)
        with self._phase("validate"):
            validation = self.validation.metrics(step)
        self.sampler.rest()
        self.state = replace(self.state, cursor=rollout.cursor, kept_fraction=rollout.kept_fraction)
        with self._phase("measure"):
            batch, trained = self._measured(rollout)
            metrics = {"policy_version": version, **rollout_metrics(batch, rollout)}
            # Over the whole run so far, validation included: all answers share one grader.
            tripped = self.grader.tripwire.answers
            metrics["answers_right_for_different_references"] = tripped
            if self.config.rollout.old_logp == "recomputed":
                metrics |= logp_gap(batch)
        metrics |= synced | validation
        with self._phase("advantages"):
            trained, rewarded = self._with_advantages(trained, step)
        loss, steered = self._steered_loss(metrics["entropy_nats"])
        metrics |= rewarded | steered
        return metrics | self._update(trained, loss, len(rollout.batch), step)

    def _measured(self, rollout: Rollout) -> tuple[RolloutBatch, RolloutBatch]:
        """Return the responses that the metrics are over and those trained on, both measured."""
        batch, rows = rollout.batch, rollout.trained
        if self.config.rollout.entropy_over == "trained" and rows.any():
            batch, rows = batch.rows(rows.nonzero().squeeze(1)), rows[rows]
        if self.config.rollout.old_logp == "sampler":
            batch = replace(batch, logp_old=batch.logp_sampler)
        else:
            logp, entropy = measure(self.engine, batch)
            batch = replace(batch, logp_old=logp, entropy=entropy)
        return batch, batch if rows.all() else batch.rows(rows.nonzero().squeeze(1))

    def _with_advantages(
        self, batch: RolloutBatch, step: int
    ) -> tuple[RolloutBatch, dict[str, float]]:
        """Return the batch with its advantages and, where asked for, reference log-probabilities.

        PRIME's reward model is trained on the batch here; its metrics are returned.
        """
        if not len(batch):
            return batch, {}
        metrics: dict[str, float] = {}
        process_rewards = None
        if self.reference is not None:
            batch = replace(batch, logp_ref=self.reference.logprobs(batch))
        if self.prm is not None:
            process_rewards, metrics = self.prm.reward(batch, step)
        advantages = token_advantages(
            self.config.algorithm,
            batch.rewards.view(-1, self.config.rollout.responses),
            batch.response_mask,
            process_rewards,
        )
        return replace(batch, advantages=advantages), metrics

    def _steered_loss(self, entropy_nats: float) -> tuple[LossConfig, dict[str, float]]:
        """Return the loss of this step: the configuration's, or as the entropy target steers it."""
        loss = self.config.loss
        target = getattr(loss, "entropy_target", None)
        if target is None:
            return loss, {}
        control = steer(target, self.state.control, entropy_nats, **loss.steering())
        self.state = replace(self.state, control=control)
        return (
            loss.model_copy(update={target.steers: control.value}),
            {f"steered_{target.steers}": control.value},
        )

    def _update(
        self, batch: RolloutBatch, loss: LossConfig, sampled: int, step: int
    ) -> dict[str, Any]:
        metrics = {
            "trained_fraction": len(batch) / sampled,
            "trained_tokens": int(batch.response_mask.sum()),
            **covariance_metrics(batch, self.config.rollout.responses),
        }
        changes: dict[str, Any] = {}
        touched = None
        every = self.config.lemma1_every
        # The filter may leave nothing: then no policy changes, and there is nothing to check.
        checked = bool(every) and step % every == 0 and len(batch) > 0
        probe = Lemma1Probe(self.engine, batch) if checked else None
        with self._phase("update"):
            if len(batch):
                changes, touched = update_policy(self.engine, batch, self.config, step, loss=loss)
            if self.config.update.measure_entropy_change:
                metrics["entropy_change_nats"] = self._entropy_change(batch)
        if step % self.config.record_tokens_every == 0:
            self._record(self.run.token_path(step), token_record(batch, touched))
        if probe is not None:
            self._record(self.run.lemma1_path(step), probe.record())
        return metrics | changes

    def _entropy_change(self, batch: RolloutBatch) -> float:
        """DH of this update at the prefixes of the rollout itself: Lemma 1's left side."""
        if not len(batch):
            return 0.0
        _, after = measure(self.engine, batch)
        return (after - batch.entropy)[batch.response_mask].mean().item()

    def _record(self, path: Path, arrays: dict[str, np.ndarray]) -> None:
        if self.ranks.first:
            write_arrays(path, arrays)

    def _save(self, done: int) -> None:
        last = done == self.config.steps
        with self._phase("checkpoint"):
            if self.ranks.first:
                self.run.metrics_file.sync()
                self.run.accepted_file.sync()
            save_checkpoint(
                self.run.checkpoints,
                done,
                self._save_trained,
                keep=self.config.checkpoint.keep,
                ranks=self.ranks,
                note={"loop": asdict(self.state)},
            )
            if last or self.config.checkpoint.export == "each":
                export_policy(self.run, self.engine, self.loaded, done)
            if self.ranks.first:
                wall_s = self.earlier_s + time.monotonic() - self.started
                write_manifest(
                    self.run, self.loaded, done=done, ranks=self.ranks.size, wall_time_s=wall_s
                )

    @property
    def _trained(self) -> dict[str, Engine]:
        return {"policy": self.engine} | ({"prm": self.prm.engine} if self.prm else {})

    def _save_trained(self, folder: Path) -> None:
        """Write this rank's share of a checkpoint."""
        for name, engine in self._trained.items():
            (folder / name).mkdir(exist_ok=True)
            engine.save(folder / name)

    def _resume(self) -> int:
        """Load the newest good checkpoint; return the next step."""
        self.earlier_s = self.run.manifest().get("wall_time_s", 0.0)
        done = self.ranks.from_first(self.run.steps_done)
        found = latest_checkpoint(self.run.checkpoints, self.say, at_most=done, ranks=self.ranks)
        step = 0
        if found is not None:
            folder, marker = found
            for name, engine in self._trained.items():
                engine.load(folder / name)
            self.state = TypeAdapter(LoopState).validate_python(marker["loop"])
            step = marker["next_step"]
        if self.ranks.first:
            self.run.metrics_file.truncate(step)
            self.run.timings_file.truncate(step)
            restore_accepted(self.run, self.grader.tripwire, step)
        return step

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[f"{name}_s"] = round(time.perf_counter() - start, 5)
