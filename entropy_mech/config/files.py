"""Configurations from TOML files and ``--set``, and the hash that names a run."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from entropy_mech.config import TrainConfig
from entropy_mech.config.run import TAGS
from entropy_mech.errors import UserError, bad_value
from entropy_mech.problems.toy import ALPHABET

# Raised by one whenever the trainer's results change for the same configuration by more than its
# rounding, so that runs stored by an older version are not taken for new ones.
TRAINER_REVISION = 5

# Settings that do not change a run's results: its length, checkpoints, dashboard and timeouts.
_NOT_IDENTITY = {
    "steps": True,
    "checkpoint": True,
    "mirror": True,
    "engine": {"collective_timeout_s"},
    "sampler": {"sync_timeout_s", "sample_timeout_s", "probe_tolerance"},
}

# Settings that were added after runs had been stored. At their defaults they change nothing and are
# left out of the hash, so that those runs are found again.
_ADDED = {
    "loss": ("log_ratio_clamp",),
    "base": ("form",),
    "validation": ("reading", "details"),
    "sampler": ("cuda_graph",),
}

# Settings of speed alone that were part of the hash when runs were stored: there they keep the
# value that they had, whatever they are now.
_AS_THEN = {"sampler": {"max_sequences": 256}}

# Tables with keys of the user's own: one laid over another replaces it.
_WHOLE = ("level_shares", "validation_counts", "run")


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> TrainConfig:
    """Read a TOML file, which may start from another one (``extends = "base.toml"``).

    ``overrides`` are ``section.key=value`` with a TOML value (a bare word is a string).

    Raises:
        UserError: unreadable file, unknown key (names the nearest), value out of range.

    """
    table = read_table(Path(path))
    for override in overrides:
        _apply(table, override)
    return make_config(table)


def make_config(table: Mapping[str, Any]) -> TrainConfig:
    """Build a configuration from nested tables; every fault is one UserError."""
    if not isinstance(table, Mapping) or any(not isinstance(key, str) for key in table):
        raise bad_value("config", table, "give tables, such as {'seed': 2, 'loss': {...}}")
    return TrainConfig(**_with_start(table, Path(), ()))


def run_id(config: TrainConfig) -> str:
    """Return 16 hex digits that name the run: the hash of all that its results depend on."""
    parts = {"trainer_revision": TRAINER_REVISION, "alphabet": ALPHABET, **identity(config)}
    return _digest(parts)


def identity(config: TrainConfig) -> dict[str, Any]:
    """Return the settings that a run's results depend on, as tables."""
    table = _without_added(config, config.model_dump(mode="json", exclude=_NOT_IDENTITY))
    for section, values in _AS_THEN.items():
        table[section] |= {name: v for name, v in values.items() if name in table[section]}
    start = table.pop("start")
    if start is not None:  # where it starts from depends on how long the earlier run was
        earlier = config.start.run
        table["start"] = start | {"run": {**identity(earlier), "steps": earlier.steps}}
    return table


def _without_added(config: TrainConfig, table: dict[str, Any]) -> dict[str, Any]:
    """Return a table of settings without those that were added and are at their defaults."""
    for section in _ADDED.keys() & table.keys():
        fields = type(getattr(config, section)).model_fields
        for name in _ADDED[section]:
            if name in fields and getattr(getattr(config, section), name) == fields[name].default:
                del table[section][name]
    return table


def base_model_id(config: TrainConfig) -> str:
    """Return 16 hex digits that name what a run starts from, shared by all that start from it."""
    parts = _without_added(config, config.model_dump(mode="json", include={"model", "base"}))
    if config.start is not None:
        parts["start"] = {**identity(config)["start"], "seed": config.seed}
    return _digest({"trainer_revision": TRAINER_REVISION, "alphabet": ALPHABET, **parts})


def _digest(table: Mapping[str, Any]) -> str:
    text = json.dumps(table, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_table(path: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    path = path.resolve() if seen else path
    if path in seen:
        fix = f"the files extend each other in a circle, or start from one another ({seen[-1]})"
        raise bad_value("extends", path.name, fix)
    seen = (*seen, path.resolve())
    try:
        # Some editors write a byte order mark at the start of a file.
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UserError(f"config = {path}: no such file; give the path of a TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError, RecursionError) as error:
        raise bad_value("config", str(path), f"cannot be read as TOML ({error})") from None
    table = _with_start(table, path.parent, seen)
    if "extends" not in table:
        return table
    parent = table.pop("extends")
    if not isinstance(parent, str) or not parent.endswith(".toml"):
        raise bad_value("extends", parent, f"give the path of one TOML file, in quotes ({path})")
    return _merged(read_table(path.parent / parent, seen), table)


def _with_start(table: Mapping[str, Any], folder: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    """Return a table with the settings of the run that it starts from, in place of its file."""
    start = table.get("start")
    if not isinstance(start, dict) or not isinstance(file := start.get("run"), str):
        return dict(table)
    if not file.endswith(".toml"):
        raise bad_value("start.run", file, "give the path of one TOML file")
    return {**table, "start": {**start, "run": read_table(folder / file, seen)}}


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Lay ``above`` over ``below``; a loss of another method replaces the whole table."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        both_tables = isinstance(old, dict) and isinstance(value, dict)
        whole = key in _WHOLE or (
            both_tables and key in TAGS and value.get(TAGS[key]) not in (None, old.get(TAGS[key]))
        )
        merged[key] = _merged(old, value) if both_tables and not whole else value
    return merged


def _apply(table: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    *sections, key = (part.strip() for part in name.split("."))
    if not equals or not all((*sections, key)):
        raise bad_value("--set", override, "write it as section.key=value")
    try:
        value = tomllib.loads(f"value = {text.strip()}")["value"] if "\n" not in text else text
    except (tomllib.TOMLDecodeError, RecursionError):
        value = text.strip()
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise bad_value("--set", override, f"{section} is a value, not a section")
    table[key] = value
