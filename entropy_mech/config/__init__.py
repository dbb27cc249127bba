"""The configuration of a run: frozen, every field explained, unknown keys refused.

Where the paper's text, its released code and its users disagree, the choice is a field here, so
that it is recorded with the run (``covariance_scope``, ``std_correction``, ``kl_estimator``, ...).
"""

from __future__ import annotations

from entropy_mech.config.objective import (
    GRPO,
    PRIME,
    RLOO,
    AlgorithmConfig,
    ClipCov,
    KLCov,
    LossConfig,
    PolicyGradient,
    PPOClip,
    ReinforcePP,
)
from entropy_mech.config.run import (
    CheckpointConfig,
    RolloutConfig,
    TrainConfig,
    UpdateConfig,
    ValidationConfig,
)
from entropy_mech.config.sections import (
    BaseModelConfig,
    EngineConfig,
    InstructConfig,
    MirrorConfig,
    ModelConfig,
    PretrainedModelConfig,
    ProblemsConfig,
    SamplerConfig,
    Section,
    TorchSamplerConfig,
    TrainingSetConfig,
    VLLMSamplerConfig,
)

__all__ = [
    "GRPO",
    "PRIME",
    "RLOO",
    "AlgorithmConfig",
    "BaseModelConfig",
    "CheckpointConfig",
    "ClipCov",
    "EngineConfig",
    "InstructConfig",
    "KLCov",
    "LossConfig",
    "MirrorConfig",
    "ModelConfig",
    "PPOClip",
    "PolicyGradient",
    "PretrainedModelConfig",
    "ProblemsConfig",
    "ReinforcePP",
    "RolloutConfig",
    "SamplerConfig",
    "Section",
    "TorchSamplerConfig",
    "TrainConfig",
    "TrainingSetConfig",
    "UpdateConfig",
    "VLLMSamplerConfig",
    "ValidationConfig",
]
