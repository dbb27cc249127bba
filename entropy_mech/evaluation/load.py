"""The model to evaluate, and its sampler."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from entropy_mech.config import TrainConfig, VLLMSamplerConfig
from entropy_mech.config.files import base_model_id
from entropy_mech.errors import UserError, bad_value, unknown_name
from entropy_mech.problems.benchmarks import BenchmarkSet
from entropy_mech.runs.status import run_or_model
from entropy_mech.runs.store import Run, RunStore
from entropy_mech.sampling.sampler import Sampler, special_tokens
from entropy_mech.sampling.torch_sampler import TorchSampler
from entropy_mech.sampling.vllm_sampler import VLLMSampler
from entropy_mech.train.distributed import Ranks
from entropy_mech.train.pretrain import prepare_base_model
from entropy_mech.train.pretrained import (
    in_hugging_face_format,
    load_pretrained,
    load_without_weights,
    positions_of,
)

# -- The model -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class FoundModel:
    """Where a model's weights and tokenizer are; nothing is loaded yet.

    Attributes:
        place: a folder in Hugging Face format, or a hub id.
        identity: a name that changes when the weights do.
        revision: of a hub id, where a configuration pins one.
        toy: whether it is a toy's, which is always sampled on the CPU.
        threads: of torch, where a run's configuration says how many.

    """

    place: str
    identity: str
    revision: str | None = None
    toy: bool = False
    threads: int | None = None


def find_model(
    name: str, store: RunStore, *, before_training: bool = False, profile: str = "toy"
) -> FoundModel:
    """Return where the model is that a user names.

    ``name`` is a run, as ``runs.status.find_run`` takes it (its id, its folder, its file or the
    name of that, which ``profile`` says where to look for), a folder in Hugging Face format, a
    hub id, or ``pip:PACKAGE``. ``before_training`` takes a run's base model.

    Raises:
        UserError: a run that has no policy yet, or no such run.

    """
    run = run_or_model(name, store=store, profile=profile)
    if run is None:
        if before_training:
            raise bad_value("--before-training", name, "is no run; leave the option out")
        name = in_hugging_face_format(name, store.root)
        place = str(Path(name).resolve()) if Path(name).is_dir() else name
        return FoundModel(name, f"hf-{hashlib.sha256(place.encode()).hexdigest()[:12]}")
    config = run.config
    if not before_training:
        found = newest_policy(run)
        if found is None:
            fix = f"run: entropy-mech train {name}" if name.endswith(".toml") else "train it first"
            raise bad_value("model", name, f"is not trained yet; {fix}")
        return found
    return find_base_model(config, store)


def find_base_model(config: TrainConfig, store: RunStore) -> FoundModel:
    """Return what a run starts from; it is made where that has not been done."""
    identity = f"base-{base_model_id(config)}"
    if config.makes_base_model:
        place = prepare_base_model(store.root, config)
        return FoundModel(str(place), identity, toy=config.toy, threads=config.threads)
    place = in_hugging_face_format(config.model.path, store.root, field="model.path")
    return FoundModel(place, identity, config.model.revision, threads=config.threads)


def newest_policy(run: Run) -> FoundModel | None:
    """Return the newest policy of a run; None where it has none."""
    folder = run.newest_model()
    if folder is None:
        return None
    config = run.config
    identity = f"{run.path.name}-{folder.name}"
    return FoundModel(str(folder), identity, toy=config.toy, threads=config.threads)


# -- The sampler ---------------------------------------------------------------------------------

KINDS = ("auto", "torch", "vllm")
# Sequences that a sampler is handed at once; None for all. vLLM keeps as many as fit its cache
# going, gives each response as it finishes, and so waits for the longest of a queue once.
BATCH_SIZE = {"torch": 64, "vllm": None}
# How long ranks wait for one another, and an engine may take for a queue.
PATIENCE_S = 48 * 3600.0


@dataclass(frozen=True)
class OpenSampler:
    """A loaded model: its sampler and tokenizer.

    Attributes:
        sampler: of the model's own weights, policy version 0.
        tokenizer: of the model.
        kind: ``torch`` or ``vllm``.
        batch_size: sequences that are best handed over at once; None for all.

    """

    sampler: Sampler
    tokenizer: PreTrainedTokenizerBase
    kind: str

    @property
    def batch_size(self) -> int | None:
        return BATCH_SIZE[self.kind]


@contextmanager
def open_sampler(
    found: FoundModel,
    sets: Sequence[BenchmarkSet],
    *,
    kind: str = "auto",
    tensor_parallel: int = 1,
    ranks: Ranks | None = None,
) -> Iterator[OpenSampler]:
    """Load a model for the problems of ``sets`` into this process; an engine ends with the block.

    Args:
        found: the model.
        sets: the benchmarks that it will be measured on.
        kind: ``torch`` samples on this rank's GPU where there is one, ``vllm`` with an engine of
            its own there (or one for every ``tensor_parallel`` ranks). ``auto`` is ``vllm`` where
            there are a GPU and vLLM and the model is no toy's.
        tensor_parallel: GPUs that an engine's weights are split over.
        ranks: the processes that evaluate together.

    Raises:
        UserError: the model cannot be loaded, has too few positions for the longest prompt and
            response, or the kind asked for cannot be had.

    """
    chosen = chosen_kind(kind, found)
    if found.threads:
        torch.set_num_threads(found.threads)
    if chosen == "torch":
        model, tokenizer = load_pretrained(found.place, found.revision)
        _longest(sets, tokenizer, positions_of(model.config))
        if torch.cuda.is_available() and not found.toy:
            model = model.to("cuda")
        yield OpenSampler(TorchSampler(model, **special_tokens(tokenizer)), tokenizer, chosen)
        return
    _check_gpus(tensor_parallel, ranks or Ranks())
    config, tokenizer = load_without_weights(found.place, found.revision)
    sampler = VLLMSampler(
        found.place,
        VLLMSamplerConfig(
            tensor_parallel=tensor_parallel, gpu_memory_fraction=0.9, sample_timeout_s=PATIENCE_S
        ),
        **special_tokens(tokenizer),
        dtype=torch.float32 if config.dtype == torch.float32 else torch.bfloat16,
        max_model_len=_longest(sets, tokenizer, positions_of(config)),
        revision=found.revision,
    )
    with closing(sampler):
        yield OpenSampler(sampler, tokenizer, chosen)


def check_kind(kind: str) -> None:
    """Refuse what is none of ``KINDS``, naming the nearest."""
    if kind not in KINDS:
        raise unknown_name("--sampler", kind, KINDS)


def chosen_kind(kind: str, found: FoundModel) -> str:
    """Return ``torch`` or ``vllm`` for one of ``KINDS``.

    Raises:
        UserError: an unknown kind, or vLLM where it is not installed.

    """
    check_kind(kind)
    installed = importlib.util.find_spec("vllm") is not None
    if kind == "vllm" and not installed:
        raise UserError(
            "--sampler = vllm: vLLM is not installed; pip install 'entropy-mech[gpu]', or make "
            "stack in a clone"
        )
    if kind != "auto":
        return kind
    return "vllm" if installed and torch.cuda.is_available() and not found.toy else "torch"


def _check_gpus(tensor_parallel: int, ranks: Ranks) -> None:
    """Refuse an engine over more GPUs than it can have: the ranks', or of one process the host's.

    Raises:
        UserError: says how many there are.

    """
    gpus = torch.cuda.device_count()
    if ranks.size > 1 and ranks.size % tensor_parallel:
        fix = f"the launcher started {ranks.size} processes; give a number that divides it"
        raise bad_value("--tensor-parallel", tensor_parallel, fix)
    if ranks.size == 1 and tensor_parallel > max(gpus, 1):
        fix = f"there are {gpus} GPUs here; give as many or less"
        raise bad_value("--tensor-parallel", tensor_parallel, fix)


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
