"""Toy base models: a short supervised stage on demonstrations, done once and kept."""

from __future__ import annotations

import itertools
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from entropy_mech.problems.tokenizer import character_tokenizer
from entropy_mech.problems.toy import ALPHABET, Demonstrations, ModularSums
from entropy_mech.random_streams import generator
from entropy_mech.runs.locks import folder_lock
from entropy_mech.runs.manifest import write_json
from entropy_mech.train.config import ModelConfig, TrainConfig
from entropy_mech.train.config_io import base_model_id
from entropy_mech.train.packing import IGNORED, pack

_MAX_POSITIONS = 128
_STATUS_EVERY = 25


def base_model(store: Path, config: TrainConfig) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Load the base model of a configuration from ``store/base_models``, training it if absent."""
    folder = prepare_base_model(store, config)
    model = Qwen2ForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model.eval(), PreTrainedTokenizerFast.from_pretrained(folder)


def prepare_base_model(store: Path, config: TrainConfig) -> Path:
    """Train a configuration's base model unless it is there; return its folder.

    Two processes that ask at once wait for one another; the folder appears complete or not at
    all. Progress goes to ``<folder>.status.json``.
    """
    folder = Path(store) / "base_models" / base_model_id(config)
    if not folder.exists():
        with folder_lock(folder.with_suffix(".lock")):
            if not folder.exists():
                torch.set_num_threads(config.threads)
                _train_and_save(folder, config)
    return folder


def _train_and_save(folder: Path, config: TrainConfig) -> None:
    tokenizer = character_tokenizer(ALPHABET)
    model = _initial_model(config.model, tokenizer, config.base.seed)
    status = folder.with_suffix(".status.json")
    _supervise(model, tokenizer, config, status)
    temporary = folder.with_name(f"tmp-{os.getpid()}-{folder.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        os.rename(temporary, folder)
        status.unlink(missing_ok=True)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _initial_model(
    config: ModelConfig, tokenizer: PreTrainedTokenizerFast, seed: int
) -> PreTrainedModel:
    architecture = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.kv_heads,
        initializer_range=config.initializer_range,
        max_position_embeddings=_MAX_POSITIONS,
        tie_word_embeddings=True,
        attention_dropout=0.0,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        dtype="float32",
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Qwen2ForCausalLM(architecture)


def _supervise(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    config: TrainConfig,
    status: Path,
) -> None:
    """Minimise the cross-entropy of the demonstrations' answers with AdamW, cosine to 0."""
    settings = config.base
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, foreach=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / settings.steps))
    )
    problems = ModularSums(config.problems.modulus).stream(settings.seed, settings.level_shares)
    teacher = Demonstrations(
        settings.step_fraction, settings.step_error_fraction, settings.direct_error_fraction
    )
    rng = generator("demonstrations", settings.seed)
    ids = {token: i for token, i in tokenizer.get_vocab().items() if len(token) == 1}
    model.train()
    for step in range(settings.steps):
        batch = itertools.islice(problems, settings.batch_size)
        pairs = [(problem.prompt, teacher.answer(problem, rng)) for problem in batch]
        loss = _mean_cross_entropy(model, pairs, ids)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        if step % _STATUS_EVERY == 0:
            write_json(status, {"stage": "base model", "done": step, "total": settings.steps})


def _mean_cross_entropy(
    model: PreTrainedModel, pairs: Sequence[tuple[str, str]], ids: Mapping[str, int]
) -> Tensor:
    """Return the mean over all answer tokens and ends, in nats, of (prompt, answer) texts.

    Most texts are far shorter than the longest: they are packed, and only what is a target
    reaches the head.
    """
    packed = pack(
        [([ids[c] for c in prompt], [ids[c] for c in answer]) for prompt, answer in pairs],
        eos_token_id=model.config.eos_token_id,
        pad_token_id=model.config.pad_token_id,
    )
    hidden = model.base_model(
        input_ids=packed.input_ids,
        position_ids=packed.position_ids,
        attention_mask=packed.attention_mask,
        use_cache=False,
    ).last_hidden_state
    is_target = packed.targets != IGNORED
    logits = model.get_output_embeddings()(hidden[is_target])
    return torch.nn.functional.cross_entropy(logits, packed.targets[is_target])
