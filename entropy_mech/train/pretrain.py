"""What a run starts from: base models made by supervised stages, and policies that are loaded."""

from __future__ import annotations

import importlib.util
import io
import itertools
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from entropy_mech.config import (
    BaseModelConfig,
    EngineConfig,
    ModelConfig,
    TrainConfig,
    UpdateConfig,
)
from entropy_mech.config.files import base_model_id
from entropy_mech.config.run import TOY_POSITIONS
from entropy_mech.errors import UserError, bad_value
from entropy_mech.problems.grading import grade_many
from entropy_mech.problems.toy import ALPHABET, TOYS, ArithmeticProblem, character_tokenizer
from entropy_mech.random_streams import generator, stream_key
from entropy_mech.runs.store import (
    RunStore,
    atomic_write,
    base_model_folder,
    environment,
    file_sha256,
    folder_lock,
    kept_base_models,
    read_json,
    write_json,
)
from entropy_mech.sampling.sampler import requests_of, response_texts, special_tokens
from entropy_mech.sampling.torch_sampler import TorchSampler
from entropy_mech.train.distributed import Ranks
from entropy_mech.train.engine import Engine
from entropy_mech.train.policy import PackedRows, can_pack, pack
from entropy_mech.train.pretrained import (
    SOURCE,
    check_token_ids,
    embedding_rows,
    hub_commit,
    in_hugging_face_format,
    load_pretrained,
    loading,
    refuse_broken,
    source_of,
)
from entropy_mech.train.tasks import Prompts

# -- Packed supervised texts ---------------------------------------------------------------------

IGNORED = -100


def pack_texts(
    texts: Sequence[tuple[Sequence[int], Sequence[int]]], *, eos_token_id: int
) -> tuple[PackedRows, Tensor]:
    """Pack (prompt, answer) token lists; return the rows and, R x C, what each position predicts.

    Position i of a text predicts its token i + 1, its last one the end; what is predicted inside
    a prompt, and by nothing, is ``IGNORED``.

    >>> pack_texts([([3, 4], [5]), ([3], [6])], eos_token_id=1)[1].tolist()
    [[-100, 5, 1], [6, 1, -100]]
    """
    lengths = torch.tensor([len(prompt) + len(answer) for prompt, answer in texts])
    input_ids = torch.zeros(len(texts), int(lengths.max()), dtype=torch.long)
    for row, (prompt, answer) in enumerate(texts):
        input_ids[row, : lengths[row]] = torch.tensor([*prompt, *answer])
    packed = pack(input_ids, lengths)
    targets = torch.full_like(packed.input_ids, IGNORED)
    for (prompt, answer), row, start in zip(texts, packed.row, packed.start, strict=True):
        first = start + len(prompt) - 1
        targets[row, first : first + len(answer) + 1] = torch.tensor([*answer, eos_token_id])
    return packed, targets


# -- Base models ---------------------------------------------------------------------------------

_STATUS_EVERY, _LOSS_EVERY, _SAVE_EVERY = 25, 100, 500
_WARMUP_STEPS = 100
# The width whose learning rate the configuration gives; a wider model takes smaller steps.
_WIDTH = 32
Pair = tuple[str, str]
Report = Callable[[int, int], None]  # told the steps done, and how many there are


def _nobody(done: int, total: int) -> None:
    pass


