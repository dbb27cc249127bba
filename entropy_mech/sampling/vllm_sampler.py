"""Sampling with vLLM: an engine in this process that gets the policy's weights before a rollout."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from entropy_mech.config.hardware import VLLMSamplerConfig
from entropy_mech.errors import bad_value
from entropy_mech.sampling.sampler import Completions, SamplingRequest, StaleWeightsError
from entropy_mech.sampling.vllm_engine import EngineSettings, Sampled, VLLMEngine


class VLLMSampler:
    """Samples with a vLLM engine that holds the policy of one numbered step (``sampler.Sampler``).

    ``policy_version`` is the last synced one; until the first sync it is 0, the model as it was
    loaded. ``sample`` must be told the same number, so that weights are never silently stale. A
    sync that fails, and ``sleep``, leave it None: then only a sync can go on.

    Args:
        model_folder: folder or hub id in Hugging Face format.
        dtype: of the engine's weights and arithmetic.
        max_model_len: tokens of the longest prompt and response together.
        seed: of the engine; each response's stream is its request's own.
        revision: of a hub id, the commit that the trainer has loaded; None for a folder.

    Raises:
        UserError: the settings do not fit one another.
        SamplerError: the engine does not start; here and everywhere, names it.

    """

    def __init__(
        self,
        model_folder: str | Path,
        config: VLLMSamplerConfig,
        *,
        pad_token: int,
        eos_token: int,
        dtype: torch.dtype,
        max_model_len: int,
        seed: int,
        revision: str | None = None,
    ):
        self.config, self.pad_token = config, pad_token
        self.max_model_len = max_model_len
        self.engine = VLLMEngine(
            EngineSettings(
                model_folder=str(model_folder),
                dtype=str(dtype).removeprefix("torch."),
                max_model_len=max_model_len,
                max_num_batched_tokens=_step_tokens(config, max_model_len),
                seed=seed,
                eos_token=eos_token,
                tensor_parallel=config.tensor_parallel,
                gpu_memory_fraction=config.gpu_memory_fraction,
                max_sequences=config.max_sequences,
                enforce_eager=config.enforce_eager,
                policy_version=0,
                revision=revision,
            )
        )

    @property
    def policy_version(self) -> int | None:
        """Optimizer steps behind the engine's weights; None where they are gone."""
        return self.engine.policy_version

    def sample(
        self,
        requests: Sequence[SamplingRequest],
        *,
        temperature: float,
        max_new_tokens: int,
        policy_version: int = 0,
    ) -> Completions:
        """Sample one response a request; see ``sampling.sampler.Sampler``. Tensors are on the CPU.

        Raises:
            StaleWeightsError: ``policy_version`` is not the engine's.
            UserError: a prompt leaves no room for ``max_new_tokens``.
            SamplerError: the engine failed or took longer than ``sample_timeout_s``.

        """
        if temperature < 0:
            raise bad_value("rollout.temperature", temperature, "give 0 (greedy) or more")
        longest = max((len(request.prompt_tokens) for request in requests), default=0)
        if longest + max_new_tokens > self.max_model_len:
            raise bad_value(
                "rollout.max_new_tokens",
                max_new_tokens,
                f"with a prompt of {longest} tokens it exceeds the sampler's {self.max_model_len}",
            )
        self._require(policy_version)
        sampled = self.engine.sample(
            [request.prompt_tokens for request in requests],
            [seed_of(request.key) for request in requests],
            temperature=temperature,
            max_new_tokens=max_new_tokens,
            timeout_s=self.config.sample_timeout_s,
        )
        return completions(sampled, pad_token=self.pad_token, policy_version=policy_version)

    def logprobs(self, prompt_tokens: Sequence[int], response_tokens: Sequence[int]) -> Tensor:
        """Return the engine's log-probabilities of given response tokens at temperature 1.

        T, float32, nats. Whatever version the engine holds answers: this is what the probe asks.
        """
        tokens = [*prompt_tokens, *response_tokens]
        if not prompt_tokens or len(tokens) >= self.max_model_len:
            raise bad_value(
                "prompt_tokens", len(tokens), f"give 1 to {self.max_model_len - 1} tokens in all"
            )
        logp = self.engine.logprobs(tokens, timeout_s=self.config.sample_timeout_s)
        return torch.from_numpy(logp[len(prompt_tokens) - 1 :].copy())

    def sync(self, weights: Iterable[tuple[str, Tensor]], policy_version: int) -> None:
        """Give the engine the policy's weights: whole tensors under Hugging Face names.

        The prefix cache is emptied. Tensors may be of any dtype and on any device; they must not
        be overwritten before this returns.

        Raises:
            SamplerError: the engine failed or took longer than ``sync_timeout_s``.

        """
        self.engine.load(
            weights, policy_version=policy_version, timeout_s=self.config.sync_timeout_s
        )
        self._require(policy_version)

    def sleep(self) -> None:
        """Give the engine's GPU memory to the trainer, weights and all.

        ``policy_version`` is None until it is woken and synced.
        """
        self.engine.sleep()

    def wake(self) -> None:
        """Take the memory for the engine's weights again; sync before sampling."""
        self.engine.wake()

    def close(self) -> None:
        """End the engine."""
        self.engine.close()

    def __enter__(self) -> VLLMSampler:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _require(self, policy_version: int) -> None:
        held = self.engine.policy_version
        if held != policy_version:
            what = "no weights (asleep, or a sync failed)" if held is None else f"those of {held}"
            raise StaleWeightsError(
                f"{self.engine.name}: holds {what}, and those of policy version {policy_version} "
                "are asked for; sync before sampling"
            )


def completions(sampled: Sampled, *, pad_token: int, policy_version: int) -> Completions:
    """Return responses that lie end to end as rows, padded on the right."""
    mask = np.arange(sampled.lengths.max(initial=0)) < sampled.lengths[:, None]
    tokens = np.full(mask.shape, pad_token, dtype=np.int64)
    logp = np.zeros(mask.shape, dtype=np.float32)
    tokens[mask], logp[mask] = sampled.tokens, sampled.logp
    return Completions(
        tokens=torch.from_numpy(tokens),
        response_mask=torch.from_numpy(mask),
        logp_sampler=torch.from_numpy(logp),
        finished=torch.from_numpy(sampled.finished),
        policy_version=policy_version,
    )


def seed_of(key: int) -> int:
    """Return vLLM's seed for a request's 64-bit key: its lower 63 bits.

    vLLM takes -1 for "no seed" and stores seeds as signed words. torch's CPU generator uses the
    lower 32 bits of these alone; two of 2,048 responses then share a stream once in 2,000
    rollouts, and only two of the same prompt could show it.
    """
    return int(key) & 0x7FFF_FFFF_FFFF_FFFF


def _step_tokens(config: VLLMSamplerConfig, max_model_len: int) -> int:
    """Return how many tokens one step of the engine takes; prompts are read whole on a CPU."""
    if config.max_num_batched_tokens is None:
        return max(8192, max_model_len)
    on_a_cpu = not torch.cuda.is_available()
    if config.max_num_batched_tokens < max_model_len and on_a_cpu:
        raise bad_value(
            "sampler.max_num_batched_tokens",
            config.max_num_batched_tokens,
            f"on a CPU it must hold the longest sequence; give {max_model_len} or more",
        )
    return config.max_num_batched_tokens
