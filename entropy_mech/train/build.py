"""The parts of a training session, put together: model, engine, sampler, problems, graders."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from entropy_mech.config import EngineConfig, TrainConfig, UpdateConfig
from entropy_mech.errors import bad_value
from entropy_mech.objectives import token_advantages
from entropy_mech.runs.store import RunStore
from entropy_mech.train.distributed import Ranks
from entropy_mech.train.engine import Engine, FrozenPolicy
from entropy_mech.train.metrics import Validation
from entropy_mech.train.models import LoadedModel, load_policy, positions_of
from entropy_mech.train.prm import ImplicitPRM
from entropy_mech.train.rollouts import RolloutBatch, RolloutMaker
from entropy_mech.train.sampler import (
    LiveSampler,
    VLLMPolicySampler,
    build_sampler,
    whole_copy_needed,
)
from entropy_mech.train.tasks import Grader, Prompts, Tasks


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

        PRIME's reward model learns from the batch on the way; its metrics come with it.
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

    def load(self, folder: Path, marker: dict[str, Any]) -> None:
        """Take up a checkpoint."""
        for name, part in self._trained.items():
            part.load(folder / name)

    @property
    def _trained(self) -> dict[str, Engine | ImplicitPRM]:
        return {"policy": self.engine} | ({"prm": self.prm} if self.prm else {})


@contextmanager
def assemble(
    config: TrainConfig,
    store: RunStore,
    tasks: Tasks,
    ranks: Ranks,
    say: Callable[[str], None],
) -> Iterator[Parts]:
    """Build the parts; close them when the block ends."""
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
        engine = build_engine(
            loaded.model,
            config.engine,
            config.update,
            ranks,
            temperature=config.rollout.temperature,
        )
        prompts, grader = Prompts(tokenizer, config), Grader(ranks)
        stack.callback(grader.close)
        longest = prompts.longest_of(tasks) + config.rollout.max_new_tokens
        sampler = build_sampler(config, engine, loaded, whole, _fitting(longest, loaded))
        stack.callback(sampler.close)
        yield Parts(
            config,
            ranks,
            engine,
            loaded,
            RolloutMaker(config, tasks.training, tokenizer, sampler, prompts, grader),
            Validation(config, tasks.validation, tokenizer, sampler, prompts, grader),
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


def build_engine(
    model: PreTrainedModel,
    config: EngineConfig,
    update: UpdateConfig,
    ranks: Ranks,
    *,
    temperature: float = 1.0,
    learning_rate: float | None = None,
) -> Engine:
    """Return the engine that ``config`` names, around ``model``."""
    if config.kind == "deepspeed":
        from entropy_mech.train.engine_deepspeed import DeepSpeedEngine as Chosen
    else:
        from entropy_mech.train.engine import TorchEngine as Chosen
    return Chosen(
        model, config, update, ranks, temperature=temperature, learning_rate=learning_rate
    )


def build_prm(model: PreTrainedModel, config: TrainConfig, ranks: Ranks) -> ImplicitPRM:
    """Return PRIME's reward model around ``model``, with an engine and optimizer of its own."""
    engine = build_engine(
        model,
        config.engine,
        config.update,
        ranks,
        learning_rate=config.algorithm.prm_learning_rate,
    )
    return ImplicitPRM(engine, config)
