"""The parts of a training session, put together: model, engine, sampler, problems, graders."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from entropy_mech.objectives import group_advantages
from entropy_mech.rollout.torch_sampler import TorchSampler
from entropy_mech.runs.store import RunStore
from entropy_mech.train.batch import RolloutBatch
from entropy_mech.train.config import TrainConfig
from entropy_mech.train.engine import Engine, build_engine
from entropy_mech.train.models import load_policy
from entropy_mech.train.parallel import Ranks
from entropy_mech.train.rollouts import RolloutMaker
from entropy_mech.train.shared_sampler import SharedSampler
from entropy_mech.train.tasks import Grader, Prompts, Tasks
from entropy_mech.train.validation import Validation


def policy_version(config: TrainConfig, step: int) -> int:
    """Return the optimizer steps behind the weights that sample at ``step``."""
    return step * config.update.updates_per_rollout


@dataclass
class Parts:
    """What the loop works with; every method is called by all ranks together."""

    config: TrainConfig
    ranks: Ranks
    engine: Engine
    tokenizer: PreTrainedTokenizerBase
    rollouts: RolloutMaker
    validation: Validation

    def sync(self, version: int) -> None:
        """Give the sampler the engine's weights, and see that it has them."""

    def rest(self) -> None:
        """Let the sampler give its memory back until the next sync."""

    def advantages(self, batch: RolloutBatch) -> RolloutBatch:
        """Return the batch with its advantages."""
        if not len(batch):
            return batch
        by_row = group_advantages(
            batch.rewards.view(-1, self.config.rollout.responses),
            correction=self.config.algorithm.std_correction,
        ).flatten()
        return replace(batch, advantages=torch.where(batch.response_mask, by_row.unsqueeze(1), 0.0))

    def save(self, folder: Path) -> None:
        """Write this rank's share of a checkpoint."""
        self.engine.save(folder)

    def load(self, folder: Path, marker: dict[str, Any]) -> None:
        """Take up a checkpoint."""
        self.engine.load(folder)


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
        loaded = load_policy(config, store.root)
        tokenizer = loaded.tokenizer
        engine = build_engine(
            loaded.model,
            config.engine,
            config.update,
            ranks,
            temperature=config.rollout.temperature,
        )
        prompts, grader = Prompts(tokenizer, config), Grader(ranks)
        stack.callback(grader.close)
        sampler = SharedSampler(
            TorchSampler(
                engine.policy.model,
                pad_token=tokenizer.pad_token_id,
                eos_token=tokenizer.eos_token_id,
            ),
            ranks,
            on_every_rank=True,
        )
        yield Parts(
            config,
            ranks,
            engine,
            tokenizer,
            RolloutMaker(config, tasks.training, tokenizer, sampler, prompts, grader),
            Validation(config, tasks.validation, tokenizer, sampler, prompts, grader),
        )
