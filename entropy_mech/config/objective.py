"""How rewards become advantages (section 2) and the policy losses (section 4), as settings."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from entropy_mech.config.sections import (
    Count,
    Fraction,
    LearningRate,
    NonNegative,
    Positive,
    Section,
)

# -- Algorithms: rewards to advantages -----------------------------------------------------------


class GRPO(Section):
    """The standard score among the responses of a prompt (Eq. 3)."""

    name: Literal["grpo"] = "grpo"
    std_correction: Literal[0, 1] = 1
    """The std divides by G minus this; 1 as released, the paper is silent."""


class RLOO(Section):
    """The reward less the mean reward of the prompt's other responses; it has no settings."""

    name: Literal["rloo"] = "rloo"


class ReinforcePP(Section):
    """REINFORCE++: rewards normalised over the whole rollout (section 2.1)."""

    name: Literal["reinforce_pp"] = "reinforce_pp"
    normalise_over: Literal["tokens", "sequences"] = "tokens"
    """Population of mean and std: tokens as released (a long response counts more) or sequences;
    the paper says the batch."""
    baseline: Literal["none", "group_mean"] = "none"
    """What is taken off first: none is the paper's, group_mean the later variant of REINFORCE++ for
    several responses a prompt."""


class PRIME(Section):
    """RLOO over the outcome plus RLOO over implicit process rewards (arXiv 2502.01456)."""

    name: Literal["prime"] = "prime"
    prm_learning_rate: LearningRate = 1e-6
    """Of the implicit PRM; paper 1e-6."""
    prm_beta: Positive = 0.05
    """beta of r = beta (log pi_prm - log pi_ref); released 0.05."""
    outcome_coefficient: NonNegative = 1.0
    """Weight of the outcome part; 1 in the equation, 5 as released."""
    process_coefficient: NonNegative = 1.0
    """Weight of the process part; 1 in the equation, 5 as released."""
    prm_update: Literal["before", "after"] = "before"
    """The PRM learns from a rollout before rewarding it (released, two forward passes) or after."""
    granularity: Literal["token"] = "token"
    """A process reward for every token."""
    process_baseline: Literal["leave_one_out", "released"] = "leave_one_out"
    """leave_one_out: less the mean token reward of the other responses, as in the equation;
    released: G / (G - 1) of each token reward less all means / (G - 1)."""
    process_norm: Literal["none", "batch_max"] = "none"
    """batch_max divides by the largest absolute return of the rollout, as released; the equation
    does not."""
    last_token_reward: bool = True
    """The last token has a process reward too; false as released."""
    whiten: bool = False
    """Normalise the sum over the rollout's tokens: true as released, false as in the equation."""


AlgorithmConfig = Annotated[GRPO | RLOO | ReinforcePP | PRIME, Field(discriminator="name")]


# -- Policy losses -------------------------------------------------------------------------------


Aggregation = Literal["token_mean", "sequence_mean_token_mean", "sequence_mean_token_sum"]


class PolicyLossSection(Section):
    """What every policy loss shares: how tokens are averaged, and the terms added to it."""

    method: str
    aggregation: Aggregation = "token_mean"
    """token_mean: over all response tokens (released code); sequence_mean_token_mean: over
    responses of their own mean (GRPO's first form); sequence_mean_token_sum: of their sum over a
    fixed length (Dr. GRPO)."""
    normaliser_tokens: Count | None = None
    """The fixed length of sequence_mean_token_sum; none is rollout.max_new_tokens."""
    entropy_bonus: NonNegative = 0.0
    """alpha of L - alpha H; paper 0, Fig. 9 tries 1e-4 to 0.01."""
    reference_kl: NonNegative = 0.0
    """beta of L + beta KL(pi || pi_ref); paper 0, Fig. 10 tries to 0.1."""
    reference_kl_estimator: Literal["k1", "k2", "k3"] = "k3"
    """k3 (low-variance KL) as released; the paper is silent."""
    importance_cap: Positive | None = None
    """Weigh each token by min(pi_old / pi_sampler, cap), the trainer's over the sampler's
    probability; none is the paper's: no correction."""
    log_ratio_clamp: Positive | None = None
    """Log-ratios, to the old policy and to the reference, are cut off at plus and minus this; none
    is the paper's text and the released Clip-Cov and KL-Cov, verl's PPO 20."""

    def of_the_method(self) -> dict[str, Any]:
        """Return the settings that the method's own loss function takes, by its names."""
        callers = {"method", "covariance_scope", "entropy_target", *PolicyLossSection.model_fields}
        if self.log_ratio_clamp is not None:
            callers.remove("log_ratio_clamp")
        return self.model_dump(exclude=callers)


class PolicyGradient(PolicyLossSection):
    """-A log pi without a surrogate (Fig. 8)."""

    method: Literal["policy_gradient"] = "policy_gradient"