def base_model(store: Path, config: TrainConfig) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Load the base model of a configuration from the run store, training it if absent."""
    return _loaded(prepare_base_model(store, config))


def prepare_base_model(
    store: Path, config: TrainConfig, folder: Path | None = None, report: Report = _nobody
) -> Path:
    """Make what a run starts from unless it is there, and return its folder.

    That is a toy's base model, or an earlier run's policy that ``start`` changes. An instruct
    model is made from its base model, which is made first. Two processes that ask at once wait for
    one another; the folder appears complete or not at all. Progress goes to
    ``<folder>.status.json``, and a process that was stopped is gone on from: the same model
    results, to the last bit.
    """
    folder = folder or base_model_folder(RunStore(Path(store)), config)
    if not folder.exists():
        with folder_lock(folder.with_suffix(".lock")):
            if not folder.exists():
                torch.set_num_threads(config.threads)
                _make(folder, config, store, report)
    return folder


def keep_base_model(name: str, config: TrainConfig, store: Path, report: Report = _nobody) -> Path:
    """Train a base model unless the store has it, and put it into the tree with a manifest.

    The manifest has what it is, how it came about and what it can do. What lies there already
    under this name is replaced.
    """
    folder = Path(store) / "base_models" / base_model_id(config)
    made = prepare_base_model(store, config, folder, report)
    model, tokenizer = _loaded(made)
    manifest = {
        "name": name,
        "id": made.name,
        "command": f"entropy-mech pretrain {name}",
        "configuration": config.model_dump(mode="json", include={"model", "base"}),
        "parameters": sum(p.numel() for p in model.parameters()),
        "parameters_without_embedding": sum(
            p.numel() for p in model.base_model.layers.parameters()
        ),
        "sha256": file_sha256(made / "model.safetensors"),
        **read_json(made / "training.json"),
        "measured": {
            domain: measured(model, tokenizer, domain, config.base.level_shares) for domain in TOYS
        },
        **environment(),
    }
    kept = kept_base_models() / f"{name}-{made.name}"
    kept.parent.mkdir(exist_ok=True)
    with atomic_write(kept) as temporary:
        shutil.copytree(made, temporary, ignore=shutil.ignore_patterns("training.json"))
        write_json(temporary / "manifest.json", manifest)
    for old in kept.parent.glob(f"{name}-*"):
        if old != kept:
            shutil.rmtree(old)
    return kept


# Held-out problems of a level that say what a base model can do; of one step there are few.
_MEASURED, _MEASURED_OF_ONE_STEP = 200, 60


def measured(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    domain: str,
    level_shares: Mapping[int, float],
) -> dict[str, Any]:
    """Return the accuracy and entropy at temperature 1, by level, on held-out problems."""
    sampler = TorchSampler(model, **special_tokens(tokenizer), keep_entropy=True)
    by_level = {}
    for level in sorted(level_shares):
        count = _MEASURED if level > 1 else _MEASURED_OF_ONE_STEP
        asked = TOYS[domain].validation_set(0, {level: count})
        keys = stream_key("base model", level, np.arange(count))
        prompts = tokenizer([problem.prompt for problem in asked])["input_ids"]
        out = sampler.sample(
            requests_of(prompts, keys),
            temperature=1.0,
            max_new_tokens=TOY_POSITIONS - max(map(len, prompts)),
        )
        mask = out.response_mask
        verdicts = grade_many(asked, response_texts(tokenizer, out.tokens, mask))
        by_level[str(level)] = {
            "problems": count,
            "accuracy": round(sum(v.name == "correct" for v in verdicts) / count, 4),
            "entropy_nats": round(out.entropy[mask].mean().item(), 4),
        }
    return by_level


def _loaded(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model.eval(), PreTrainedTokenizerFast.from_pretrained(folder)


@dataclass(frozen=True)
class Stage:
    """One supervised stage. ``number`` names its demonstrations."""

    number: int
    steps: int
    learning_rate: float
    error_fraction: float = 0.0
    code_error_fraction: float = 0.0
    slip_fraction: float = 0.0


def stages(base: BaseModelConfig) -> list[Stage]:
    """Return what is done to make a base model, or of a model that exists one that has a form."""
    if base.form is not None:
        return [Stage(3, base.form.steps, base.form.learning_rate)]
    if base.instruct is not None:
        return [Stage(2, **base.instruct.model_dump())]
    noise = (base.error_fraction, base.code_error_fraction, base.slip_fraction)
    return [
        Stage(0, base.steps, base.learning_rate),
        Stage(1, base.noisy_steps, base.noisy_learning_rate, *noise),
    ]


def _make(folder: Path, config: TrainConfig, store: Path, report: Report) -> None:
    if config.start is not None:
        _save_model(folder, *changed_policy(config, store))
        return
    source: dict[str, Any] = {}
    if config.base.form is not None:
        place, model, tokenizer = _pretrained(config, store)
        path, revision = config.model.path, config.model.revision
        if not can_pack(model):
            fix = f"demonstrations cannot be packed for {type(model).__name__}; leave base.form out"
            raise bad_value("model.path", path, fix)
        source = source_of(place) or {"model": path, "revision": hub_commit(place, revision)}
    elif config.base.instruct is None:
        tokenizer = character_tokenizer(ALPHABET)
        model = _initial_model(config.model, tokenizer, config.base.seed)
    else:
        plain = config.base.model_copy(update={"instruct": None})
        model, tokenizer = base_model(store, config.model_copy(update={"base": plain}))
    status, partial = folder.with_suffix(".status.json"), folder.with_suffix(".partial.pt")

    def tell(done: int, total: int) -> None:
        report(done, total)
        if done % min(_STATUS_EVERY, max(total // 20, 1)) == 0:
            write_json(status, {"stage": "base model", "done": done, "total": total})

    losses = _supervise(model, tokenizer, config, partial, tell)
    _save_model(folder, model, tokenizer, **{"training.json": losses, SOURCE: source})
    status.unlink(missing_ok=True)
    partial.unlink(missing_ok=True)


def _pretrained(
    config: TrainConfig, store: Path
) -> tuple[str, PreTrainedModel, PreTrainedTokenizerBase]:
    """Load the model of a configuration that exists; return where it is, it and its tokenizer."""
    path, revision = config.model.path, config.model.revision
    place = in_hugging_face_format(path, store, field="model.path")
    return place, *load_pretrained(place, revision, field="model.path", dtype=torch.float32)


def _save_model(folder: Path, model, tokenizer, **tables: Mapping[str, Any]) -> None:
    """Write a model's folder in one step, with those tables by file name that are not empty."""
    with atomic_write(folder) as temporary:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        for name, table in tables.items():
            if table:
                write_json(temporary / name, table)


