"""A vLLM engine (0.32) in this process: the one file that imports vllm.

Its side effects on the process are undone, and ranks that share an engine merge their requests.
"""

from __future__ import annotations

import os
import platform
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from entropy_mech.errors import UserError
from entropy_mech.sampling.sampler import SamplerError

if TYPE_CHECKING:
    from vllm.outputs import CompletionOutput

# -- Undoing side effects on the process ---------------------------------------------------------


@contextmanager
def contained() -> Iterator[None]:
    """Put back, at the end, the global generators, the thread count and the means to set it.

    vLLM seeds the generators of Python, NumPy and torch, and its CPU build replaces
    ``torch.set_num_threads`` by a function that does nothing. Two functions of
    ``torch.accelerator`` stay replaced: its engine goes on needing that, and without an
    accelerator they can but raise.
    """
    threads = torch.get_num_threads()
    # NumPy's global generator: not one of ours, but vLLM seeds it.
    numpy_state = np.random.get_state()  # noqa: NPY002
    states = random.getstate(), torch.get_rng_state()
    gpu_states = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    set_num_threads = torch.set_num_threads
    grad, dtype = torch.is_grad_enabled(), torch.get_default_dtype()
    try:
        yield
    finally:
        torch.set_num_threads = set_num_threads
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        torch.set_grad_enabled(grad)
        torch.set_default_dtype(dtype)
        random.setstate(states[0])
        np.random.set_state(numpy_state)  # noqa: NPY002
        torch.set_rng_state(states[1])
        if gpu_states:
            torch.cuda.set_rng_state_all(gpu_states)


@contextmanager
def keeping_process_group() -> Iterator[None]:
    """Let nobody destroy the default process group: vLLM's shutdown does, and it is the trainer's.

    Groups that vLLM made for itself are destroyed all the same.
    """
    destroy = dist.destroy_process_group
    dist.destroy_process_group = lambda group=None: None if group is None else destroy(group)
    try:
        yield
    finally:
        dist.destroy_process_group = destroy


# -- Ranks that share an engine ------------------------------------------------------------------


class Shares:
    """All requests of the ranks of this one's engine, and which of them are its own.

    The ranks of an engine step through it together, so each must give it the requests of all.
    With an engine to itself, or without a process group, a rank's own requests are all.
    """

    def __init__(
        self,
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[int],
        *,
        group: dist.ProcessGroup | None,
    ):
        parts = [(prompts, seeds)]
        self._rank = 0
        if group is not None:
            parts = [None] * dist.get_world_size(group)
            dist.all_gather_object(parts, (list(prompts), list(seeds)), group=group)
            self._rank = dist.get_rank(group)
        self.prompts = [prompt for part in parts for prompt in part[0]]
        self.seeds = [seed for part in parts for seed in part[1]]
        start = sum(len(part[0]) for part in parts[: self._rank])
        self._own = slice(start, start + len(prompts))

    def own(self, place: int) -> int | None:
        """Return a request's place among this rank's own; None for another rank's."""
        return place - self._own.start if self._own.start <= place < self._own.stop else None


def engine_group(ranks_an_engine: int) -> dist.ProcessGroup | None:
    """Return the group of this rank's engine; None where an engine has one rank.

    A collective call: all ranks make it.
    """
    if ranks_an_engine == 1 or not dist.is_initialized() or dist.get_world_size() == 1:
        return None
    mine = None
    for first in range(0, dist.get_world_size(), ranks_an_engine):
        ranks = list(range(first, first + ranks_an_engine))
        group = dist.new_group(ranks, backend="gloo")
        if dist.get_rank() in ranks:
            mine = group
    return mine


# -- What goes in and comes out ------------------------------------------------------------------


@dataclass(frozen=True)
class EngineSettings:
    """What an engine is started with.

    Attributes:
        model_folder: folder or hub id in Hugging Face format, as the engine's host sees it.
        dtype: ``float32`` or ``bfloat16``.
        max_model_len: tokens of the longest prompt and response together.
        max_num_batched_tokens: tokens of one step of the engine.
        policy_version: optimizer steps behind the weights in ``model_folder``.
        revision: of a hub id: the commit that the trainer has loaded; of a folder, nothing.

    """

    model_folder: str
    dtype: str
    max_model_len: int
    seed: int
    eos_token: int
    tensor_parallel: int
    gpu_memory_fraction: float
    max_sequences: int
    max_num_batched_tokens: int
    enforce_eager: bool
    policy_version: int
    revision: str | None = None


