"""One training run: its sections, and what they may not say together."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from entropy_mech.train.config.loss import LossConfig, PPOClip
from entropy_mech.train.config.model import BaseModelConfig, ModelConfig
from entropy_mech.train.config.problems import ProblemsConfig
from entropy_mech.train.config.section import Section


class RolloutConfig(Section):
    """What is sampled each step."""

    prompts: int = Field(64, ge=1, description="P, prompts a rollout")
    responses: int = Field(8, description="G, responses a prompt; 2 or more")
    temperature: float = Field(1.0, gt=0, description="sampling temperature")
    max_new_tokens: int = Field(40, ge=1, description="longest response, in tokens")
    group_filter: bool = Field(
        True, description="drop prompts whose responses are all right or all wrong"
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

    updates_per_rollout: int = Field(8, ge=1, description="optimizer steps a rollout")
    micro_batch_size: int = Field(32, ge=1, description="sequences a backward pass")
    optimizer: Literal["adamw", "sgd"] = Field("adamw", description="SGD is without momentum")
    learning_rate: float = Field(3e-4, gt=0, description="constant learning rate")
    weight_decay: float = Field(0.0, ge=0, description="weight decay")
    max_grad_norm: float = Field(1.0, gt=0, description="gradient norm is clipped to this")
    std_correction: Literal[0, 1] = Field(
        1, description="GRPO's std divides by G minus this; 1 as released, the paper is silent"
    )
    measure_entropy_change: bool = Field(
        False, description="after the update, take the entropy at the rollout's own prefixes again"
    )


class ValidationConfig(Section):
    """Accuracy on held-out problems."""

    every: int = Field(4, ge=1, description="rollouts between validations")
    temperature: float = Field(
        1.0, gt=0, description="1 measures Eq. 1's own objective; greedy accuracy is kept beside it"
    )
    samples: int = Field(2, ge=1, description="responses a problem at that temperature")


class CheckpointConfig(Section):
    """What is kept to go on from."""

    every: int = Field(20, ge=1, description="rollouts between checkpoints")
    keep: int = Field(2, ge=2, description="checkpoints kept; 2, so that one may be torn")


class TrainConfig(Section):
    """One training run. ``steps`` is how far; everything else is what the run is."""

    seed: int = Field(1, ge=0, description="names every random stream of the run")
    steps: int = Field(80, ge=1, description="rollouts; a longer run continues a shorter one")
    threads: int = Field(1, ge=1, description="CPU threads; 1 makes a run repeat bit for bit")
    record_tokens_every: int = Field(
        20, ge=1, description="rollouts between saved token records (tokens, covariance, ...)"
    )
    lemma1_every: int = Field(
        0, ge=0, description="rollouts between checks of Lemma 1 on the transformer; 0 for none"
    )
    model: ModelConfig = ModelConfig()
    problems: ProblemsConfig = ProblemsConfig()
    base: BaseModelConfig = BaseModelConfig()
    rollout: RolloutConfig = RolloutConfig()
    update: UpdateConfig = UpdateConfig()
    loss: LossConfig = PPOClip()
    validation: ValidationConfig = ValidationConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()

    @model_validator(mode="after")
    def _penalty_can_act(self):
        if self.loss.method == "kl_cov" and self.update.updates_per_rollout == 1:
            raise ValueError(
                "update.updates_per_rollout = 1: KL-Cov's penalty has gradient 0 on the first "
                "update of a rollout, so it would do nothing; give 2 or more"
            )
        return self
