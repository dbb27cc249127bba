"""The settings of a run that bear on its entropy, from the configuration files of five trainers.

This package's TOML and ``config.json``; verl's and SkyRL's YAML (hydra's, or a list of overrides);
TRL's arguments as JSON or YAML; OpenRLHF's flags. A shell script that starts one of them will do:
words such as ``key=value`` and ``--key value`` are read.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from entropy_mech.config.files import read_table
from entropy_mech.errors import bad_value

_FILE = Path(__file__).with_suffix(".toml")
TRAINERS: dict[str, dict[str, Any]] = tomllib.loads(_FILE.read_text(encoding="utf-8"))
_COUNTS = ("prompts", "responses", "mini_prompts", "mini_responses", "epochs", "micro", "updates",
           "micro_tokens", "processes", "accumulated", "per_generation", "generation_batch",
           "response_tokens")  # fmt: skip
_TEXTS = ("method", "scope", "clip_pair", "dynamic", "bonus_on")
_COVARIANCE = re.compile(r"(kl|clip)[-_]?cov(?:_(rollout_batch|mini_batch))?", re.IGNORECASE)


@dataclass
class Settings:
    """What a configuration says. Without one (``trainer`` is empty) every quantity is None."""

    trainer: str = ""
    keys: Mapping[str, Any] = field(default_factory=dict)

    def get(self, quantity: str) -> Any:
        """Return the value of a quantity: written, or the trainer's default; None if it has none.

        Raises:
            UserError: the value written is no number.

        """
        key, value = self._found(quantity)
        if value is None or quantity in _TEXTS:
            return value
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise bad_value(key, value, "give a number")
        if quantity in _COUNTS and value <= 0:
            raise bad_value(key, value, "give a number above 0")
        return value

    def said(self, *quantities: str) -> str:
        """Return ``key = value`` of those that have a value, and which of them are defaults."""
        parts = []
        for quantity in quantities:
            key, value = self._found(quantity)
            if value is not None:
                parts.append(f"{key} = {value}" + ("" if key in self.keys else " (default)"))
        return ", ".join(parts)

    def _found(self, quantity: str) -> tuple[str, Any]:
        trainer = TRAINERS.get(self.trainer, {"keys": {}})
        if quantity not in trainer["keys"]:
            return quantity, None
        names = trainer["keys"][quantity]
        names = [names] if isinstance(names, str) else names
        for name in names:
            end = "." + ".".join(name.split(".")[-2:])
            for key in (name, *sorted((k for k in self.keys if k.endswith(end)), key=len)):
                if self.keys.get(key) is not None:
                    return key, self.keys[key]
        return names[0], trainer["defaults"].get(quantity)

    # -- What follows from several of them -------------------------------------------------------

    @property
    def method(self) -> str:
        """The method: kl_cov, clip_cov, or what the trainer calls another; empty if unknown."""
        name = str(self.get("method") or "")
        found = _COVARIANCE.fullmatch(name)
        return f"{found[1].lower()}_cov" if found else name

    @property
    def scope(self) -> str:
        """Among which tokens a covariance method chooses: where nothing says so, a micro-batch."""
        found = _COVARIANCE.fullmatch(str(self.get("method") or ""))
        return self.get("scope") or (found and found[2]) or "micro_batch"

    @property
    def fraction(self) -> str:
        """Which quantity is the share of tokens that the method touches."""
        return "kl_fraction" if self.method == "kl_cov" else "clip_fraction"

    @property
    def clip_range(self) -> tuple[float | None, float | None]:
        """PPO's lower and upper epsilon."""
        low, high = self.get("clip_low"), self.get("clip_high")
        if pair := self.get("clip_pair"):
            parts = pair if isinstance(pair, list) else re.split(r"[\s,]+", str(pair).strip("[]"))
            try:
                low, high = map(float, parts)
            except ValueError:
                raise bad_value(self._found("clip_pair")[0], pair, "give two numbers") from None
        both = self.get("clip")
        low = both if low is None else low
        return low, (low if both is None else both) if high is None else high

    @property
    def updates(self) -> float | None:
        """Optimizer steps a rollout."""
        if self.trainer in ("", "this package"):
            return self.get("updates")
        epochs = self.get("epochs")
        if self.trainer == "TRL":
            steps = self.responses / (self.get("micro") * self.get("processes"))
            return max(steps / self.get("accumulated"), 1) * epochs
        mini = self.get("mini_responses") or self.get("mini_prompts") * self.get("responses")
        return max(self.responses / mini, 1) * epochs

    CLIP = ("clip", "clip_low", "clip_high", "clip_pair")
    UPDATES = ("updates", "prompts", "mini_prompts", "mini_responses", "per_generation",
               "generation_batch", "accumulated", "epochs")  # fmt: skip

    @property
    def responses(self) -> float | None:
        """Responses a rollout, of all prompts and processes."""
        if not self.trainer:
            return None
        if self.trainer != "TRL":
            return self.get("prompts") * self.get("responses")
        steps = self.get("per_generation") or self.get("accumulated")
        together = self.get("micro") * self.get("processes") * steps
        return self.get("generation_batch") or together

    def micro_responses(self, mean_tokens: float | None) -> float | None:
        """Responses in one backward pass; a budget of tokens holds so many of the mean length."""
        by_tokens = self.get("dynamic") if self.trainer == "verl" else self.get("micro_tokens")
        if not by_tokens:
            return self.get("micro")
        length = mean_tokens or self.get("response_tokens")
        return max(self.get("micro_tokens") // (length + (self.get("prompt_tokens") or 0)), 1)

    def each(self, pattern: str) -> Iterator[tuple[str, Any]]:
        """Yield the keys, and their values, whose last part a regular expression matches."""
        for key, value in self.keys.items():
            if re.fullmatch(pattern, key.rpartition(".")[2], re.IGNORECASE):
                yield key, value


# -- Reading -------------------------------------------------------------------------------------


def read_settings(path: str | Path) -> Settings:
    """Return the settings of a configuration file; every refusal is one ``UserError`` line.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "run.sh")
    >>> _ = path.write_text("main_ppo data.train_batch_size=256 actor_rollout_ref.rollout.n=8")
    >>> settings = read_settings(path)
    >>> settings.trainer, settings.responses, settings.updates
    ('verl', 2048, 1.0)
    """
    path = Path(path)
    if not path.is_file():
        raise bad_value("--config", str(path), "no such file")
    keys = dict(_flat(read_table(path) if path.suffix == ".toml" else _read(path)))
    keys = {key: _resolved(keys, value) for key, value in keys.items()}
    for trainer, known in TRAINERS.items():
        if any(re.match(known["signs"], key) for key in keys):
            settings = Settings(trainer, keys)
            for quantity in known["keys"]:
                settings.get(quantity)  # refuses what is no number
            return settings
    fix = f"no setting of a known trainer in it; known: {', '.join(TRAINERS)}"
    raise bad_value("--config", str(path), fix)


def _read(path: Path) -> Any:
    import yaml

    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".json":
            return json.loads(text)
        if path.suffix in (".yaml", ".yml"):
            return yaml.safe_load(text)
        return dict(_words(text))
    except (ValueError, OSError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise bad_value("--config", str(path), f"cannot be read ({reason})") from None


def _words(text: str) -> Iterator[tuple[str, str]]:
    """Yield ``key=value`` and ``--key value`` of a command line, without what # comments out."""
    text = re.sub(r"(?m)^\s*#.*$|\\\n", " ", text)
    value = r"""("[^"\n]*"|'[^'\n]*'|[^\s"';]+)"""
    for key, one in re.findall(rf"(?:^|\s)\+{{0,2}}([A-Za-z_][\w.]*)={value}", text):
        yield key, one.strip("\"'")
    words = r"((?:[ \t=]+(?!-(?![.\d]))[^\s=|&;]+)*)"
    for key, given in re.findall(rf"--([A-Za-z][\w.-]*){words}", text):
        parts = [part.strip("\"'") for part in given.strip(" \t=").split()]
        numbers = all(re.fullmatch(r"[-+\d.e]+", part) for part in parts)
        yield key.replace("-", "_"), " ".join(parts if numbers else parts[:1]) or "true"


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted keys and values. A list of ``key=value`` is hydra's overrides."""
    if isinstance(value, Mapping):
        if prefix and "value" in value and set(value) <= {"value", "desc"}:  # as wandb writes them
            value = {"": value["value"]}
        for name, inner in value.items():
            yield from _flat(inner, ".".join(filter(None, (prefix, str(name)))))
    elif not prefix and isinstance(value, list):
        for part in value:
            key, _, text = str(part).lstrip("+~").partition("=")
            yield key, text
    else:
        yield prefix, value


_REFERENCE = re.compile(r"\$\{?(?:oc\.(?:select|env):)?([\w.]+)(?:\}|,([^{}]*)\}|\b)")


def _resolved(keys: Mapping[str, Any], value: Any, depth: int = 0) -> Any:
    """Return a value with its references replaced, as a number, truth or None where it is one."""
    if not isinstance(value, str):
        return value
    found = _REFERENCE.fullmatch(value.strip())
    if found and depth < 10:
        there = keys.get(found[1], found[2])
        return None if there is None else _resolved(keys, there, depth + 1)
    word = value.strip().lower()
    if word in ("true", "false", "null", "none", "???", ""):
        return {"true": True, "false": False}.get(word)
    try:
        number = float(word)
    except ValueError:
        return value
    return int(number) if number.is_integer() and "e" not in word and "." not in word else number