def changed_policy(
    config: TrainConfig, store: Path
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Return the policy that a run starts from: an earlier run's, changed as ``start`` says.

    Raises:
        UserError: the earlier run has no policy after just so many steps, or the model no norm
            before its head.

    """
    start, earlier = config.start, RunStore(store).run(config.earlier)
    place = earlier.model_path(earlier.config.steps)
    if not place.is_dir():
        raise UserError(
            f"start.run: run {earlier.path.name} has no policy after its step "
            f"{earlier.config.steps}; train it first, for just so many steps"
        )
    model, tokenizer = _loaded(place)
    with torch.no_grad():
        if start.base_share:
            base = _base_weights(config, store)
            for name, weight in model.named_parameters():  # a tied head once
                weight.lerp_(base[name], start.base_share)
        if start.temperature != 1.0:
            norm = getattr(model.base_model, "norm", None)
            if norm is None:
                fix = "this model has no norm before its head; give base_share in its place"
                raise bad_value("start.temperature", start.temperature, fix)
            norm.weight.div_(start.temperature)
    return model, tokenizer


def _base_weights(config: TrainConfig, store: Path) -> dict[str, Tensor]:
    plain = config.model_copy(update={"start": None})
    if plain.makes_base_model:
        return base_model(store, plain)[0].state_dict()
    return _pretrained(config, store)[1].state_dict()


def _initial_model(
    config: ModelConfig, tokenizer: PreTrainedTokenizerFast, seed: int
) -> PreTrainedModel:
    architecture = AutoConfig.for_model(
        config.family,
        vocab_size=len(tokenizer),
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.kv_heads,
        head_dim=config.hidden_size // config.heads,
        initializer_range=config.initializer_range,
        max_position_embeddings=TOY_POSITIONS,
        tie_word_embeddings=True,
        attention_dropout=0.0,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        dtype="float32",
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(architecture)


def demonstrations(base: BaseModelConfig, stage: Stage, step: int) -> list[Pair]:
    """Return the (prompt, answer) pairs of one step, a function of the seed, stage and step."""
    rng = generator("demonstrations", base.seed, stage.number, step)
    if base.form is not None:
        asked = itertools.islice(
            ArithmeticProblem.training(rng, base.level_shares), base.batch_size
        )
        return [(one.prompt, one.demonstrate(rng, base.form.direct_fraction)) for one in asked]
    code = round(base.batch_size * base.code_fraction)
    counts = {"maths": base.batch_size - code, "code": code}
    errors = {"maths": stage.error_fraction, "code": stage.code_error_fraction}
    return [
        (problem.prompt, problem.demonstrate(rng, errors[domain], stage.slip_fraction))
        for domain, count in counts.items()
        for problem in itertools.islice(TOYS[domain].training(rng, base.level_shares), count)
    ]


def _supervise(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    config: TrainConfig,
    partial: Path,
    report: Report,
) -> dict[str, Any]:
    """Minimise the cross-entropy of the demonstrations' answers, stage by stage.

    Returns the mean losses, in nats a token, of every hundred steps. ``partial`` is gone on from.
    """
    every = stages(config.base)
    total = sum(stage.steps for stage in every)
    saved = torch.load(partial, weights_only=True) if partial.exists() else None
    at = (saved["stage"], saved["step"]) if saved else (every[0].number, 0)
    losses: list[float] = saved["losses"] if saved else []
    model.train()
    for stage in (stage for stage in every if stage.number >= at[0]):
        optimizer, schedule = _optimizer(model, stage, constant=config.base.form is not None)
        parts = {"model": model, "optimizer": optimizer, "schedule": schedule}
        if saved and stage.number == at[0]:
            for name, part in parts.items():
                part.load_state_dict(saved[name])
        for step in range(at[1] if stage.number == at[0] else 0, stage.steps):
            loss = _mean_cross_entropy(model, tokenizer, demonstrations(config.base, stage, step))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            schedule.step()
            losses.append(loss.item())
            report(len(losses), total)
            if (step + 1) % _SAVE_EVERY == 0:
                state = {name: part.state_dict() for name, part in parts.items()}
                _save(partial, state | {"stage": stage.number, "step": step + 1, "losses": losses})
    model.eval()
    hundreds = range(0, len(losses), _LOSS_EVERY)
    means = [float(np.mean(losses[i : i + _LOSS_EVERY])) for i in hundreds]
    return {"steps": _LOSS_EVERY, "mean_loss_nats": means}


def _save(path: Path, state: dict[str, Any]) -> None:
    # Of a full disk torch says "unexpected pos"; a file that Python writes says what it is.
    torch.save(state, data := io.BytesIO())
    with atomic_write(path) as temporary:
        temporary.write_bytes(data.getbuffer())


def _optimizer(model: PreTrainedModel, stage: Stage, *, constant: bool):
    """Return AdamW, and its schedule: constant, or a short warm-up, then a cosine to 0."""

    def factor(step: int) -> float:
        if constant:
            return 1.0
        decay = 0.5 * (1 + math.cos(math.pi * step / stage.steps))
        return min(1.0, (step + 1) / _WARMUP_STEPS) * decay

    rate = stage.learning_rate * (1.0 if constant else _WIDTH / model.config.hidden_size)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True
    )
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def _mean_cross_entropy(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Pair]
) -> Tensor:
    """Return the mean over all answer tokens and ends, in nats, of (prompt, answer) texts.

    Most texts are far shorter than the longest: they are packed, and only what is a target
    reaches the head.
    """
    texts = list(itertools.chain.from_iterable(pairs))
    ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
    both = list(zip(ids[::2], ids[1::2], strict=True))
    packed, targets = pack_texts(both, eos_token_id=model.config.eos_token_id)
    hidden = packed.states(model)
    is_target = targets != IGNORED
    logits = model.get_output_embeddings()(hidden[is_target])
    return torch.nn.functional.cross_entropy(logits, targets[is_target])


# -- What a run starts from ----------------------------------------------------------------------


@dataclass(frozen=True)
class LoadedModel:
    """A model, its tokenizer, and where a sampler of another process finds the same.

    Attributes:
        place: folder, or id on the hub.
        revision: the commit on the hub that the weights are of; None for a folder.
        source: package, version and sha256 of a model that was made from an installed package's.

    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    place: str
    revision: str | None = None
    source: dict[str, Any] = field(default_factory=dict)


def load_policy(config: TrainConfig, store: Path, ranks: Ranks | None = None) -> LoadedModel:
    """Return the policy that a run starts from; what has to be made for it, rank 0 makes for all.

    Raises:
        UserError: the model cannot be loaded, or its embedding and head do not fit the trainer.

    """
    ranks = ranks or Ranks()
    place = _starting_point(config, store) if ranks.first else ""
    ranks.meet("the making of the base model")
    place = place or _starting_point(config, store)
    if config.toy:
        with loading(str(place), "base model", "remove that folder, and it is made again"):
            model, tokenizer = base_model(store, config)
            refuse_broken(model, {})
        check_token_ids(tokenizer, embedding_rows(model), str(place), "base model")
        return LoadedModel(model, tokenizer, str(place))
    half = config.engine.kind == "deepspeed" and config.engine.dtype == "bfloat16"
    dtype = torch.bfloat16 if half else torch.float32
    revision = None if Path(place).is_dir() else config.model.revision
    model, tokenizer = load_pretrained(
        place,
        revision,
        field="model.path",
        check=lambda tokenizer: Prompts(tokenizer, config),
        dtype=dtype,
        attn_implementation=attention_kernel(config.engine.attention, dtype),
    )
    if getattr(model, "lm_head", None) is None or model.lm_head.bias is not None:
        raise bad_value("model.path", place, "needs a causal model whose head has no bias")
    return LoadedModel(model, tokenizer, place, hub_commit(place, revision), source_of(place))


def _starting_point(config: TrainConfig, store: Path) -> str:
    """Return the folder or hub id of what a run starts from, made unless it is there."""
    if config.makes_base_model:
        return str(prepare_base_model(store, config))
    return in_hugging_face_format(config.model.path, store, field="model.path")


def attention_kernel(asked: str, dtype: torch.dtype) -> str:
    """Return the attention implementation for ``engine.attention`` and weights of a dtype.

    FlashAttention refuses float32, which the torch engine's weights are, whatever its passes are.
    """
    if asked != "auto":
        return asked
    usable = torch.cuda.is_available() and importlib.util.find_spec("flash_attn") is not None
    return "flash_attention_2" if usable and dtype == torch.bfloat16 else "sdpa"


def build_engine(
    model: PreTrainedModel,
    config: EngineConfig,
    update: UpdateConfig,
    ranks: Ranks,
    **settings: float,
) -> Engine:
    """Return the engine that ``config`` names, around ``model``.

    ``settings`` are the temperature of the policy (1 unless given) and a learning rate in place of
    ``update.learning_rate``.
    """
    if config.kind == "deepspeed":
        from entropy_mech.train.engine_deepspeed import DeepSpeedEngine

        return DeepSpeedEngine(model, config, update, ranks, **settings)
    if ranks.size > 1:
        fix = f'trains in one process, and there are {ranks.size}; give engine.kind = "deepspeed"'
        raise bad_value("engine.kind", "torch", fix)
    return Engine(model, config, update, ranks, **settings)
