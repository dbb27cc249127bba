"""Causal models that exist: in a folder, on the hub or in an installed package."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from entropy_mech.errors import UserError, bad_value
from entropy_mech.hub import (
    PIP,
    PackagedModel,
    cache_only,
    check_gguf_readers,
    hub_answers,
    packaged_model,
)
from entropy_mech.runs.store import atomic_write, file_sha256, folder_lock, read_json, write_json
from entropy_mech.train.engine import broken_weight

# -- Loading -------------------------------------------------------------------------------------


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

    with loading(name, field):
        tokenizer = AutoTokenizer.from_pretrained(name, revision=revision)
        tokenizer = _with_padding(tokenizer, name, field)
        check(tokenizer)
        model, info = AutoModelForCausalLM.from_pretrained(
            name, revision=revision, output_loading_info=True, **{"dtype": "auto", **settings}
        )
        refuse_broken(model, info)
    check_token_ids(tokenizer, embedding_rows(model), name, field)
    return model.eval(), tokenizer


def load_without_weights(
    name: str, revision: str | None = None, *, field: str = "model"
) -> tuple[PreTrainedConfig, PreTrainedTokenizerBase]:
    """Load a model's configuration and tokenizer alone, for a sampler that reads the weights."""
    from transformers import AutoConfig, AutoTokenizer

    with loading(name, field):
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


def refuse_broken(model: PreTrainedModel, info: Mapping[str, Any]) -> None:
    """Raise ValueError for weights that are not there or are no numbers."""
    if missing := sorted(info.get("missing_keys", ())):
        raise ValueError(f"{len(missing)} weights are missing, such as {missing[0]}")
    if broken := broken_weight(model):
        raise ValueError(f"the weight {broken} holds NaN or infinity")


@contextlib.contextmanager
def loading(
    name: str,
    field: str,
    fix: str = "give a folder in Hugging Face format, or a hub id that this machine can reach",
) -> Iterator[None]:
    """Read a folder or the hub; the hub's cache alone where the hub does not answer.

    The libraries that read models raise errors of any type; each becomes one line.
    """
    local = Path(name).is_dir() or name.startswith(PIP)
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


# -- A model inside an installed package ---------------------------------------------------------

SOURCE = "source.json"


def in_hugging_face_format(path: str, store: Path, *, field: str = "model") -> str:
    """Return ``path`` or, for ``pip:PACKAGE``, the folder of the run store that its gguf became.

    The file is converted once: its weights are dequantised to float32 and saved as a plain model.
    Two processes that ask at once wait for one another; the folder, whose name has the file's
    hash, appears complete or not at all. Needs no network.

    Raises:
        UserError: see ``hub.packaged_model``, or a file that cannot be read.

    """
    found = packaged_model(path, field)
    if found is None:
        return path
    digest = file_sha256(found.file)
    name = f"{found.package.lower()}-{found.version}-{digest[:12]}"
    folder = Path(store) / "packaged_models" / name
    if not folder.exists():
        with folder_lock(folder.with_name(f"{name}.lock")):
            if not folder.exists():
                for killed in folder.parent.glob(f"tmp-*-{name}"):
                    shutil.rmtree(killed)
                _convert(found, digest, folder, path, field)
    return str(folder)


def source_of(place: str | Path) -> dict[str, Any]:
    """Return which package, version and file a model folder was made from; empty for others."""
    return read_json(Path(place) / SOURCE) if (Path(place) / SOURCE).is_file() else {}


def _convert(found: PackagedModel, digest: str, folder: Path, path: str, field: str) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    check_gguf_readers(path, field)
    place, gguf = found.file.parent, {"gguf_file": found.file.name}
    with loading(path, field, "install the package again"), cache_only():
        tokenizer = AutoTokenizer.from_pretrained(place, **gguf)
        quantised = AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32, **gguf)
        # The weights are float32 now, and a model that says otherwise cannot be saved or sharded.
        del quantised.config.quantization_config
        with torch.device("meta"):
            plain = AutoModelForCausalLM.from_config(quantised.config)
        plain.load_state_dict(quantised.state_dict(), assign=True)
        plain.tie_weights()
        refuse_broken(plain, {})
    with atomic_write(folder) as temporary:
        plain.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        source = {"package": found.package, "version": found.version, "file": found.file.name}
        write_json(temporary / SOURCE, {**source, "sha256": digest})
