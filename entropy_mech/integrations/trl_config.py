"""The settings of Clip-Cov and KL-Cov in TRL: ``CovGRPOConfig``."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from entropy_mech.config import ClipCov, KLCov
from entropy_mech.config.files import make_config
from entropy_mech.errors import UserError, bad_value, unknown_name

try:
    from trl import GRPOConfig, GRPOTrainer
except ImportError as error:
    raise UserError(f"TRL cannot be imported ({error}); pip install 'entropy-mech[trl]'") from error

__all__ = ["CovGRPOConfig", "GRPOTrainer"]

METHODS = ("clip_cov", "kl_cov")
# TRL 1.16's, which it refuses by name only once a rollout has been sampled.
TRLS_OWN = ("grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "luspo", "vespo")
# What TRL multiplies, clips or masks inside its own losses; beside ours it would be ignored.
_ONLY_TRLS = {
    "importance_sampling_level": "token",
    "top_entropy_quantile": 1.0,
    "use_adaptive_entropy": False,
    "off_policy_mask_threshold": None,
    "delta": None,
    "use_bias_correction_kl": False,
}


@dataclass
class CovGRPOConfig(GRPOConfig):
    """TRL's GRPOConfig with ``loss_type="clip_cov"`` or ``"kl_cov"``, and their settings.

    The settings have this package's names, defaults and units (shares are fractions). TRL's own
    loss types work as ever. With ours, ``beta`` and ``entropy_coef`` add reference KL and entropy
    bonus; settings of TRL's that only act inside its own losses are refused.

    Raises:
        UserError: a value out of range, or a combination that cannot work.

    """

    loss_type: str = field(default="kl_cov", metadata={"help": "kl_cov, clip_cov or one of TRL's"})
    epsilon: float | None = field(
        default=None,
        metadata={"help": "PPO clip; none is 1 with clip_cov as released, 0.2 with TRL's losses"},
    )
    use_bias_correction_kl: bool | None = field(
        default=None,
        metadata={"help": "TRL's, for its own losses alone; none is TRL's default there"},
    )
    clip_fraction: float = field(default=2e-4, metadata={"help": "Clip-Cov: r, a fraction"})
    cov_low: float = field(default=1.0, metadata={"help": "Clip-Cov: omega_low"})
    cov_high: float = field(default=5.0, metadata={"help": "Clip-Cov: omega_high"})
    penalty_fraction: float = field(default=2e-3, metadata={"help": "KL-Cov: k, a fraction"})
    penalty_coefficient: float = field(default=1.0, metadata={"help": "KL-Cov: beta"})
    kl_estimator: str = field(
        default="abs_log_ratio", metadata={"help": "KL-Cov: abs_log_ratio (released) or k3"}
    )
    covariance_scope: str = field(
        default="rollout_batch",
        metadata={
            "help": "rollout_batch (all that is sampled together), mini_batch (an optimizer step) "
            "or micro_batch (the released code's, which changes with the micro-batch size)"
        },
    )
    minimum_tokens: int = field(default=0, metadata={"help": "tokens at the least; released: 1"})
    loss_aggregation: str = field(
        default="token_mean",
        metadata={"help": "or sequence_mean_token_mean, sequence_mean_token_sum; over the step"},
    )

    log_ratio_clamp: float | None = field(
        default=None, metadata={"help": "log-ratios are cut off at plus and minus this; paper none"}
    )

    def __post_init__(self):
        """Resolve what depends on the loss; refuse what cannot work."""
        if self.epsilon is None:
            self.epsilon = 1.0 if self.loss_type == "clip_cov" else 0.2
        if self.loss_type not in (*METHODS, *TRLS_OWN):
            raise unknown_name("loss_type", self.loss_type, (*METHODS, *TRLS_OWN))
        if self.use_bias_correction_kl is None:
            self.use_bias_correction_kl = self.loss_type not in METHODS
        super().__post_init__()
        if self.covariance_loss() is None:
            return
        for name in ("beta", "entropy_coef"):
            value = getattr(self, name)
            if isinstance(value, bool) or not 0 <= value < math.inf:
                raise bad_value(name, value, "give a number of 0 or more")
        for name, value in _ONLY_TRLS.items():
            if getattr(self, name) != value:
                fix = f"has no place in loss_type = {self.loss_type}; leave it at {value!r}"
                raise bad_value(name, getattr(self, name), fix)
        accumulated, per_generation = self.gradient_accumulation_steps, self.steps_per_generation
        if per_generation % accumulated:
            raise bad_value(
                "steps_per_generation",
                per_generation,
                f"give a multiple of gradient_accumulation_steps = {accumulated}: every optimizer "
                "step then takes one rollout's responses",
            )
        if self.loss_type == "kl_cov" and accumulated == per_generation * self.num_iterations:
            raise bad_value(
                "steps_per_generation",
                per_generation,
                "one optimizer step a rollout, and KL-Cov's penalty has gradient 0 on the first; "
                f"give {8 * accumulated} for the paper's 8, or more num_iterations",
            )

    def covariance_loss(self) -> ClipCov | KLCov | None:
        """Return the settings as this package has them; None with one of TRL's losses."""
        if self.loss_type not in METHODS:
            return None
        names = ["covariance_scope", "minimum_tokens", "log_ratio_clamp"]
        table = {"method": self.loss_type, "aggregation": self.loss_aggregation}
        if self.loss_aggregation == "sequence_mean_token_sum":
            table["normaliser_tokens"] = self.max_completion_length
        if self.loss_type == "clip_cov":
            names += ["clip_fraction", "cov_low", "cov_high"]
            high = self.epsilon if self.epsilon_high is None else self.epsilon_high
            table |= {"clip_low": self.epsilon, "clip_high": high}
        else:
            names += ["penalty_fraction", "penalty_coefficient", "kl_estimator"]
        return make_config({"loss": table | {name: getattr(self, name) for name in names}}).loss
