"""The configuration of a run: frozen, every field explained, unknown keys refused.

Where the paper's text, its released code and its users disagree, the choice is a field here, so
that it is recorded with the run (``covariance_scope``, ``std_correction``, ``kl_estimator``, ...).
"""

from __future__ import annotations

from entropy_mech.train.config.algorithm import (
    GRPO,
    PRIME,
    RLOO,
    AlgorithmConfig,
    ReinforcePP,
)
from entropy_mech.train.config.engine import EngineConfig
from entropy_mech.train.config.loss import ClipCov, KLCov, LossConfig, PolicyGradient, PPOClip
from entropy_mech.train.config.mirror import MirrorConfig
from entropy_mech.train.config.model import (
    BaseModelConfig,
    InstructConfig,
    ModelConfig,
    PretrainedModelConfig,
)
from entropy_mech.train.config.problems import (
    CodeProblemsConfig,
    ProblemsConfig,
    TrainingSetConfig,
)
from entropy_mech.train.config.run import (
    CheckpointConfig,
    RolloutConfig,
    TrainConfig,
    UpdateConfig,
    ValidationConfig,
)
from entropy_mech.train.config.sampler import (
    SamplerConfig,
    TorchSamplerConfig,
    VLLMSamplerConfig,
)
from entropy_mech.train.config.section import Section

__all__ = [
    "GRPO",
    "PRIME",
    "RLOO",
    "AlgorithmConfig",
    "BaseModelConfig",
    "CheckpointConfig",
    "ClipCov",
    "CodeProblemsConfig",
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
