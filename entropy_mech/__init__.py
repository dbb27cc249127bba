"""The entropy mechanism of reinforcement learning for reasoning language models.

Theory, law, trainer and evaluators behind arXiv 2505.22617. Importing this package loads
neither torch, vllm, deepspeed nor matplotlib; import the sub-package that you need.
"""

from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "launch"]


def __getattr__(name: str) -> Any:
    if name == "launch":
        from entropy_mech.runs.handle import launch

        return launch
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
