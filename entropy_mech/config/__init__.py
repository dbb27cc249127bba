"""The configuration of a run: frozen, every field explained, unknown keys refused.

Where the paper's text, its released code and its users disagree, the choice is a field here, so
that it is recorded with the run (``covariance_scope``, ``std_correction``, ``kl_estimator``, ...).
"""

from __future__ import annotations

from entropy_mech.config.objective import PRIME, ClipCov, KLCov, LossConfig
from entropy_mech.config.run import TrainConfig, UpdateConfig
from entropy_mech.config.sections import (
    BaseModelConfig,
    EngineConfig,
    ModelConfig,
    ProblemsConfig,
    Section,
    VLLMSamplerConfig,
)

__all__ = [
    "PRIME", "BaseModelConfig", "ClipCov", "EngineConfig", "KLCov", "LossConfig", "ModelConfig",
    "ProblemsConfig", "Section", "TrainConfig", "UpdateConfig", "VLLMSamplerConfig",
]  # fmt: skip
