"""Marks for tests of packages that not every machine has; the summary lists what was left out."""

import pytest

from entropy_mech.stack import left_out


def _needs(name: str):
    reason = left_out().get(name)
    return pytest.mark.skipif(reason is not None, reason=f"{name}: {reason}")


needs_vllm = _needs("vllm")
needs_deepspeed = _needs("deepspeed")
