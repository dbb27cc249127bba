"""The configuration of a run: frozen, every field explained, unknown keys refused.

Where the paper's text, its released code and its users disagree, the choice is a field here, so
that it is recorded with the run (``covariance_scope``, ``std_correction``, ``kl_estimator``, ...).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Fraction = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A frozen table of settings that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ModelConfig(Section):
    """The transformer: a real Hugging Face class at a toy size."""

    family: Literal["qwen2"] = Field("qwen2", description="model class: Qwen2ForCausalLM")
    layers: int = Field(2, ge=1, description="transformer blocks")
    hidden_size: int = Field(64, ge=8, description="width D")
    intermediate_size: int = Field(256, ge=8, description="width of the feed-forward part")
    heads: int = Field(4, ge=1, description="attention heads; must divide hidden_size")
    kv_heads: int = Field(2, ge=1, description="key and value heads; must divide heads")
    initializer_range: float = Field(
        0.1, gt=0, description="std of the initial weights; 0.02 learns far slower at this width"
    )

    @model_validator(mode="after")
    def _heads_divide(self):
        if self.hidden_size % self.heads or self.heads % self.kv_heads:
            raise ValueError("heads must divide hidden_size, and kv_heads must divide heads")
        return self


class ProblemsConfig(Section):
    """Toy sums modulo ``modulus``; a level is a number of terms."""

    modulus: int = Field(10, ge=2, le=10, description="answers are sums modulo this")
    level_shares: dict[int, float] = Field(
        {2: 0.7, 4: 0.15, 5: 0.15}, description="share of each level among training problems"
    )
    train_size: int = Field(4096, description="training problems; 1 or more")
    validation_counts: dict[int, int] = Field(
        {2: 20, 4: 100, 5: 100}, description="distinct held-out problems of each level"
    )

    @model_validator(mode="after")
    def _training_set_not_empty(self):
        if self.train_size < 1:
            raise ValueError(
                f"train_size = {self.train_size}: the training set is empty; give 1 or more"
            )
        return self


class BaseModelConfig(Section):
    """The base model: a short supervised stage on demonstrations, shared by all runs."""

    seed: int = Field(0, ge=0, description="seed of the initial weights and the demonstrations")
    steps: int = Field(2500, ge=1, description="supervised optimizer steps")
    batch_size: int = Field(64, ge=1, description="demonstrations a step")
    learning_rate: float = Field(3e-3, gt=0, description="peak AdamW learning rate, cosine decay")
    step_fraction: Fraction = Field(0.2, description="demonstrations that answer in steps")
    step_error_fraction: Fraction = Field(0.08, description="steps with a wrong sum")
    direct_error_fraction: Fraction = Field(0.15, description="direct answers that are wrong")
    level_shares: dict[int, float] = Field(
        {2: 0.7, 4: 0.15, 5: 0.15}, description="share of each level among demonstrations"
    )


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


class PolicyGradient(Section):
    """-A log pi without a surrogate (Fig. 8)."""

    method: Literal["policy_gradient"] = "policy_gradient"


class PPOClip(Section):
    """PPO's clipped surrogate (Eq. 4); clip-higher is ``clip_high = 0.28``."""

    method: Literal["ppo_clip"] = "ppo_clip"
    clip_low: float = Field(0.2, ge=0, description="lower epsilon")
    clip_high: float = Field(0.2, ge=0, description="upper epsilon")


Scope = Literal["rollout_batch", "mini_batch", "micro_batch"]
SCOPE_HELP = (
    "tokens among which Eq. 10 centres and chooses: rollout_batch is the paper's text, "
    "micro_batch the released code"
)


class ClipCov(Section):
    """Clip-Cov (Eqs. 11, 12)."""

    method: Literal["clip_cov"] = "clip_cov"
    clip_fraction: Fraction = Field(2e-4, description="r, share of tokens whose gradient goes")
    cov_low: float = Field(1.0, description="omega_low, lower end of the covariance band")
    cov_high: float = Field(5.0, description="omega_high, upper end of the covariance band")
    clip_low: float = Field(1.0, ge=0, description="lower epsilon of the PPO clip beside it")
    clip_high: float = Field(1.0, ge=0, description="upper epsilon; the released scripts use 1")
    covariance_scope: Scope = Field("rollout_batch", description=SCOPE_HELP)


class KLCov(Section):
    """KL-Cov (Eqs. 13, 14)."""

    method: Literal["kl_cov"] = "kl_cov"
    penalty_fraction: Fraction = Field(2e-3, description="k, share of tokens that pay; a fraction")
    penalty_coefficient: float = Field(1.0, ge=0, description="beta")
    kl_estimator: Literal["abs_log_ratio", "k3"] = Field(
        "abs_log_ratio", description="|log ratio| as released, or the unbiased k3 of the text"
    )
    covariance_scope: Scope = Field("rollout_batch", description=SCOPE_HELP)


LossConfig = Annotated[PolicyGradient | PPOClip | ClipCov | KLCov, Field(discriminator="method")]


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
