"""The run's sampler: its weights are the engine's, and the probe checks that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from entropy_mech.config import TrainConfig
from entropy_mech.sampling.sampler import Completions, Sampler, SamplingRequest
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
from entropy_mech.train.models import LoadedModel
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
        return _joined(parts, torch.tensor(list(chain.from_iterable(dealt))).argsort(), out)

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
    turn, before = -1, None
    for place, request in enumerate(requests):
        turn += request.prompt_tokens != before
        before = request.prompt_tokens
        dealt[turn % size].append(place)
    return dealt


def _joined(parts: Sequence[dict[str, Tensor]], order: Tensor, like: Completions) -> Completions:
    """Return the responses of all ranks, padded to the longest, in the order of the requests."""
    longest = max(part["tokens"].shape[1] for part in parts)

    def stacked(name: str) -> Tensor:
        rows = [part[name] for part in parts]
        if rows[0].dim() > 1:
            rows = [functional.pad(part, (0, longest - part.shape[1])) for part in rows]
        return torch.cat(rows)[order]

    return replace(like, **{name: stacked(name) for name in parts[0]})


# -- The run's sampler ---------------------------------------------------------------------------


class LiveSampler(SharedSampler):
    """Samples with the model that the engine updates, so that its weights are never stale.

    Or, where ``whole`` is given, with that copy of it, which takes the weights from the engine's
    shards (ZeRO-3) before each rollout.
    """

    def __init__(
        self,
        engine: Engine,
        loaded: LoadedModel,
        config: TrainConfig,
        whole: PreTrainedModel | None = None,
    ):
        self.engine, self.copies = engine, {}
        model = engine.policy.model
        if whole is not None:
            model = whole.to(engine.device)
            self.copies = dict(model.named_parameters())
        sampler = TorchSampler(
            model,
            pad_token=loaded.tokenizer.pad_token_id,
            eos_token=loaded.tokenizer.eos_token_id,
            keep_entropy=config.rollout.old_logp == "sampler",
            cuda_graph=config.sampler.cuda_graph,
        )
        super().__init__(sampler, engine.ranks)

    @torch.no_grad()
    def sync(self, version: int) -> dict[str, float]:
        """Copy the weights, where there is a copy."""
        if self.copies:
            for name, weight in self.engine.weights():
                self.copies[name].copy_(weight)
        return {}


class VLLMPolicySampler(SharedSampler):
    """Samples with a vLLM engine in each rank; after each sync they are probed."""

    def __init__(
        self, engine: Engine, loaded: LoadedModel, config: TrainConfig, max_model_len: int
    ):
        settings, dtype = config.sampler, getattr(torch, config.engine.dtype)
        self.settings = settings
        sampler = VLLMSampler(
            loaded.place,
            settings,
            pad_token=loaded.tokenizer.pad_token_id,
            eos_token=loaded.tokenizer.eos_token_id,
            dtype=dtype,
            max_model_len=max_model_len,
            seed=config.seed,
            revision=loaded.revision,
        )
        super().__init__(sampler, engine.ranks)
        self.engine = engine
        self.dtype, self.first_gap = dtype, None
        self.prompts = probe_prompts(loaded.model.config.vocab_size, max_model_len)
        self.asleep = False

    def sync(self, version: int) -> dict[str, float]:
        """Give the engine the policy's weights, then probe it.

        Raises:
            StaleWeightsError: an engine does not hold what it was given; names it.
            SamplerError: an engine was lost or too slow; names it.

        """
        weights = self.engine.weights()
        if self.asleep:
            self.sampler.wake()
        self.asleep = False
        self.sampler.sync(weights, version)
        for _ in weights:
            pass  # gathering a weight is collective: every rank goes through all of them
        gap = probe_gap(self.sampler, self._trainer_logp, self.prompts)
        gaps = self.ranks.gather((self.sampler.name, gap))
        tolerance = probe_tolerance(self.dtype, self.settings.probe_tolerance, self.first_gap)
        for name, value in gaps:  # those of all ranks, so that all stop at once
            check_probe(value, tolerance, name)
        mean = max(value.mean for _, value in gaps)
        if self.first_gap is None:
            self.first_gap = mean
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
        start = sum(len(part) for part in asked[: self.ranks.rank])
        return logp[start : start + len(rows)]

    def rest(self) -> None:
        """Let the engine give its memory to the trainer until the next sync."""
        self.sampler.sleep()
        self.asleep = True

    def close(self) -> None:
        """End the engine."""
        self.sampler.close()


def _as_batch(rows: Tensor) -> RolloutBatch:
    """Return token rows (B x L) as a batch whose responses are all tokens but the first."""
    tokens = rows[:, 1:]
    count = torch.arange(len(rows))
    return RolloutBatch(
        input_ids=rows,
        prompt_length=torch.ones(len(rows), dtype=torch.long),
        tokens=tokens,
        response_mask=torch.ones(tokens.shape, dtype=torch.bool),
        problem=count,
        sample=count,
    )


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
        return VLLMPolicySampler(engine, loaded, config, max_model_len)
    return LiveSampler(engine, loaded, config, whole)
