"""Sampling with a vLLM engine (0.32) in this process, and the probe of its weights.

The one file that imports vllm. Its side effects on the process are undone, and ranks that share an
engine merge their requests.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from entropy_mech.config import VLLMSamplerConfig
from entropy_mech.errors import UserError, bad_value
from entropy_mech.random_streams import generator, stream_key
from entropy_mech.sampling.sampler import (
    Completions,
    SamplerError,
    SamplingRequest,
    StaleWeightsError,
    places_by_temperature,
)

if TYPE_CHECKING:
    from vllm.outputs import CompletionOutput

# -- Undoing side effects on the process ---------------------------------------------------------


@contextmanager
def contained() -> Iterator[None]:
    """Put back, at the end, the thread count and the means to set it, and torch's defaults.

    vLLM's CPU build replaces ``torch.set_num_threads`` by a function that does nothing. It also
    seeds the global generators, from which nothing here draws.
    """
    threads, set_num_threads = torch.get_num_threads(), torch.set_num_threads
    grad, dtype = torch.is_grad_enabled(), torch.get_default_dtype()
    try:
        yield
    finally:
        torch.set_num_threads = set_num_threads
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        torch.set_grad_enabled(grad)
        torch.set_default_dtype(dtype)


@contextmanager
def keeping_process_group() -> Iterator[None]:
    """Keep the default process group, the trainer's: vLLM's shutdown would destroy it.

    Groups that vLLM made for itself are still destroyed.
    """
    destroy = dist.destroy_process_group
    dist.destroy_process_group = lambda group=None: None if group is None else destroy(group)
    try:
        yield
    finally:
        dist.destroy_process_group = destroy


# -- Ranks that share an engine ------------------------------------------------------------------


def all_requests(
    requests: Sequence[SamplingRequest], group: dist.ProcessGroup | None
) -> tuple[list[SamplingRequest], int]:
    """Return the requests of all ranks of this one's engine, and where its own begin.

    The ranks of an engine step through it together, so each must give it the requests of all.
    With an engine to itself (no ``group``) a rank's own requests are all.
    """
    if group is None:
        return list(requests), 0
    parts = [None] * dist.get_world_size(group)
    dist.all_gather_object(parts, list(requests), group=group)
    return list(chain.from_iterable(parts)), sum(map(len, parts[: dist.get_rank(group)]))


def engine_group(ranks_an_engine: int) -> dist.ProcessGroup | None:
    """Return the group of this rank's engine; None where an engine has one rank.

    A collective call: all ranks make it.
    """
    if ranks_an_engine == 1 or not dist.is_initialized() or dist.get_world_size() == 1:
        return None
    return dist.new_subgroups(ranks_an_engine, backend="gloo")[0]


# -- The sampler ---------------------------------------------------------------------------------


@contextmanager
def naming(name: str, what: str) -> Iterator[None]:
    """Turn whatever is raised inside into one line: which engine, and what it was doing."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        last_line = (str(error).strip().splitlines() or [""])[-1].strip()
        reason = f"{type(error).__name__}: {last_line}".removesuffix(": ")
        raise SamplerError(f"{name}: {what} failed: {reason}") from error


# Read by vllm on import. One process an engine (the executor may add workers), no reports of use,
# no binding of threads to cores that others use as well.
_ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}
# On a CPU: room for the keys and values of a toy's, or a small model's, whole batch.
_CPU_CACHE_BYTES = 1 << 30
_CPU_SEQUENCES = 256
_FIRST_STEP_S = 600.0