class PPOClip(PolicyLossSection):
    """PPO's clipped surrogate (Eq. 4); clip-higher is ``clip_high = 0.28``."""

    method: Literal["ppo_clip"] = "ppo_clip"
    clip_low: NonNegative = 0.2
    """Lower epsilon; paper 0.2."""
    clip_high: NonNegative = 0.2
    """Upper epsilon; paper 0.2, clip-higher 0.28."""


class CovarianceSection(PolicyLossSection):
    """What Clip-Cov and KL-Cov share: among which tokens they choose (Eq. 10)."""

    covariance_scope: Literal["rollout_batch", "mini_batch", "micro_batch"] = "rollout_batch"
    """Tokens whose mean is subtracted and that are chosen from: rollout_batch is the paper's text,
    micro_batch the released code."""
    minimum_tokens: Literal[0, 1] = 0
    """Tokens chosen at the least in each scope: 0 is the text's floor, 1 the released code."""


class ClipCov(CovarianceSection):
    """Clip-Cov (Eqs. 11, 12)."""

    method: Literal["clip_cov"] = "clip_cov"
    clip_fraction: Fraction = 2e-4
    """r, share of tokens whose gradient goes; paper 2e-4."""
    cov_low: float = 1.0
    """omega_low, lower end of the covariance band; paper 1."""
    cov_high: float = 5.0
    """omega_high, upper end of the covariance band; paper 5."""
    clip_low: NonNegative = 1.0
    """Lower epsilon of the PPO clip beside it."""
    clip_high: NonNegative = 1.0
    """Upper epsilon; the released scripts use 1."""


class EntropyTargetConfig(Section):
    """Hold the policy entropy at a level by steering a setting of KL-Cov (beyond the paper)."""

    target_nats: float = Field(gt=0, le=20)
    """Entropy to hold, nats a token; not in the paper."""
    steers: Literal["penalty_coefficient", "penalty_fraction", "entropy_bonus"] = (
        "penalty_coefficient"
    )
    """KL-Cov's setting that is moved; its own is the start. A bonus alone can raise the entropy."""
    gain: float = Field(0.05, gt=0, le=10)
    """Integral gain: log units of the setting for a log unit of error."""
    proportional_gain: float = Field(1.0, ge=0, le=10)
    """Log units of the setting for a log unit of change in the error."""
    error_limit: float = Field(1.0, gt=0, le=10)
    """The log error is cut off here, so that no rollout moves it far."""
    minimum: Positive | None = None
    """Lowest value of the setting; none is a hundredth of the start."""
    maximum: Positive | None = None
    """Highest value; none is 100 times the start, a fraction at most 1."""

    @model_validator(mode="after")
    def _bounds_are_ordered(self):
        if None not in (self.minimum, self.maximum) and self.minimum >= self.maximum:
            raise ValueError(
                f"minimum = {self.minimum:g}: must be below maximum = {self.maximum:g}"
            )
        if self.steers == "penalty_fraction" and self.maximum is not None and self.maximum > 1:
            raise ValueError(f"maximum = {self.maximum:g}: a fraction of tokens is at most 1")
        return self


class KLCov(CovarianceSection):
    """KL-Cov (Eqs. 13, 14)."""

    method: Literal["kl_cov"] = "kl_cov"
    penalty_fraction: Fraction = 2e-3
    """k, share of tokens that pay; paper 2e-3, 2e-4 for 32B."""
    penalty_coefficient: NonNegative = 1.0
    """beta; paper 1."""
    kl_estimator: Literal["abs_log_ratio", "k3"] = "abs_log_ratio"
    """|log ratio| as released, or the unbiased k3 of the text."""
    entropy_target: EntropyTargetConfig | None = None
    """Hold the entropy at a level; none is the paper's: a fixed penalty."""

    def steering(self) -> dict[str, float]:
        """Return start, minimum and maximum of the setting that ``entropy_target`` steers."""
        target = self.entropy_target
        start = getattr(self, target.steers)
        most = 1.0 if target.steers == "penalty_fraction" else math.inf
        return {
            "start": start,
            "minimum": start / 100 if target.minimum is None else target.minimum,
            "maximum": min(100 * start, most) if target.maximum is None else target.maximum,
        }

    @model_validator(mode="after")
    def _start_is_within_bounds(self):
        if self.entropy_target is None:
            return self
        name, bounds = self.entropy_target.steers, self.steering()
        start, low, high = bounds["start"], bounds["minimum"], bounds["maximum"]
        if start <= 0:
            raise ValueError(
                f"{name} = {start:g}: the entropy target multiplies it; give more than 0"
            )
        if not low <= start <= high:
            raise ValueError(
                f"{name} = {start:g}: the entropy target starts from it; it must lie between "
                f"minimum = {low:g} and maximum = {high:g}"
            )
        return self


LossConfig = Annotated[PolicyGradient | PPOClip | ClipCov | KLCov, Field(discriminator="method")]
