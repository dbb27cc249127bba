"""Sampling with vLLM: an engine in this process, or several in processes of their own."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from entropy_mech.config.hardware import VLLMSamplerConfig
from entropy_mech.errors import bad_value
from entropy_mech.sampling.engine import (
    Engine,
    EngineSettings,
    Sampled,
    StaleWeightsError,
    at_once,
    completions,
    deal,
    seed_of,
)
from entropy_mech.sampling.remote import remote_engines, stream_weights
from entropy_mech.sampling.sampler import Completions, SamplingRequest
from entropy_mech.sampling.vllm_engine import VLLMEngine
from entropy_mech.sampling.weights import SHARED_MEMORY, dtype_name, write_weights


class VLLMSampler:
    """Samples with vLLM engines that hold the policy of one numbered step (``sampler.Sampler``).

    ``policy_version`` is the last synced one; until the first sync it is 0, the model as it was
    loaded. ``sample`` must be told the same number, so that weights are never silently stale. A
    sync that fails, and ``sleep``, leave it None: then only a sync can go on.

    Args:
        model_folder: folder or hub id in Hugging Face format.
        dtype: of the engines' weights and arithmetic.
        max_model_len: tokens of the longest prompt and response together.
        seed: of the engine; each response's stream is its request's own.
        revision: of a hub id, the commit that the trainer has loaded; None for a folder.

    Raises:
        UserError: the settings do not fit one another.
        SamplerError: an engine does not start; here and everywhere, names it.

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
        self.config, self.pad_token, self.dtype = config, pad_token, dtype
        self.max_model_len = max_model_len
        settings = EngineSettings(
            model_folder=str(model_folder),
            dtype=dtype_name(dtype),
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
        self._colocated = config.placement == "colocated"
        self.engines: list[Engine] = (
            [VLLMEngine(settings)]
            if self._colocated
            else remote_engines(
                settings,
                engines=config.engines,
                devices=config.devices,
                hosts=config.hosts,
                timeout_s=config.start_timeout_s,
            )
        )

    @property
    def policy_version(self) -> int | None:
        """Optimizer steps behind every engine's weights; None where they differ or are gone."""
        versions = {engine.policy_version for engine in self.engines}
        return versions.pop() if len(versions) == 1 else None

    def sample(
        self,
        requests: Sequence[SamplingRequest],
        *,
        temperature: float,
        max_new_tokens: int,
        policy_version: int = 0,
        engine: int | None = None,
    ) -> Completions:
        """Sample one response a request; see ``sampling.sampler.Sampler``. Tensors are on the CPU.

        ``engine`` lets one engine answer all of them, as the probe asks; else they are shared.

        Raises:
            StaleWeightsError: ``policy_version`` is not that of every engine asked.
            UserError: a prompt leaves no room for ``max_new_tokens``.
            SamplerError: an engine was lost or took longer than ``sample_timeout_s``.

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
        engines = self.engines if engine is None else [self.engines[engine]]
        _require(engines, policy_version)
        places = deal(len(requests), len(engines))

        def ask(i: int, peer: Engine) -> Sampled:
            mine = [requests[place] for place in places[i]]
            return peer.sample(
                [request.prompt_tokens for request in mine],
                [seed_of(request.key) for request in mine],
                temperature=temperature,
                max_new_tokens=max_new_tokens,
                timeout_s=self.config.sample_timeout_s,
            )

        parts = at_once(engines, ask)
        _require(engines, policy_version)
        return completions(parts, places, pad_token=self.pad_token, policy_version=policy_version)

    def logprobs(
        self, prompt_tokens: Sequence[int], response_tokens: Sequence[int], *, engine: int = 0
    ) -> Tensor:
        """Return one engine's log-probabilities of given response tokens at temperature 1.

        T, float32, nats. Whatever version the engine holds answers: this is what the probe asks.
        """
        tokens = [*prompt_tokens, *response_tokens]
        if not prompt_tokens or len(tokens) >= self.max_model_len:
            raise bad_value(
                "prompt_tokens", len(tokens), f"give 1 to {self.max_model_len - 1} tokens in all"
            )
        logp = self.engines[engine].logprobs(tokens, timeout_s=self.config.sample_timeout_s)
        return torch.from_numpy(logp[len(prompt_tokens) - 1 :].copy())

    def sync(self, weights: Iterable[tuple[str, Tensor]], policy_version: int) -> None:
        """Give every engine the policy's weights: whole tensors under Hugging Face names.

        Prefix caches are emptied. Tensors may be of any dtype and on any device; they must not be
        overwritten before this returns. Of weights that are gathered one by one, engines of other
        processes need one on the host at a time.

        Raises:
            SamplerError: an engine was lost or took longer than ``sync_timeout_s``.
            UserError: the file of weights finds no room.

        """
        timeout_s, transport = self.config.sync_timeout_s, self.config.sync_transport
        if self._colocated:
            self.engines[0].load(weights, policy_version=policy_version, timeout_s=timeout_s)
        elif transport == "connection":
            stream_weights(
                self.engines,
                weights,
                dtype=self.dtype,
                policy_version=policy_version,
                timeout_s=timeout_s,
            )
        else:
            folder = SHARED_MEMORY if transport == "shared_memory" else self.config.sync_folder
            path = Path(folder) / f"entropy-mech-{os.getpid()}-{id(self)}.weights"
            write_weights(path, weights, dtype=self.dtype, policy_version=policy_version)
            try:
                at_once(self.engines, lambda _, e: e.load_file(path, timeout_s=timeout_s))
            finally:
                path.unlink(missing_ok=True)
        _require(self.engines, policy_version)

    def sleep(self) -> None:
        """Give a colocated engine's GPU memory to the trainer, weights and all.

        Its ``policy_version`` is None until it is woken and synced. Separate engines stay awake.
        """
        if self._colocated:
            self.engines[0].sleep(timeout_s=self.config.sync_timeout_s)

    def wake(self) -> None:
        """Take the memory for a colocated engine's weights again; sync before sampling."""
        if self._colocated:
            self.engines[0].wake(timeout_s=self.config.sync_timeout_s)

    def close(self) -> None:
        """End the engines and the processes that were started for them."""
        for engine in self.engines:
            engine.close()

    def __enter__(self) -> VLLMSampler:
        return self

    def __exit__(self, *_) -> None:
        self.close()


def _require(engines: Sequence[Engine], policy_version: int) -> None:
    for engine in engines:
        if engine.policy_version != policy_version:
            raise StaleWeightsError(
                f"{engine.name}: holds {_weights(engine.policy_version)}, and those of policy "
                f"version {policy_version} are asked for; sync before sampling"
            )


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


def _weights(version: int | None) -> str:
    return "no weights (asleep, or a sync failed)" if version is None else f"those of {version}"