class WeightReceiver:
    """Mixed into vLLM's worker, which calls these in each of its processes."""

    def take_weights(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Load tensors under their Hugging Face names."""
        with torch.no_grad():
            self.reload_weights(weights_iterator=iter(weights))
        self._repack_tied_head()

    def _repack_tied_head(self) -> None:
        # vLLM's CPU build multiplies by a packed copy of the head. A reload renews the copies of
        # the layers that it loads, but a tied head is loaded as the embedding, and its copy would
        # stay as it was.
        from vllm.platforms import current_platform

        head = getattr(self.model_runner.get_model(), "lm_head", None)
        method = getattr(head, "quant_method", None)
        if current_platform.is_cpu() and method is not None:
            method.process_weights_after_loading(head)


class VLLMSampler:
    """Samples with a vLLM engine that holds the policy of one numbered step (``sampler.Sampler``).

    ``policy_version`` is the last synced one; until the first sync it is 0, the model as it was
    loaded. ``sample`` must be told the same number, so that weights are never silently stale. A
    sync that fails, and ``sleep``, leave it None: then only a sync can go on.

    In a process group of several ranks, each has a sampler; with ``tensor_parallel`` N, ranks kN
    to kN + N - 1 hold one engine between them and must make the same calls at the same time.

    Args:
        model_folder: folder or hub id in Hugging Face format.
        dtype: of the engine's weights and arithmetic.
        max_model_len: tokens of the longest prompt and response together.
        revision: of a hub id, the commit that the trainer has loaded; None for a folder.

    Raises:
        UserError: the settings do not fit one another.
        SamplerError: the engine does not start or fails later; names it.

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
        revision: str | None = None,
    ):
        self.config, self.max_model_len = config, max_model_len
        self.pad_token, self.eos_token = pad_token, eos_token
        self.name = f"the vLLM engine of pid {os.getpid()} on {platform.node()}"
        self.policy_version: int | None = None
        self._awake = self._whole = True
        self._is_guest = dist.is_initialized()  # in the trainer's process group
        settings = {
            "model": str(model_folder),
            "revision": revision,
            "dtype": str(dtype).removeprefix("torch."),
            "seed": 0,  # each response's stream is its request's own
            "max_model_len": max_model_len,
        }
        with contained(), naming(self.name, "start"):
            self._llm = _start(config, settings)
            self._group = engine_group(config.tensor_parallel)
        self._sleeps = self._llm.model_config.enable_sleep_mode
        # What the model's shape does not allow shows only when it is run.
        self.logprobs([eos_token, eos_token], timeout_s=_FIRST_STEP_S)
        self.policy_version = 0

    def sample(self, requests: Sequence[SamplingRequest], **settings: Any) -> Completions:
        """Sample one response a request; see ``sampling.sampler.Sampler``. Tensors are on the CPU.

        Raises:
            StaleWeightsError: ``policy_version`` is not the engine's.
            UserError: a prompt leaves no room for ``max_new_tokens``.
            SamplerError: the engine failed or took longer than ``sample_timeout_s``.

        """
        done = dict(chain.from_iterable(self._outputs(requests, **settings)))
        return completions([done[i] for i in range(len(requests))], self.pad_token)

    def stream(
        self, requests: Sequence[SamplingRequest], **settings: Any
    ) -> Iterator[tuple[Sequence[int], Completions]]:
        """Yield what has finished after each step: places among the requests, and responses.

        As ``sample`` otherwise. The ranks of one engine must ask together, and each must take all
        that is yielded.
        """
        for outputs in self._outputs(requests, **settings):
            places, found = zip(*outputs, strict=True)
            yield places, completions(found, self.pad_token)

    def logprobs(self, tokens: Sequence[int], *, timeout_s: float | None = None) -> Tensor:
        """Return the engine's log-probabilities at temperature 1 of all tokens but the first.

        Float32, nats. At whatever version the engine holds: the probe uses this.
        """
        from vllm import SamplingParams

        ask = SamplingParams(
            temperature=1.0, seed=0, max_tokens=1, prompt_logprobs=0, flat_logprobs=True,
            detokenize=False,
        )  # fmt: skip
        with contained(), naming(self.name, "log-probabilities"):
            steps = self._run([tokens], [ask], timeout_s or self.config.sample_timeout_s)
            ((_, output),) = chain.from_iterable(steps)
        # Of the first token vLLM says none.
        return torch.tensor(np.array(output.prompt_logprobs.logprobs, dtype=np.float32))

    def sync(self, weights: Iterable[tuple[str, Tensor]], policy_version: int) -> None:
        """Give the engine the policy's weights: whole tensors under Hugging Face names.

        One that sleeps is woken. The prefix cache is emptied. Tensors may be of any dtype and on
        any device; they must not be overwritten before this returns.

        Raises:
            SamplerError: the engine failed or took longer than ``sync_timeout_s``.

        """
        # vLLM takes its layers apart to load them, and cannot go back in the middle of it.
        if not self._whole:
            raise SamplerError(f"{self.name}: its last sync broke off half way; start it anew")
        self.policy_version, self._whole = None, False  # until all of it has arrived
        with contained(), naming(self.name, "taking weights"):
            if self._sleeps and not self._awake:
                self._llm.wake_up(tags=["weights"])
            self._llm.collective_rpc(
                "take_weights", timeout=self.config.sync_timeout_s, args=(weights,)
            )
            if self._sleeps:
                self._llm.wake_up(tags=["kv_cache"])
            # Keys and values of the old weights must not serve prompts of the new ones.
            if not self._llm.reset_prefix_cache():
                raise SamplerError(
                    f"{self.name}: its prefix cache was in use during a sync and could not be "
                    "emptied"
                )
        self.policy_version, self._awake, self._whole = policy_version, True, True

    def sleep(self) -> None:
        """Give the engine's GPU memory to the trainer, weights and all; on a CPU only forget them.

        ``policy_version`` is None until the next sync.
        """
        self.policy_version, self._awake = None, False
        if self._sleeps:
            with contained(), naming(self.name, "going to sleep"):
                self._llm.sleep(level=2)

    def close(self) -> None:
        """End the engine; a process group that was there before stays."""
        if self._llm is not None:
            with keeping_process_group() if self._is_guest else nullcontext():
                self._llm.llm_engine.engine_core.shutdown()
        self._llm = self.policy_version = None

    def _outputs(
        self,
        requests: Sequence[SamplingRequest],
        *,
        temperature: float,
        max_new_tokens: int,
        policy_version: int = 0,
    ) -> Iterator[list[tuple[int, CompletionOutput]]]:
        """Check, then yield this rank's places and vLLM's outputs as they finish."""
        places_by_temperature(requests, temperature)  # none is below 0
        longest = max((len(request.prompt_tokens) for request in requests), default=0)
        if longest + max_new_tokens > self.max_model_len:
            raise bad_value(
                "rollout.max_new_tokens",
                max_new_tokens,
                f"with a prompt of {longest} tokens it exceeds the sampler's {self.max_model_len}",
            )
        if self.policy_version != policy_version:
            held = self.policy_version
            what = "no weights (asleep, or a sync failed)" if held is None else f"those of {held}"
            raise StaleWeightsError(
                f"{self.name}: holds {what}, and those of policy version {policy_version} "
                "are asked for; sync before sampling"
            )
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        def parameters(request: SamplingRequest) -> SamplingParams:
            own = request.temperature
            return SamplingParams(
                temperature=temperature if own is None else own,
                seed=seed_of(request.key),
                max_tokens=max_new_tokens,
                # Only the tokenizer's own end ends a response, as with the trainer's sampler; the
                # folder's generation_config may name further ones.
                ignore_eos=True,
                stop_token_ids=[self.eos_token],
                logprobs=0,
                flat_logprobs=True,
                detokenize=False,
                output_kind=RequestOutputKind.FINAL_ONLY,
            )

        with naming(self.name, "sampling"):
            asked, start = all_requests(requests, self._group)
            steps = self._run(
                [request.prompt_tokens for request in asked],
                [parameters(request) for request in asked],
                self.config.sample_timeout_s,
            )
            for outputs in steps:
                mine = ((place - start, output.outputs[0]) for place, output in outputs)
                if done := [one for one in mine if 0 <= one[0] < len(requests)]:
                    yield done

    def _run(self, prompts, parameters, timeout_s: float) -> Iterator[list[tuple[int, Any]]]:
        """Yield (place, vLLM's output) of the prompts that finished, step by step.

        If the caller stops early, its open requests are aborted.
        """
        deadline = time.monotonic() + timeout_s
        engine = self._llm.llm_engine
        ids = self._llm.enqueue(
            [{"prompt_token_ids": list(prompt)} for prompt in prompts], parameters, use_tqdm=False
        )
        # The engine appends a dash and random characters to the names that outputs have.
        left = {name.partition("-")[0]: place for place, name in enumerate(ids)}
        try:
            while engine.has_unfinished_requests():
                if time.monotonic() > deadline:
                    raise SamplerError(
                        f"{self.name}: not done after {timeout_s:g} s, with {len(left)} of "
                        f"{len(ids)} responses missing"
                    )
                with contained():
                    outputs = engine.step()
                if outputs:
                    yield [(left.pop(output.request_id), output) for output in outputs]
        finally:
            if left:
                engine.abort_request(ids, internal=True)


