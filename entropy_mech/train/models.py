"""The policy's weights and tokenizer, made (a toy's) or loaded, and the engine around them."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from entropy_mech.config import EngineConfig, TrainConfig, UpdateConfig
from entropy_mech.errors import UserError, bad_value
from entropy_mech.hub import cache_only, hub_answers
from entropy_mech.train.distributed import Ranks
from entropy_mech.train.engine import Engine, TorchEngine, broken_weight
from entropy_mech.train.pretrain import base_model, prepare_base_model
from entropy_mech.train.tasks import Prompts


@dataclass(frozen=True)
class LoadedModel:
    """A model, its tokenizer, and where a sampler of another process finds the same.

    Attributes:
        place: folder, or id on the hub.
        revision: the commit on the hub that the weights are of; None for a folder.

    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    place: str
    revision: str | None = None


def load_policy(config: TrainConfig, store: Path, ranks: Ranks | None = None) -> LoadedModel:
    """Return the policy that a run starts from; a toy's base model is made by rank 0 for all.

    Raises:
        UserError: the model cannot be loaded, or its embedding and head do not fit the trainer.

    """
    place: str | Path = getattr(config.model, "path", "")
    revision = getattr(config.model, "revision", None)
    if config.toy or config.start is not None:
        ranks = ranks or Ranks()
        if ranks.first:
            prepare_base_model(store, config)
        ranks.meet("the making of the base model")
        place, revision = prepare_base_model(store, config), None
    if config.toy:
        with _loading(str(place), "base model", "remove that folder, and it is made again"):
            model, tokenizer = base_model(store, config)
            _refuse_broken(model, {})
        check_token_ids(tokenizer, embedding_rows(model), str(place), "base model")
        return LoadedModel(model, tokenizer, str(place))
    half = config.engine.kind == "deepspeed" and config.engine.dtype == "bfloat16"
    dtype = torch.bfloat16 if half else torch.float32
    model, tokenizer = load_pretrained(
        str(place),
        revision,
        field="model.path",
        check=lambda tokenizer: Prompts(tokenizer, config),
        dtype=dtype,
        attn_implementation=attention_kernel(config.engine.attention, dtype),
    )
    if getattr(model, "lm_head", None) is None or model.lm_head.bias is not None:
        raise bad_value("model.path", place, "needs a causal model whose head has no bias")
    return LoadedModel(model, tokenizer, str(place), hub_commit(str(place), revision))


