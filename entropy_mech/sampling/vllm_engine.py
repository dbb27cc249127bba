"""A vLLM engine (0.32) in this process: the one file that imports vllm.

Its side effects on the process are undone, and ranks that share an engine merge their requests.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from entropy_mech.sampling.engine import EngineSettings, Sampled, SamplerError, naming, this_process
from entropy_mech.sampling.weights import WeightFile

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

    def mine(self, answers: Sequence) -> Sequence:
        """Return the answers to this rank's own requests, in its order."""
        return answers[self._own]


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

    def take_weight_file(self, path: str) -> int:
        """Load a file; return its policy version."""
        file = WeightFile(Path(path))
        self.take_weights(file)
        return file.policy_version

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
    """A vLLM engine in this process (``sampling.engine.Engine``).

    In a process group of several ranks, each has one; with ``tensor_parallel`` N, ranks kN to
    kN + N - 1 hold one engine between them and must make the same calls at the same time.

    Raises:
        SamplerError: vLLM cannot start.

    """

    def __init__(self, settings: EngineSettings, *, name: str = "the engine in this process"):
        self.settings = settings
        self.name = f"{name} ({this_process()})"
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
        stop: Callable[[], bool] = lambda: False,
    ) -> Sampled:
        """Sample a response a prompt; see ``sampling.engine.Engine``.

        ``stop`` is asked between steps; where it says so, sampling ends with SamplerError.
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

        with contained(), naming(self.name, "sampling"):
            asked = Shares(prompts, seeds, group=self._group)
            outputs = self._run(
                asked.prompts, [parameters(seed) for seed in asked.seeds], timeout_s, stop
            )
            mine = [output.outputs[0] for output in asked.mine(outputs)]
        return Sampled(
            tokens=np.array([t for out in mine for t in out.token_ids], dtype=np.int64),
            logp=np.array([p for out in mine for p in out.logprobs.logprobs], dtype=np.float32),
            lengths=np.array([len(out.token_ids) for out in mine], dtype=np.int64),
            finished=np.array([out.finish_reason == "stop" for out in mine], dtype=bool),
            policy_version=self.policy_version,
        )

    def logprobs(self, tokens: Sequence[int], *, timeout_s: float) -> np.ndarray:
        """Return the log-probability at temperature 1 of each token but the first."""
        from vllm import SamplingParams

        ask = SamplingParams(
            temperature=1.0, seed=0, max_tokens=1, prompt_logprobs=0, flat_logprobs=True,
            detokenize=False,
        )  # fmt: skip
        with contained(), naming(self.name, "log-probabilities"):
            (output,) = self._run([tokens], [ask], timeout_s)
            return np.array(output.prompt_logprobs.logprobs, dtype=np.float32)

    def load(
        self, weights: Iterable[tuple[str, Tensor]], *, policy_version: int, timeout_s: float
    ) -> None:
        """Take new weights straight from the trainer's tensors."""
        self._renew("take_weights", weights, timeout_s)
        self.policy_version = policy_version

    def load_file(self, path: Path, *, timeout_s: float) -> None:
        """Take new weights from a file; every worker of the engine maps it."""
        versions = self._renew("take_weight_file", str(path), timeout_s)
        if len(set(versions)) != 1:
            raise SamplerError(f"{self.name}: its workers took different weights: {versions}")
        self.policy_version = versions[0]

    def sleep(self, *, timeout_s: float) -> None:
        """Give the GPU's memory back; on a CPU only the weights' version is forgotten."""
        self.policy_version, self._awake = None, False
        if self._sleeps:
            with contained(), naming(self.name, "going to sleep"):
                self._llm.sleep(level=2)

    def wake(self, *, timeout_s: float) -> None:
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

    def _run(self, prompts, parameters, timeout_s: float, stop=lambda: False) -> list:
        """Return vLLM's output of each prompt, in order."""
        self._require_whole()
        deadline = time.monotonic() + timeout_s
        ids = self._llm.enqueue(
            [{"prompt_token_ids": list(prompt)} for prompt in prompts], parameters, use_tqdm=False
        )
        done: list = []
        engine = self._llm.llm_engine
        while engine.has_unfinished_requests():
            done += engine.step()
            late = time.monotonic() > deadline
            if len(done) < len(ids) and (late or stop()):
                engine.abort_request(ids, internal=True)
                reason = f"not done after {timeout_s:g} s" if late else "nobody waits any more"
                raise SamplerError(
                    f"{self.name}: {reason}, with {len(ids) - len(done)} of {len(ids)} responses "
                    "missing"
                )
        # vLLM numbers requests in the order in which they came.
        return sorted(done, key=lambda output: int(output.request_id))


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