def _start(config: VLLMSamplerConfig, settings: dict[str, Any]):
    """Return vLLM's LLM, loaded."""
    os.environ.update(_ENVIRONMENT)
    from vllm import LLM
    from vllm.platforms import current_platform

    cpu = current_platform.is_cpu()
    ranks = dist.is_initialized() and dist.get_world_size() > 1
    more = {}
    if cpu:
        # A prompt read in two steps takes vLLM's CPU build down where requests have seeds.
        more = {"enable_chunked_prefill": False, "kv_cache_memory_bytes": _CPU_CACHE_BYTES}
    if ranks:
        more["distributed_executor_backend"] = "external_launcher"
    if settings["dtype"] == "bfloat16":
        # As the trainer's: logits rounded to bfloat16 alone are half of the gap between the two.
        more["hf_overrides"] = {"head_dtype": "float32"}
    step_tokens = max(8192, settings["max_model_len"]) if cpu else None
    return LLM(
        **settings,
        skip_tokenizer_init=True,
        # None is vLLM's own, which knows the GPU.
        max_num_seqs=config.max_sequences or (_CPU_SEQUENCES if cpu else None),
        max_num_batched_tokens=config.max_num_batched_tokens or step_tokens,
        tensor_parallel_size=config.tensor_parallel,
        gpu_memory_utilization=config.gpu_memory_fraction,
        enforce_eager=config.enforce_eager or cpu,
        enable_sleep_mode=not cpu,
        # Sampled from and recorded are the same distribution: after the temperature.
        logprobs_mode="processed_logprobs",
        generation_config="vllm",
        enable_prefix_caching=True,
        worker_extension_cls=f"{WeightReceiver.__module__}.{WeightReceiver.__qualname__}",
        disable_log_stats=True,
        use_tqdm_on_load=False,
        **more,
    )