@dataclass(frozen=True)
class Sampled:
    """Responses end to end.

    Attributes:
        tokens: N, int64, those of the first response, then of the second, ...
        logp: N, float32, nats, at the sampling temperature.
        lengths: B, int64, tokens of each response.
        finished: B, bool.
        policy_version: of the weights that the engine holds.

    """

    tokens: np.ndarray
    logp: np.ndarray
    lengths: np.ndarray
    finished: np.ndarray
    policy_version: int | None


@contextmanager
def naming(name: str, what: str) -> Iterator[None]:
    """Turn whatever is raised inside into one line: which engine, and what it was doing."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise SamplerError(f"{name}: {what} failed: {last_line(error)}") from error


def this_process() -> str:
    """Return how messages name this process."""
    return f"pid {os.getpid()} on {platform.node()}"


def last_line(error: BaseException) -> str:
    """Return an error's kind and the last line of its message, for a message of one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[-1].strip()}" if lines else type(error).__name__


# -- The engine ----------------------------------------------------------------------------------

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


class VLLMEngine:
    """A vLLM engine in this process. Every method raises SamplerError where the engine fails.

    In a process group of several ranks, each has one; with ``tensor_parallel`` N, ranks kN to
    kN + N - 1 hold one engine between them and must make the same calls at the same time.

    Raises:
        SamplerError: vLLM cannot start.

    """

    def __init__(self, settings: EngineSettings):
        self.settings = settings
        self.name = f"the vLLM engine of {this_process()}"
        self.policy_version: int | None = None
        self._awake = self._whole = True
        self._is_guest = torch.distributed.is_initialized()  # in the trainer's process group
        with contained(), naming(self.name, "start"):
            self._llm = _start(settings)
            self._group = engine_group(settings.tensor_parallel)
        self._sleeps = self._llm.model_config.enable_sleep_mode
        # What the model's shape does not allow shows only when it is run.
        self.logprobs([settings.eos_token, settings.eos_token], timeout_s=_FIRST_STEP_S)
        self.policy_version = settings.policy_version

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[int],
        *,
        temperature: float,
        max_new_tokens: int,
        timeout_s: float,
    ) -> Sampled:
        """Sample a response a prompt, in their order."""
        parts = self.stream(
            prompts,
            seeds,
            temperature=temperature,
            max_new_tokens=max_new_tokens,
            timeout_s=timeout_s,
        )
        done = dict(chain.from_iterable(parts))
        return self.packed([done[place] for place in range(len(prompts))])

    def stream(
        self,
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[int],
        *,
        temperature: float,
        max_new_tokens: int,
        timeout_s: float,
    ) -> Iterator[list[tuple[int, CompletionOutput]]]:
        """Yield what has finished after each step: places among the prompts, and vLLM's outputs.

        The ranks of one engine must ask together, and each must take all that is yielded.
        """
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        def parameters(seed: int) -> SamplingParams:
            return SamplingParams(
                temperature=temperature,
                seed=seed,
                max_tokens=max_new_tokens,
                # Only the tokenizer's own end ends a response, as with the trainer's sampler; the
                # folder's generation_config may name further ones.
                ignore_eos=True,
                stop_token_ids=[self.settings.eos_token],
                logprobs=0,
                flat_logprobs=True,
                detokenize=False,
                output_kind=RequestOutputKind.FINAL_ONLY,
            )

        with naming(self.name, "sampling"):
            shares = Shares(prompts, seeds, group=self._group)
            steps = self._run(
                shares.prompts, [parameters(seed) for seed in shares.seeds], timeout_s
            )
            for outputs in steps:
                mine = ((shares.own(place), output.outputs[0]) for place, output in outputs)
                if done := [(place, output) for place, output in mine if place is not None]:
                    yield done

    def packed(self, outputs: Sequence[CompletionOutput]) -> Sampled:
        """Return vLLM's outputs end to end."""
        return Sampled(
            tokens=np.array([t for out in outputs for t in out.token_ids], dtype=np.int64),
            logp=np.array([p for out in outputs for p in out.logprobs.logprobs], dtype=np.float32),
            lengths=np.array([len(out.token_ids) for out in outputs], dtype=np.int64),
            finished=np.array([out.finish_reason == "stop" for out in outputs], dtype=bool),
            policy_version=self.policy_version,
        )

    def logprobs(self, tokens: Sequence[int], *, timeout_s: float) -> np.ndarray:
        """Return the log-probability at temperature 1 of each token but the first."""
        from vllm import SamplingParams

        ask = SamplingParams(
            temperature=1.0, seed=0, max_tokens=1, prompt_logprobs=0, flat_logprobs=True,
            detokenize=False,
        )  # fmt: skip
        with naming(self.name, "log-probabilities"):
            ((_, output),) = (
                done for step in self._run([tokens], [ask], timeout_s) for done in step
            )
            return np.array(output.prompt_logprobs.logprobs, dtype=np.float32)

    def load(
        self, weights: Iterable[tuple[str, Tensor]], *, policy_version: int, timeout_s: float
    ) -> None:
        """Take new weights straight from the trainer's tensors."""
        self._renew("take_weights", weights, timeout_s)
        self.policy_version = policy_version

    def sleep(self) -> None:
        """Give the GPU's memory back; on a CPU only the weights' version is forgotten."""
        self.policy_version, self._awake = None, False
        if self._sleeps:
            with contained(), naming(self.name, "going to sleep"):
                self._llm.sleep(level=2)

    def wake(self) -> None:
        """Take the memory of the weights again; the next load takes the cache's."""
        self._awake = True
        if self._sleeps:
            with contained(), naming(self.name, "waking up"):
                self._llm.wake_up(tags=["weights"])

    def close(self) -> None:
        """End the engine; a process group that was there before stays."""
        if self._llm is not None:
            with keeping_process_group() if self._is_guest else nullcontext():
                self._llm.llm_engine.engine_core.shutdown()
        self._llm = None
        self.policy_version = None

    def _renew(self, method: str, argument: object, timeout_s: float) -> list:
        if not self._awake:
            raise SamplerError(f"{self.name}: asleep; wake it before it takes weights")
        self._require_whole()
        self.policy_version, self._whole = None, False  # until all of it has arrived
        with contained(), naming(self.name, "taking weights"):
            results = self._llm.collective_rpc(method, timeout=timeout_s, args=(argument,))
            if self._sleeps:
                self._llm.wake_up(tags=["kv_cache"])
            # Keys and values of the old weights must not serve prompts of the new ones.
            if not self._llm.reset_prefix_cache():
                raise SamplerError(
                    f"{self.name}: its prefix cache was in use during a sync and could not be "
                    "emptied"
                )
        self._whole = True
        return results

    def _require_whole(self) -> None:
        # vLLM takes its layers apart to load them, and cannot go back in the middle of it.
        if not self._whole:
            raise SamplerError(f"{self.name}: its last sync broke off half way; start it anew")

    def _run(self, prompts, parameters, timeout_s: float) -> Iterator[list[tuple[int, Any]]]:
        """Yield (place, vLLM's output) of the prompts that finished, step by step.

        Whoever stops asking leaves no request behind.
        """
        self._require_whole()
        deadline = time.monotonic() + timeout_s
        engine = self._llm.llm_engine
        with contained():
            ids = self._llm.enqueue(
                [{"prompt_token_ids": list(prompt)} for prompt in prompts],
                parameters,
                use_tqdm=False,
            )
        # Its own names are those that outputs bear, a dash and random characters.
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


