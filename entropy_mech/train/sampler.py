"""The run's sampler: its weights are the engine's, and the probe checks that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, groupby
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from entropy_mech.config import TrainConfig
from entropy_mech.sampling.sampler import (
    Completions,
    Sampler,
    SamplingRequest,
    special_tokens,
    stacked,
)
from entropy_mech.sampling.torch_sampler import TorchSampler
from entropy_mech.sampling.vllm_sampler import (
    VLLMSampler,
    check_probe,
    probe_gap,
    probe_prompts,
    probe_tolerance,
)
from entropy_mech.train.distributed import Ranks
from entropy_mech.train.engine import Engine, measure
from entropy_mech.train.pretrain import LoadedModel
from entropy_mech.train.rollouts import RolloutBatch

# -- One rollout over all ranks ------------------------------------------------------------------


class SharedSampler:
    """Splits the requests over the ranks' own samplers; every rank gets all completions.

    A response depends on its own request alone, so it does not matter who sampled it. Prompts are
    dealt in turn, so that no rank gets one benchmark, with its long responses, alone.
    """

    def __init__(self, sampler: Sampler, ranks: Ranks):
        self.sampler, self.ranks = sampler, ranks

    def sample(self, requests: Sequence[SamplingRequest], **settings: Any) -> Completions:
        """Sample one response a request; see ``sampling.sampler.Sampler``."""
        dealt = deal_prompts(requests, self.ranks.size)
        # Also without a request: the ranks of one engine step jointly.
        out = self.sampler.sample([requests[i] for i in dealt[self.ranks.rank]], **settings)
        tensors = {k: v.cpu() for k, v in vars(out).items() if isinstance(v, Tensor)}
        parts = self.ranks.gather(tensors)
        if len(parts) == 1:
            return replace(out, **tensors)
        order = torch.tensor(list(chain.from_iterable(dealt))).argsort()
        joined = {name: stacked([part[name] for part in parts])[order] for name in tensors}
        return replace(out, **joined)

    def rest(self) -> None:
        """Give back what sampling alone needs, until the next sync; here nothing."""

    def close(self) -> None:
        """End what was started for sampling; here nothing."""


def deal_prompts(requests: Sequence[SamplingRequest], size: int) -> list[list[int]]:
    """Return the places of each rank's requests; neighbours of one prompt go to one rank.

    >>> deal_prompts([SamplingRequest((p,), 0) for p in (5, 5, 6, 7, 7)], 2)
    [[0, 1, 3, 4], [2]]
    """
    dealt: list[list[int]] = [[] for _ in range(size)]
    by_prompt = groupby(range(len(requests)), lambda place: requests[place].prompt_tokens)
    for turn, (_, places) in enumerate(by_prompt):
        dealt[turn % size].extend(places)
    return dealt


# -- The run's sampler ---------------------------------------------------------------------------


class LiveSampler(SharedSampler):
    """Samples with the model that the engine updates, so that its weights are never stale.

    Or, where ``whole`` is given, with that copy of it, which takes the weights from the engine's
    shards (ZeRO-3) before each rollout.
    """

    def __init__(
        self,
        config: TrainConfig,
        engine: Engine,
        loaded: LoadedModel,
        whole: PreTrainedModel | None = None,
    ):
        self.engine = engine
        self.whole = None if whole is None else whole.to(engine.device)
        sampler = TorchSampler(
            engine.policy.model if whole is None else self.whole,
            **special_tokens(loaded.tokenizer),
            keep_entropy=config.rollout.old_logp == "sampler",
            cuda_graph=config.sampler.cuda_graph,
        )
        super().__init__(sampler, engine.ranks)

    @torch.no_grad()
    def sync(self, version: int) -> dict[str, float]:
        """Copy the weights, where there is a copy."""
        if self.whole is not None:
            copies = dict(self.whole.named_parameters())
            for name, weight in self.engine.weights():
                copies[name].copy_(weight)
        return {}


class VLLMPolicySampler(SharedSampler):
    """Samples with a vLLM engine in each rank; after each sync they are probed."""

    def __init__(
        self, config: TrainConfig, engine: Engine, loaded: LoadedModel, max_model_len: int
    ):
        self.engine, self.settings = engine, config.sampler
        self.dtype, self.first_gap = getattr(torch, config.engine.dtype), None
        self.version = 0
        self.prompts = probe_prompts(loaded.model.config.vocab_size, max_model_len)
        sampler = VLLMSampler(
            loaded.place,
            config.sampler,
            **special_tokens(loaded.tokenizer),
            dtype=self.dtype,
            max_model_len=max_model_len,
            revision=loaded.revision,
        )
        super().__init__(sampler, engine.ranks)

    def sample(self, requests: Sequence[SamplingRequest], **settings: Any) -> Completions:
        """Sample one response a request, with the weights of the last sync and no others."""
        return super().sample(requests, policy_version=self.version, **settings)

    def sync(self, version: int) -> dict[str, float]:
        """Give the engine the policy's weights, then probe it.

        Raises:
            StaleWeightsError: an engine does not hold what it was given; names it.
            SamplerError: an engine was lost or too slow; names it.

        """
        self.version, weights = version, self.engine.weights()
        self.sampler.sync(weights, version)
        for _ in weights:
            pass  # gathering a weight is collective: every rank goes through all of them
        gap = probe_gap(self.sampler, self._trainer_logp, self.prompts)
        gaps = self.ranks.gather((self.sampler.name, gap))
        tolerance = probe_tolerance(self.dtype, self.settings.probe_tolerance, self.first_gap)
        for name, value in gaps:  # those of all ranks, so that all stop at once
            check_probe(value, tolerance, name)
        mean = max(value.mean for _, value in gaps)
        self.first_gap = mean if self.first_gap is None else self.first_gap
        return {
            "sampler_probe_mean_gap_nats": mean,
            "sampler_probe_gap_nats": max(value.largest for _, value in gaps),
        }

    def _trainer_logp(self, rows: Tensor) -> Tensor:
        """Return the trainer's log-probabilities of all tokens but the first, B x (L - 1).

        At temperature 1. All ranks call this together: forward passes are collective.
        """
        asked = self.ranks.gather(rows)
        policy = self.engine.policy
        before, policy.temperature = policy.temperature, 1.0
        try:
            logp, _ = measure(self.engine, _as_batch(torch.cat(asked)))
        finally:
            policy.temperature = before
        return logp.split([len(part) for part in asked])[self.ranks.rank]

    def rest(self) -> None:
        """Let the engine give its memory to the trainer until the next sync."""
        self.sampler.sleep()

    def close(self) -> None:
        """End the engine."""
        self.sampler.close()


def _as_batch(rows: Tensor) -> RolloutBatch:
    """Return token rows (B x L) as a batch whose responses are all tokens but the first."""
    tokens, count = rows[:, 1:], torch.arange(len(rows))
    everything = torch.ones_like(tokens, dtype=torch.bool)
    return RolloutBatch(rows, torch.ones_like(count), tokens, everything, count, count)


def whole_copy_needed(config: TrainConfig) -> bool:
    """Whether sampling needs a copy of the model made before the engine shards it."""
    engine = config.engine
    return config.sampler.kind == "torch" and engine.kind == "deepspeed" and engine.zero_stage == 3


def build_sampler(
    config: TrainConfig,
    engine: Engine,
    loaded: LoadedModel,
    whole: PreTrainedModel | None,
    max_model_len: int,
) -> LiveSampler | VLLMPolicySampler:
    """Return the sampler that the configuration names; ``whole`` is as ``whole_copy_needed``."""
    if config.sampler.kind == "vllm":
        return VLLMPolicySampler(config, engine, loaded, max_model_len)
    return LiveSampler(config, engine, loaded, whole)