def completions(outputs: Sequence[CompletionOutput], pad_token: int) -> Completions:
    """Return vLLM's outputs as rows, padded on the right."""
    lengths = np.array([len(out.token_ids) for out in outputs], dtype=np.int64)
    mask = np.arange(lengths.max(initial=0)) < lengths[:, None]
    tokens = np.full(mask.shape, pad_token, dtype=np.int64)
    logp = np.zeros(mask.shape, dtype=np.float32)
    tokens[mask] = [token for out in outputs for token in out.token_ids]
    logp[mask] = [value for out in outputs for value in out.logprobs.logprobs]
    return Completions(
        tokens=torch.from_numpy(tokens),
        response_mask=torch.from_numpy(mask),
        logp_sampler=torch.from_numpy(logp),
        finished=torch.tensor([out.finish_reason == "stop" for out in outputs], dtype=torch.bool),
    )


def seed_of(key: int) -> int:
    """Return vLLM's seed for a request's 64-bit key: its lower 63 bits.

    vLLM takes -1 for "no seed" and stores seeds as signed words. torch's CPU generator uses the
    lower 32 bits of these alone; two of 2,048 responses then share a stream once in 2,000
    rollouts, and only two of the same prompt could show it.
    """
    return int(key) & 0x7FFF_FFFF_FFFF_FFFF


# -- The probe -----------------------------------------------------------------------------------
# A version number says which weights a sampler was sent; the probe checks which weights it has. It
# finds weights that never arrived, arrived in the wrong place, or were not taken over (a tied
# head's packed copy), and keys and values that outlived the weights they were computed with. It
# cannot find an update smaller than the sampler's own rounding: about 1e-5 nats in float32, but
# 0.1 in bfloat16, where one step of learning rate 5e-7 may move less. A skipped sync is found by
# the version numbers.

