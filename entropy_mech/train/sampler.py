"""The run's sampler: its weights are the engine's, and the probe checks that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from transformers import PreTrainedModel

from entropy_mech.config import TrainConfig
from entropy_mech.sampling.probe import check_probe, probe_gaps, probe_prompts, probe_tolerance
from entropy_mech.sampling.sampler import Completions, Sampler, SamplingRequest
from entropy_mech.sampling.torch_sampler import TorchSampler
from entropy_mech.train.distributed import Ranks
from entropy_mech.train.engine import Engine, measure
from entropy_mech.train.models import LoadedModel
from entropy_mech.train.rollouts import RolloutBatch

# -- One rollout over all ranks ------------------------------------------------------------------


class SharedSampler:
    """Deals the requests to the ranks' own samplers, or lets rank 0 answer all of them.

    Every rank gets all completions. A response depends on its own request alone, so it does not
    matter who sampled it.
    """

    # Whether the sampler is called with no request too: the ranks of one engine step jointly.
    joint = False

    def __init__(self, sampler: Sampler | None, ranks: Ranks, *, on_every_rank: bool):
        self.sampler, self.ranks, self.on_every_rank = sampler, ranks, on_every_rank

    def sample(
        self,
        requests: Sequence[SamplingRequest],
        *,
        temperature: float,
        max_new_tokens: int,
        policy_version: int = 0,
    ) -> Completions:
        """Sample one response a request; see ``sampling.sampler.Sampler``."""
        settings = {
            "temperature": temperature,
            "max_new_tokens": max_new_tokens,
            "policy_version": policy_version,
        }
        if not self.on_every_rank:
            out = self.sampler.sample(requests, **settings) if self.ranks.first else None
            return self.ranks.from_first(out)
        share = -(-len(requests) // self.ranks.size)
        mine = requests[self.ranks.rank * share : (self.ranks.rank + 1) * share]
        out = _on_host(self.sampler.sample(mine, **settings)) if mine or self.joint else None
        return _joined([part for part in self.ranks.gather(out) if part is not None])


def _on_host(out: Completions) -> Completions:
    return replace(
        out,
        tokens=out.tokens.cpu(),
        response_mask=out.response_mask.cpu(),
        logp_sampler=out.logp_sampler.cpu(),
        finished=out.finished.cpu(),
        entropy=None if out.entropy is None else out.entropy.cpu(),
    )


def _joined(parts: Sequence[Completions]) -> Completions:
    longest = max(part.tokens.shape[1] for part in parts)

    def stacked(name: str) -> Tensor:
        rows = [getattr(part, name) for part in parts]
        return torch.cat(
            [torch.nn.functional.pad(part, (0, longest - part.shape[1])) for part in rows]
        )

    return Completions(
        tokens=stacked("tokens"),
        response_mask=stacked("response_mask"),
        logp_sampler=stacked("logp_sampler"),
        finished=torch.cat([part.finished for part in parts]),
        policy_version=parts[0].policy_version,
        entropy=None if parts[0].entropy is None else stacked("entropy"),
    )


# -- The run's sampler ---------------------------------------------------------------------------


class LiveSampler(SharedSampler):
    """Samples with the model that the engine updates: its weights are never stale."""

    def __init__(self, engine: Engine, loaded: LoadedModel, config: TrainConfig):
        super().__init__(
            _torch_sampler(engine.policy.model, loaded, config), engine.ranks, on_every_rank=True
        )

    def sync(self, version: int) -> dict[str, float]:
        """Do nothing: there is one set of weights."""
        return {}

    def rest(self) -> None:
        """Do nothing: there is nothing to give back."""

    def close(self) -> None:
        """Do nothing."""


class CopySampler(LiveSampler):
    """Samples with whole weights that are copied from shards (ZeRO-3) before each rollout."""

    def __init__(
        self, engine: Engine, loaded: LoadedModel, config: TrainConfig, whole: PreTrainedModel
    ):
        self.engine = engine
        self.model = whole.to(engine.device)
        self.places = dict(self.model.named_parameters())
        SharedSampler.__init__(
            self, _torch_sampler(self.model, loaded, config), engine.ranks, on_every_rank=True
        )

    @torch.no_grad()
    def sync(self, version: int) -> dict[str, float]:
        """Copy the weights."""
        for name, weight in self.engine.weights():
            self.places[name].copy_(weight)
        return {}


class VLLMPolicySampler(SharedSampler):
    """Samples with vLLM engines; after each sync they are probed against the trainer."""

    joint = True

    def __init__(
        self, engine: Engine, loaded: LoadedModel, config: TrainConfig, max_model_len: int
    ):
        from entropy_mech.sampling.vllm_sampler import VLLMSampler

        settings = config.sampler
        here = settings.placement == "colocated" or engine.ranks.first
        dtype = getattr(torch, config.engine.dtype)
        sampler = None
        if here:
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
        super().__init__(sampler, engine.ranks, on_every_rank=settings.placement == "colocated")
        self.engine = engine
        self.tolerance = probe_tolerance(dtype, settings.probe_tolerance)
        self.prompts = probe_prompts(loaded.model.config.vocab_size, max_model_len)
        self.asleep = False

    def sync(self, version: int) -> dict[str, float]:
        """Give the engines the policy's weights, then probe them.

        Raises:
            StaleWeightsError: an engine does not hold what it was given; names it.
            SamplerError: an engine was lost or too slow; names it.

        """
        weights = self.engine.weights()
        if self.sampler is not None:
            if self.asleep:
                self.sampler.wake()
            self.asleep = False
            self.sampler.sync(weights, version)
        for _ in weights:
            pass  # the gathering of each weight is a joint one, here where nobody takes it too
        return {"sampler_probe_gap_nats": self._probe()}

    def _probe(self) -> float:
        trainer = _TrainerLogprobs(self.engine)
        gap = 0.0
        if self.sampler is not None:
            gaps = probe_gaps(self.sampler, trainer.of, self.prompts)
            for name, value in gaps.items():
                check_probe(value, self.tolerance, name)
            gap = max(gaps.values())
        trainer.until_all_are_done()
        return max(self.ranks.gather(gap))

    def rest(self) -> None:
        """Let a colocated engine give its memory to the trainer until the next sync."""
        if self.sampler is not None:
            self.sampler.sleep()
            self.asleep = True

    def close(self) -> None:
        """End the engines."""
        if self.sampler is not None:
            self.sampler.close()


class _TrainerLogprobs:
    """The trainer's log-probabilities of token rows that some ranks ask for, at temperature 1.

    Every forward pass is a joint one, so ranks that do not ask take part until nobody asks.
    """

    def __init__(self, engine: Engine):
        self.engine, self.ranks = engine, engine.ranks

    def of(self, rows: Tensor) -> Tensor:
        """Return the log-probabilities of all tokens but the first, B x (L - 1)."""
        return self._round(rows)

    def until_all_are_done(self) -> None:
        """Take part in what other ranks still ask."""
        while self._round(None) is not None:
            pass

    def _round(self, rows: Tensor | None) -> Tensor | None:
        asked = self.ranks.gather(rows)
        given = [part for part in asked if part is not None]
        if not given:
            return None
        policy = self.engine.policy
        before, policy.temperature = policy.temperature, 1.0
        try:
            logp, _ = measure(self.engine, _as_batch(torch.cat(given)))
        finally:
            policy.temperature = before
        if rows is None:
            return logp[:0]
        start = sum(len(part) for part in asked[: self.ranks.rank] if part is not None)
        return logp[start : start + len(rows)]


def _as_batch(rows: Tensor) -> RolloutBatch:
    """Return token rows (B x L) as a batch whose responses are all tokens but the first."""
    tokens = rows[:, 1:]
    count = torch.arange(len(rows))
    blank = torch.zeros(tokens.shape)
    return RolloutBatch(
        input_ids=rows,
        prompt_length=torch.ones(len(rows), dtype=torch.long),
        tokens=tokens,
        response_mask=torch.ones(tokens.shape, dtype=torch.bool),
        problem=count,
        sample=count,
        rewards=blank[:, 0],
        advantages=blank,
        logp_sampler=blank,
        logp_old=blank,
        logp_ref=blank,
        entropy=blank,
    )


def _torch_sampler(
    model: PreTrainedModel, loaded: LoadedModel, config: TrainConfig
) -> TorchSampler:
    return TorchSampler(
        model,
        pad_token=loaded.tokenizer.pad_token_id,
        eos_token=loaded.tokenizer.eos_token_id,
        keep_entropy=config.rollout.old_logp == "sampler",
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
    if whole is None:
        return LiveSampler(engine, loaded, config)
    return CopySampler(engine, loaded, config, whole)
