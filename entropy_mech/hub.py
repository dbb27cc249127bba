"""Libraries: silenced, kept from retrying for minutes without a network, their GPU memory."""

from __future__ import annotations

import contextlib
import os
import socket
from urllib.parse import urlparse

from entropy_mech.errors import bad_value

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
