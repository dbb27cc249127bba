"""The training loop: sample, grade, measure, validate, update, save; and its parts."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
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
    mirrored,
    only_one_run,
    restore_accepted,
    save_checkpoint,
    write_arrays,
    write_manifest,
)
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
from entropy_mech.train.models import LoadedModel, build_engine, load_policy
from entropy_mech.train.pretrained import positions_of
from entropy_mech.train.prm import ImplicitPRM, build_prm
from entropy_mech.train.rollouts import Rollout, RolloutBatch, RolloutMaker
from entropy_mech.train.sampler import (
    LiveSampler,
    VLLMPolicySampler,
    build_sampler,
    whole_copy_needed,
)
from entropy_mech.train.tasks import Grader, Prompts, Tasks, load_tasks
from entropy_mech.train.update import update_policy

# -- The parts -----------------------------------------------------------------------------------


def policy_version(config: TrainConfig, step: int) -> int:
    """Return the optimizer steps behind the weights that sample at ``step``."""
    return step * config.update.updates_per_rollout


@dataclass
class Parts:
    """What the loop works with; every method is called by all ranks together."""

    config: TrainConfig
    ranks: Ranks
    engine: Engine
    loaded: LoadedModel
    rollouts: RolloutMaker
    validation: Validation
    sampler: LiveSampler | VLLMPolicySampler
    grader: Grader
    reference: FrozenPolicy | None = None
    prm: ImplicitPRM | None = None

    def with_advantages(
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

    def save(self, folder: Path) -> None:
        """Write this rank's share of a checkpoint."""
        for name, part in self._trained.items():
            (folder / name).mkdir(exist_ok=True)
            part.save(folder / name)

    def load(self, folder: Path) -> None:
        """Load a checkpoint."""
        for name, part in self._trained.items():
            part.load(folder / name)

    @property
    def _trained(self) -> dict[str, Engine]:
        return {"policy": self.engine} | ({"prm": self.prm.engine} if self.prm else {})


@contextmanager
def assemble(
    config: TrainConfig, store: RunStore, tasks: Tasks | None, ranks: Ranks
) -> Iterator[Parts]:
    """Build the parts; close them when the block ends. ``tasks`` are rank 0's alone."""
    with ExitStack() as stack:
        loaded = load_policy(config, store.root, ranks)
        tokenizer = loaded.tokenizer
        # Copies of what the run starts from, before the engine takes the model itself.
        prime = config.algorithm.name == "prime"
        reference = prm = None
        if prime or config.loss.reference_kl:
            reference = FrozenPolicy(
                copy.deepcopy(loaded.model),
                config.engine,
                ranks,
                # PRIME's ratio is of the models themselves, a KL's of the policies that sample.
                temperature=1.0 if prime else config.rollout.temperature,
            )
        if prime:
            prm = build_prm(copy.deepcopy(loaded.model), config, ranks)
        whole = copy.deepcopy(loaded.model) if whole_copy_needed(config) else None
        temperature = config.rollout.temperature
        engine = build_engine(
            loaded.model, config.engine, config.update, ranks, temperature=temperature
        )
        prompts, grader = Prompts(tokenizer, config), Grader(ranks)
        stack.callback(grader.close)
        encoded = prompts.of_tasks(tasks, ranks)
        longest = encoded.longest + config.rollout.max_new_tokens
        sampler = build_sampler(config, engine, loaded, whole, _fitting(longest, loaded))
        stack.callback(sampler.close)
        yield Parts(
            config,
            ranks,
            engine,
            loaded,
            RolloutMaker(config, encoded, tokenizer, sampler, grader),
            Validation(config, encoded.validation, tokenizer, sampler, prompts, grader),
            sampler,
            grader,
            reference,
            prm,
        )


