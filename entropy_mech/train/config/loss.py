"""The policy losses and their settings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from entropy_mech.train.config.section import Fraction, Section


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
