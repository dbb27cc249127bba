"""Toy base models: a short supervised stage on demonstrations, done once and kept."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from entropy_mech.config import BaseModelConfig, InstructConfig, ModelConfig, TrainConfig
from entropy_mech.config.files import base_model_id
from entropy_mech.config.run import TOY_POSITIONS
from entropy_mech.problems.toy import (
    ALPHABET,
    DEFAULT_MODULUS,
    Demonstrations,
    ModularChains,
    character_tokenizer,
)
from entropy_mech.problems.toy_code import CodeDemonstrations, toy_code_stream
from entropy_mech.random_streams import generator
from entropy_mech.runs.store import atomic_write, folder_lock, write_json
from entropy_mech.train.policy import PackedRows, pack

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

_STATUS_EVERY = 25
Pair = tuple[str, str]


def base_model(store: Path, config: TrainConfig) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Load the base model of a configuration from ``store/base_models``, training it if absent."""
    return _loaded(prepare_base_model(store, config))


def _loaded(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model.eval(), PreTrainedTokenizerFast.from_pretrained(folder)


def prepare_base_model(store: Path, config: TrainConfig) -> Path:
    """Train a configuration's base model unless it is there; return its folder.

    An instruct model is made from its base model, which is made first. Two processes that ask at
    once wait for one another; the folder appears complete or not at all. Progress goes to
    ``<folder>.status.json``.
    """
    folder = Path(store) / "base_models" / base_model_id(config)
    if not folder.exists():
        with folder_lock(folder.with_suffix(".lock")):
            if not folder.exists():
                torch.set_num_threads(config.threads)
                _train_and_save(folder, config, store)
    return folder


def _train_and_save(folder: Path, config: TrainConfig, store: Path) -> None:
    status = folder.with_suffix(".status.json")
    if config.base.instruct is None:
        tokenizer = character_tokenizer(ALPHABET)
        model = _initial_model(config.model, tokenizer, config.base.seed)
        _supervise(model, tokenizer, config, config.base, status)
    else:
        plain = config.base.model_copy(update={"instruct": None})
        model, tokenizer = base_model(store, config.model_copy(update={"base": plain}))
        _supervise(model, tokenizer, config, config.base.instruct, status)
    with atomic_write(folder) as temporary:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
    status.unlink(missing_ok=True)


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


def _teacher(config: TrainConfig, stage: BaseModelConfig | InstructConfig) -> Iterator[Pair]:
    """Yield (prompt, answer) demonstrations without end, as a stage's teacher gives them."""
    base = config.base
    modulus = getattr(config.problems, "modulus", DEFAULT_MODULUS)
    chains = ModularChains(modulus, base.operations).stream(base.seed, base.level_shares)
    functions = toy_code_stream(base.seed, base.family_shares)
    answer_maths = Demonstrations(
        stage.step_fraction, stage.step_error_fraction, stage.direct_error_fraction
    ).answer
    answer_code = CodeDemonstrations(stage.code_error_fraction).answer
    rng = generator("demonstrations", base.seed, int(stage is not base))
    while True:
        is_code = base.code_fraction > 0 and rng.random() < base.code_fraction
        problem = next(functions if is_code else chains)
        yield problem.prompt, (answer_code if is_code else answer_maths)(problem, rng)


def _supervise(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    config: TrainConfig,
    stage: BaseModelConfig | InstructConfig,
    status: Path,
) -> None:
    """Minimise the cross-entropy of the demonstrations' answers with AdamW, cosine to 0."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=stage.learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / stage.steps))
    )
    demonstrations = _teacher(config, stage)
    ids = {token: i for token, i in tokenizer.get_vocab().items() if len(token) == 1}
    model.train()
    for step in range(stage.steps):
        pairs = list(itertools.islice(demonstrations, config.base.batch_size))
        loss = _mean_cross_entropy(model, pairs, ids)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        if step % _STATUS_EVERY == 0:
            write_json(status, {"stage": "base model", "done": step, "total": stage.steps})
    model.eval()


def _mean_cross_entropy(
    model: PreTrainedModel, pairs: Sequence[Pair], ids: Mapping[str, int]
) -> Tensor:
    """Return the mean over all answer tokens and ends, in nats, of (prompt, answer) texts.

    Most texts are far shorter than the longest: they are packed, and only what is a target
    reaches the head.
    """
    packed, targets = pack_texts(
        [([ids[c] for c in prompt], [ids[c] for c in answer]) for prompt, answer in pairs],
        eos_token_id=model.config.eos_token_id,
    )
    hidden = model.base_model(
        input_ids=packed.input_ids,
        position_ids=packed.position_ids,
        attention_mask=packed.attention_mask,
        use_cache=False,
    ).last_hidden_state
    is_target = targets != IGNORED
    logits = model.get_output_embeddings()(hidden[is_target])
    return torch.nn.functional.cross_entropy(logits, targets[is_target])