def load_pretrained(
    name: str,
    revision: str | None = None,
    *,
    field: str = "model",
    check: Callable[[PreTrainedTokenizerBase], object] = lambda tokenizer: None,
    **settings,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a causal model and its tokenizer from a folder or the hub; one clear line if not.

    The tokenizer comes first, and ``check`` may refuse it: weights can take minutes.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with _loading(name, field):
        tokenizer = AutoTokenizer.from_pretrained(name, revision=revision)
        tokenizer = _with_padding(tokenizer, name, field)
        check(tokenizer)
        model, info = AutoModelForCausalLM.from_pretrained(
            name, revision=revision, output_loading_info=True, **{"dtype": "auto", **settings}
        )
        _refuse_broken(model, info)
    check_token_ids(tokenizer, embedding_rows(model), name, field)
    return model.eval(), tokenizer


def load_without_weights(
    name: str, revision: str | None = None, *, field: str = "model"
) -> tuple[PreTrainedConfig, PreTrainedTokenizerBase]:
    """Load a model's configuration and tokenizer alone, for a sampler that reads the weights."""
    from transformers import AutoConfig, AutoTokenizer

    with _loading(name, field):
        config = AutoConfig.from_pretrained(name, revision=revision)
        tokenizer = AutoTokenizer.from_pretrained(name, revision=revision)
    _with_padding(tokenizer, name, field)
    check_token_ids(tokenizer, config.get_text_config().vocab_size, name, field)
    return config, tokenizer


def _with_padding(
    tokenizer: PreTrainedTokenizerBase, name: str, field: str
) -> PreTrainedTokenizerBase:
    """Use the end of sequence for padding where the tokenizer has no padding token.

    Raises:
        UserError: it has an empty vocabulary (its files are missing), or no end of sequence.

    """
    ids = set(tokenizer("1 2 3 a b c", add_special_tokens=False)["input_ids"])
    if not ids - {tokenizer.unk_token_id}:
        raise bad_value(field, name, "its tokenizer knows no words: are tokenizer files missing?")
    if tokenizer.eos_token_id is None:
        raise bad_value(field, name, "its tokenizer has no end-of-sequence token")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token_id = tokenizer.eos_token_id
    return tokenizer


def embedding_rows(model: PreTrainedModel) -> int:
    """Return how many token ids the embedding and the head have rows for."""
    both = (model.get_input_embeddings(), model.get_output_embeddings())
    return min(part.weight.shape[0] for part in both if part is not None)


def check_token_ids(
    tokenizer: PreTrainedTokenizerBase, rows: int, name: str, field: str = "model"
) -> None:
    """Refuse a tokenizer with a token beyond the model's embedding, such as an added padding.

    An embedding with more rows than there are tokens is common, and fine.

    Raises:
        UserError: the model, the token, its id, the rows and what mends it.

    """
    tokens = dict(tokenizer.get_vocab())
    for kind, used in (("pad", tokenizer.pad_token_id), ("eos", tokenizer.eos_token_id)):
        if used is not None and used >= rows:
            tokens = {f"{kind} token {tokenizer.convert_ids_to_tokens(used)}": used}
    token, largest = max(tokens.items(), key=lambda item: item[1])
    if largest >= rows:
        raise bad_value(
            field,
            name,
            f"its tokenizer gives {token!r} the id {largest}, and its embedding has {rows} rows; "
            "call model.resize_token_embeddings(len(tokenizer)) and save both, or choose another "
            "token (for padding: the end of sequence)",
        )


def _refuse_broken(model: PreTrainedModel, info: Mapping[str, Any]) -> None:
    """Raise ValueError for weights that are not there or are no numbers."""
    if missing := sorted(info.get("missing_keys", ())):
        raise ValueError(f"{len(missing)} weights are missing, such as {missing[0]}")
    if broken := broken_weight(model):
        raise ValueError(f"the weight {broken} holds NaN or infinity")


@contextlib.contextmanager
def _loading(
    name: str,
    field: str,
    fix: str = "give a folder in Hugging Face format, or a hub id that this machine can reach",
) -> Iterator[None]:
    """Read a folder or the hub; the hub's cache alone where the hub does not answer.

    The libraries that read models raise errors of any type; each becomes one line.
    """
    local = Path(name).is_dir()
    try:
        with contextlib.nullcontext() if local or hub_answers() else cache_only():
            yield
    except UserError:
        raise
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if not isinstance(error, OSError | ValueError):
            reason = f"{type(error).__name__}: {reason}"
        raise bad_value(field, name, f"cannot be loaded ({reason[:300]}); {fix}") from error


def hub_commit(name: str, revision: str | None = None) -> str | None:
    """Return the commit on the hub of a model that has just been loaded; None for a folder.

    Weights of the hub are read from its cache, whose folders are named by commit; a loaded
    model itself does not say (transformers 5 keeps no ``_commit_hash``).
    """
    from huggingface_hub import try_to_load_from_cache

    if Path(name).is_dir():
        return None
    file = try_to_load_from_cache(name, "config.json", revision=revision)
    return Path(file).parent.name if isinstance(file, str) else None


def positions_of(config: PreTrainedConfig) -> int | None:
    """Return the tokens of the longest sequence a model takes; None if it sets no limit."""
    return getattr(config.get_text_config(), "max_position_embeddings", None)


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
    chosen = TorchEngine
    if config.kind == "deepspeed":
        from entropy_mech.train.engine_deepspeed import DeepSpeedEngine as chosen
    return chosen(model, config, update, ranks, **settings)
