"""One training run: its sections, and what they may not say together."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from entropy_mech.train.config.algorithm import GRPO, AlgorithmConfig
from entropy_mech.train.config.contradictions import CONTRADICTIONS
from entropy_mech.train.config.engine import EngineConfig
from entropy_mech.train.config.loss import LossConfig, PPOClip
from entropy_mech.train.config.mirror import MirrorConfig
from entropy_mech.train.config.model import (
    AnyModelConfig,
    BaseModelConfig,
    ModelConfig,
    PretrainedModelConfig,
)
from entropy_mech.train.config.problems import AnyProblemsConfig, ProblemsConfig
from entropy_mech.train.config.sampler import SamplerConfig, TorchSamplerConfig
from entropy_mech.train.config.section import LearningRate, Section, Temperature


class RolloutConfig(Section):
    """What is sampled each step."""

    prompts: int = Field(
        64,
        ge=1,
        le=10**6,
        description="P, prompts a rollout; paper 512 in section 2, 256 in section 4",
    )
    responses: int = Field(8, le=10**5, description="G, responses a prompt; 2 or more, paper 8")
    temperature: Temperature = Field(1.0, description="sampling temperature; paper 1")
    max_new_tokens: int = Field(
        40,
        ge=1,
        le=10**7,
        description="longest response, in tokens; paper 8,192 in section 4, silent in section 2",
    )
    group_filter: bool = Field(
        True, description="drop prompts whose responses are all right or all wrong; paper true"
    )
    max_generation_rounds: int = Field(
        1,
        ge=1,
        description="with the filter: draw further prompts until P are kept, at most so often; "
        "the released scripts' 10. 1 trains on what one rollout leaves",
    )
    entropy_over: Literal["sampled", "trained"] = Field(
        "sampled",
        description="responses whose tokens Eq. 5 averages over: all that were sampled, or "
        "those that the filter left, as the released code does",
    )
    old_logp: Literal["recomputed", "sampler"] = Field(
        "recomputed",
        description="log-probabilities and entropies before the update: of a pass of the trainer's "
        "own, as the paper's code has it, or of the torch sampler, which draws with the same "
        "weights; that saves the pass, and no gap between the two is logged",
    )
    top_p: Literal[1.0] = Field(
        1.0, description="1: what is trained must be the distribution that was sampled"
    )

    @model_validator(mode="after")
    def _group_has_spread(self):
        if self.responses < 2:
            raise ValueError(
                f"responses = {self.responses}: a group of 1 has no spread and every advantage "
                "is 0; give 2 or more"
            )
        return self


class UpdateConfig(Section):
    """How a rollout changes the policy."""

    updates_per_rollout: int = Field(
        8, ge=1, le=10**6, description="optimizer steps a rollout; paper 8, Fig. 8 is on-policy: 1"
    )
    micro_batch_size: int = Field(
        32,
        ge=1,
        description="sequences a backward pass; speed and memory, never the result; paper 128",
    )
    micro_batch_tokens: int | None = Field(
        None,
        ge=1,
        description="tokens a backward pass, padding counted in, in place of micro_batch_size",
    )
    optimizer: Literal["adamw", "sgd"] = Field(
        "adamw", description="released adamw; SGD is without momentum"
    )
    learning_rate: LearningRate = Field(
        3e-4, description="constant learning rate; paper 5e-7, released 1e-6 for 32B"
    )
    weight_decay: float = Field(0.0, ge=0, le=1000, description="weight decay; released 0")
    max_grad_norm: float = Field(
        1.0, gt=0, description="gradient norm is clipped to this; released 1.0"
    )
    measure_entropy_change: bool = Field(
        False, description="after the update, take the entropy at the rollout's own prefixes again"
    )


class ValidationConfig(Section):
    """Accuracy on held-out problems."""

    every: int = Field(4, ge=1, description="rollouts between validations; paper 4")
    temperature: Temperature = Field(
        1.0, description="1 measures Eq. 1's own objective; greedy accuracy is kept beside it"
    )
    samples: int = Field(2, ge=1, le=10**6, description="responses a problem at that temperature")


class CheckpointConfig(Section):
    """What is kept to go on from."""

    every: int = Field(20, ge=1, description="rollouts between checkpoints")
    keep: int = Field(2, ge=2, description="checkpoints kept; 2, so that one may be torn")
    export: Literal["each", "last"] = Field(
        "each",
        description="write the policy in Hugging Face format with each checkpoint or at the end",
    )


class TrainConfig(Section):
    """One training run. ``steps`` is how far; everything else is what the run is."""

    seed: int = Field(1, ge=0, description="names every random stream of the run")
    steps: int = Field(80, ge=1, description="rollouts; a longer run continues a shorter one")
    threads: int = Field(
        1, ge=1, le=1024, description="CPU threads; 1 makes a run repeat bit for bit"
    )
    record_tokens_every: int = Field(
        20, ge=1, description="rollouts between saved token records (tokens, covariance, ...)"
    )
    lemma1_every: int = Field(
        0, ge=0, description="rollouts between checks of Lemma 1 on the transformer; 0 for none"
    )
    model: AnyModelConfig = ModelConfig()
    problems: AnyProblemsConfig = ProblemsConfig()
    base: BaseModelConfig = BaseModelConfig()
    rollout: RolloutConfig = RolloutConfig()
    algorithm: AlgorithmConfig = GRPO()
    update: UpdateConfig = UpdateConfig()
    loss: LossConfig = PPOClip()
    engine: EngineConfig = EngineConfig()
    sampler: SamplerConfig = TorchSamplerConfig()
    validation: ValidationConfig = ValidationConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    mirror: MirrorConfig = MirrorConfig()

    def __init__(self, **table: Any):
        """Build it from nested tables; every fault is one UserError."""
        try:
            super().__init__(**table)
        except ValidationError as error:
            from entropy_mech.train.config_io import user_error

            raise user_error(error) from None

    @property
    def toy(self) -> bool:
        """Whether the model is made here rather than taken from the hub or a folder."""
        return not isinstance(self.model, PretrainedModelConfig)

    @model_validator(mode="after")
    def _says_nothing_twice(self):
        for contradiction in CONTRADICTIONS:
            contradiction(self)
        return self