def _start(settings: EngineSettings):
    """Return vLLM's LLM for the settings, loaded."""
    os.environ.update(_ENVIRONMENT)
    from vllm import LLM
    from vllm.platforms import current_platform

    cpu = current_platform.is_cpu()
    ranks = torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1
    only_here = {
        # A prompt read in two steps takes vLLM's CPU build down where requests have seeds.
        "enable_chunked_prefill": False,
        "kv_cache_memory_bytes": _CPU_CACHE_BYTES,
    }
    return LLM(
        settings.model_folder,
        revision=settings.revision,
        skip_tokenizer_init=True,
        dtype=settings.dtype,
        seed=settings.seed,
        max_model_len=settings.max_model_len,
        max_num_seqs=settings.max_sequences,
        max_num_batched_tokens=settings.max_num_batched_tokens,
        tensor_parallel_size=settings.tensor_parallel,
        gpu_memory_utilization=settings.gpu_memory_fraction,
        enforce_eager=settings.enforce_eager or cpu,
        enable_sleep_mode=not cpu,
        # Sampled from and recorded are the same distribution: after the temperature.
        logprobs_mode="processed_logprobs",
        generation_config="vllm",
        enable_prefix_caching=True,
        worker_extension_cls=f"{WeightReceiver.__module__}.{WeightReceiver.__qualname__}",
        disable_log_stats=True,
        use_tqdm_on_load=False,
        **({"distributed_executor_backend": "external_launcher"} if ranks else {}),
        **(only_here if cpu else {}),
    )
