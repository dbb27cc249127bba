"""Who answers in an evaluation: the model itself, or vLLM engines on all GPUs of this host."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

from entropy_mech.errors import UserError, bad_value, unknown_name
from entropy_mech.evaluation.models import FoundModel
from entropy_mech.problems.benchmark_sets import BenchmarkSet
from entropy_mech.rollout.sampler import Sampler
from entropy_mech.rollout.torch_sampler import TorchSampler
from entropy_mech.train.config.sampler import VLLMSamplerConfig
from entropy_mech.train.models import load_pretrained, load_without_weights, positions_of

KINDS = ("auto", "torch", "vllm")
# Sequences handed over at once, after which they are saved. vLLM keeps as many as fit its cache
# going and needs a long queue for that.
BATCH_SIZE = {"torch": 64, "vllm": 1024}
_BATCH_TIMEOUT_S = 6 * 3600.0


@dataclass(frozen=True)
class OpenSampler:
    """A model that can be asked.

    Attributes:
        sampler: of the model's own weights, policy version 0.
        tokenizer: of the model.
        kind: ``torch`` or ``vllm``.
        batch_size: sequences that are best handed over at once.

    """

    sampler: Sampler
    tokenizer: PreTrainedTokenizerBase
    kind: str

    @property
    def batch_size(self) -> int:
        return BATCH_SIZE[self.kind]


@contextmanager
def open_sampler(
    found: FoundModel, sets: Sequence[BenchmarkSet], *, kind: str = "auto", tensor_parallel: int = 1
) -> Iterator[OpenSampler]:
    """Load a model for the problems of ``sets``; engines end with the block.

    Args:
        found: the model.
        sets: what it will be asked.
        kind: ``torch`` samples in this process, on a GPU where there is one; ``vllm`` with
            engines, one for every ``tensor_parallel`` GPUs of this host (on a CPU: one).
            ``auto`` is ``vllm`` where there are a GPU and vLLM and the model is no toy's.
        tensor_parallel: GPUs that an engine's weights are split over.

    Raises:
        UserError: the model cannot be loaded, has too few positions for the longest prompt and
            response, or the kind asked for cannot be had.

    """
    chosen = _chosen(kind, found)
    if found.threads:
        torch.set_num_threads(found.threads)
    if chosen == "torch":
        model, tokenizer = load_pretrained(found.place, found.revision)
        _longest(sets, tokenizer, positions_of(model.config))
        if torch.cuda.is_available() and not found.toy:
            model = model.to("cuda")
        yield OpenSampler(TorchSampler(model, **_special_tokens(tokenizer)), tokenizer, chosen)
        return
    from entropy_mech.rollout.vllm_sampler import VLLMSampler

    config, tokenizer = load_without_weights(found.place, found.revision)
    with VLLMSampler(
        found.place,
        VLLMSamplerConfig(
            placement="separate",
            engines=_engines(tensor_parallel),
            tensor_parallel=tensor_parallel,
            gpu_memory_fraction=0.9,
            sample_timeout_s=_BATCH_TIMEOUT_S,
        ),
        **_special_tokens(tokenizer),
        dtype=torch.float32 if config.dtype == torch.float32 else torch.bfloat16,
        max_model_len=_longest(sets, tokenizer, positions_of(config)),
        seed=0,  # each response has a stream of its own
        revision=found.revision,
    ) as sampler:
        yield OpenSampler(sampler, tokenizer, chosen)


def _chosen(kind: str, found: FoundModel) -> str:
    if kind not in KINDS:
        raise unknown_name("--sampler", kind, KINDS)
    installed = importlib.util.find_spec("vllm") is not None
    if kind == "vllm" and not installed:
        raise UserError(
            "--sampler = vllm: vLLM is not installed; pip install 'entropy-mech[gpu]', or make "
            "stack in a clone"
        )
    if kind != "auto":
        return kind
    return "vllm" if installed and torch.cuda.is_available() and not found.toy else "torch"


def _engines(tensor_parallel: int) -> int:
    gpus = torch.cuda.device_count()
    if tensor_parallel > max(gpus, 1):
        raise bad_value(
            "--tensor-parallel",
            tensor_parallel,
            f"there are {gpus} GPUs here; give as many or less",
        )
    return max(gpus // tensor_parallel, 1)


def _special_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    return {"pad_token": tokenizer.pad_token_id, "eos_token": tokenizer.eos_token_id}


def _longest(
    sets: Sequence[BenchmarkSet], tokenizer: PreTrainedTokenizerBase, positions: int | None
) -> int:
    """Return the tokens of the longest prompt and response together.

    Raises:
        UserError: the model has fewer positions.

    """
    longest = 0
    for one in sets:
        prompts = tokenizer([problem.prompt for problem in one.problems])["input_ids"]
        room = max(map(len, prompts)) + one.protocol.max_new_tokens
        if positions and room > positions:
            raise bad_value(
                "--max-new-tokens",
                one.protocol.max_new_tokens,
                f"with a prompt of {one.name} that makes {room} tokens, and the model has "
                f"{positions} positions; give {positions - room + one.protocol.max_new_tokens} "
                "or less",
            )
        longest = max(longest, room)
    return longest