# vLLM keeps a prompt's keys and values in blocks: of 16 tokens on a GPU, of 128 on a CPU.
_PROBE_TOKENS = 160
_FLOAT32_TOLERANCE = 1e-3
# In bfloat16 two right engines of 24 layers differ on random tokens by 0.02 to 0.06 nats on average
# and by 0.2 at most, and a wrong one by more than 1 on average. So the mean is judged: by the gap
# of the first sync, which is bounded itself; the largest of a few hundred tokens says little.
_FIRST_BFLOAT16_TOLERANCE = 0.5
_BFLOAT16_FLOOR, _BFLOAT16_GROWTH = 0.05, 3.0
# What reads the prefix cache is a few tokens, whose mean varies more; with keys and values of other
# weights it is 2 nats.
_CACHED_FACTOR = 5.0


class ProbeGap(NamedTuple):
    """How far a sampler's log-probabilities are from the trainer's, in nats.

    Mean and largest gap of all tokens, and the mean of those that read the prefix cache.
    """

    mean: float
    largest: float
    cached: float


def probe_prompts(
    vocabulary: int, max_model_len: int, *, seed: int = 0, count: int = 3
) -> list[tuple[int, ...]]:
    """Return token sequences of one length, the same for the same arguments.

    They are longer than a block of the prefix cache where the model's length allows it.

    >>> [len(prompt) for prompt in probe_prompts(50, 64)]
    [63, 63, 63]
    """
    length = min(_PROBE_TOKENS, max_model_len - 1)
    draws = generator("probe", seed).integers(0, vocabulary, (count, length))
    return [tuple(row) for row in draws.tolist()]


def probe_gap(
    sampler: VLLMSampler, logp_of: Callable[[Tensor], Tensor], prompts: Sequence[Sequence[int]]
) -> ProbeGap:
    """Return the gap in nats between a sampler's and the trainer's log-probabilities.

    Two things are compared: the log-probabilities of the prompts' own tokens, computed anew, and
    that of one greedy token after each, which reads the prefix cache. A gap that is not a number
    counts as infinite.

    Args:
        sampler: used at the policy version that it holds.
        logp_of: the trainer's function: token rows (B x L, int64) to the log-probabilities at
            temperature 1 of all tokens but the first, given those before (B x (L - 1)).
        prompts: of one length, as ``probe_prompts`` makes them.

    """
    given = torch.stack([sampler.logprobs(prompt) for prompt in prompts])
    greedy = sampler.sample(
        [SamplingRequest(tuple(p), int(stream_key("probe", i))) for i, p in enumerate(prompts)],
        temperature=0.0,
        max_new_tokens=1,
        policy_version=sampler.policy_version,
    )
    logp_sampler = torch.cat([given, greedy.logp_sampler.cpu()], dim=1)
    rows = torch.cat([torch.tensor(prompts), greedy.tokens.cpu()], dim=1)
    logp_trainer = logp_of(rows).detach().float().cpu()
    gaps = (logp_sampler - logp_trainer).abs().nan_to_num(nan=float("inf"))
    return ProbeGap(float(gaps.mean()), float(gaps.max()), float(gaps[:, -1].mean()))


def probe_tolerance(
    dtype: torch.dtype, asked: float | None = None, first_mean: float | None = None
) -> float:
    """Return the largest mean gap allowed, in nats: the setting, or what fits the dtype.

    ``first_mean`` is the mean gap after the first sync; None before it.
    """
    if asked is not None:
        return asked
    if dtype == torch.float32:
        return _FLOAT32_TOLERANCE
    if first_mean is None:
        return _FIRST_BFLOAT16_TOLERANCE
    return max(_BFLOAT16_GROWTH * first_mean, _BFLOAT16_FLOOR)


def check_probe(gap: ProbeGap, tolerance: float, peer: str) -> None:
    """Refuse a sampler that does not agree with the trainer.

    Raises:
        StaleWeightsError: a mean gap exceeds ``tolerance``, or its multiple that holds for what
            reads the prefix cache; names ``peer``.

    """
    for mean, allowed in ((gap.mean, tolerance), (gap.cached, _CACHED_FACTOR * tolerance)):
        if not mean <= allowed:
            raise StaleWeightsError(
                f"{peer}: its log-probabilities differ from the trainer's by {mean:.3g} nats on "
                f"average, more than the {allowed:.3g} of sampler.probe_tolerance; it does not "
                "hold the weights that were synced"
            )