def _fitting(longest: int, loaded: LoadedModel) -> int:
    """Return the length for a sampler's sequences: one more than the longest, for the probe.

    Raises:
        UserError: the model has fewer positions than the longest sequence needs.

    """
    positions = positions_of(loaded.model.config) or longest + 1
    if longest > positions:
        raise bad_value(
            "rollout.max_new_tokens",
            longest,
            f"the longest prompt and response have {longest} tokens together, the model "
            f"{positions} positions; give fewer new tokens or a smaller problems.max_prompt_tokens",
        )
    return min(longest + 1, positions)


# -- The loop ------------------------------------------------------------------------------------


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
                with assemble(config, store, tasks, ranks) as parts:
                    _Loop(config, run, parts, report, say, began).go()
    finally:
        leave_ranks(ranks)
    return run


class _Loop:
    """One session of a run."""

    def __init__(
        self, config: TrainConfig, run: Run, parts: Parts, report: Report, say, began: float
    ):
        self.config, self.run, self.parts, self.report = config, run, parts, report
        self.began = began
        self.ranks, self.engine = parts.ranks, parts.engine
        self.started, self.say = time.monotonic(), say
        self.state = LoopState()
        self.seconds: dict[str, float] = {}

    def go(self) -> None:
        first = self._resume()
        if self.ranks.first:
            self.run.write("config.json", self.config.model_dump(mode="json"))
        if first == self.config.steps:
            self._save(first)  # for the manifest, which does not say yet that all steps are done
        with mirrored(self.run, self.ranks, self.say) as mirror:
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
            keep_accepted(self.run, self.parts.grader.tripwire, step)
            self.run.metrics_file.append({"step": step, **metrics})
        if done % self.config.checkpoint.every == 0 or done == self.config.steps:
            self._save(done)
        if self.ranks.first:
            self.run.timings_file.append({"step": step, **self.seconds})
            self.run.write_status("training", done)
            self.report(Progress(done, self.config.steps, metrics))

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
        version = policy_version(self.config, step)
        with self._phase("sync"):
            synced = self.parts.sampler.sync(version)
        with self._phase("sample"):
            before = self.state
            rollout = self.parts.rollouts.make(step, before.cursor, version, before.kept_fraction)
        with self._phase("validate"):
            validation = self.parts.validation.metrics(step, version)
        self.parts.sampler.rest()
        self.state = replace(before, cursor=rollout.cursor, kept_fraction=rollout.kept_fraction)
        with self._phase("measure"):
            batch, trained = self._measured(rollout)
            metrics = {"policy_version": version, **rollout_metrics(batch, rollout)}
            # Over the whole run so far, validation included: all answers share one grader.
            tripped = self.parts.grader.tripwire.answers
            metrics["answers_right_for_different_references"] = tripped
            if self.config.rollout.old_logp == "recomputed":
                metrics |= logp_gap(batch)
        metrics |= synced | validation
        with self._phase("advantages"):
            trained, rewarded = self.parts.with_advantages(trained, step)
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
                self.parts.save,
                keep=self.config.checkpoint.keep,
                ranks=self.ranks,
                note={"loop": asdict(self.state)},
            )
            if last or self.config.checkpoint.export == "each":
                export_policy(self.run, self.engine, self.parts.loaded, done)
            if self.ranks.first:
                wall_s = self.earlier_s + time.monotonic() - self.started
                size, loaded = self.ranks.size, self.parts.loaded
                write_manifest(self.run, loaded, done=done, ranks=size, wall_time_s=wall_s)

    def _resume(self) -> int:
        """Load the newest good checkpoint; return the next step."""
        self.earlier_s = self.run.manifest().get("wall_time_s", 0.0)
        done = self.ranks.from_first(self.run.steps_done)
        found = latest_checkpoint(self.run.checkpoints, self.say, at_most=done, ranks=self.ranks)
        step = 0
        if found is not None:
            folder, marker = found
            self.parts.load(folder)
            self.state = LoopState.of(**marker["loop"])
            step = marker["next_step"]
        if self.ranks.first:
            self.run.metrics_file.truncate(step)
            self.run.timings_file.truncate(step)
            restore_accepted(self.run, self.parts.grader.tripwire, step)
        return step

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[f"{name}_s"] = round(time.perf_counter() - start, 5)
