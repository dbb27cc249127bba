"""Clip-Cov and KL-Cov in TRL: a GRPOTrainer with these losses, and reward functions.

    trainer = CovGRPOTrainer(
        model, math_reward("answer"), args=CovGRPOConfig(loss_type="kl_cov", ...), ...
    )

Covariances are taken, and tokens chosen, over all that was sampled together (or over a whole
optimizer step), on all processes, before the gradient passes begin. So how a step is split into
``per_device_train_batch_size`` x ``gradient_accumulation_steps`` does not change the result.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from entropy_mech.config import ClipCov, KLCov
from entropy_mech.config.files import make_config
from entropy_mech.errors import UserError, bad_value, unknown_name
from entropy_mech.integrations.rewards import code_reward, math_reward
from entropy_mech.objectives import (
    Aggregation,
    InertPenaltyWarning,
    choose_tokens,
    clip_cov_loss,
    kl_cov_loss,
    named_scores,
    with_entropy_bonus,
    with_reference_kl,
)

try:
    from trl import GRPOConfig, GRPOTrainer
except ImportError as error:
    raise UserError(f"TRL cannot be imported ({error}); pip install 'entropy-mech[trl]'") from error

__all__ = ["CovGRPOConfig", "CovGRPOTrainer", "code_reward", "math_reward"]

# -- Settings ------------------------------------------------------------------------------------

_FUNCTIONS = {"clip_cov": clip_cov_loss, "kl_cov": kl_cov_loss}
_SECTIONS = {"clip_cov": ClipCov, "kl_cov": KLCov}
METHODS = tuple(_FUNCTIONS)
# TRL 1.16's own, checked here because TRL checks the name only after it has sampled a rollout.
TRLS_OWN = ("grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "luspo", "vespo")
# Settings of TRL's own losses, which these losses would ignore, and their default values.
_ONLY_TRLS = {
    "importance_sampling_level": "token",
    "top_entropy_quantile": 1.0,
    "use_adaptive_entropy": False,
    "off_policy_mask_threshold": None,
    "delta": None,
    "use_bias_correction_kl": False,
}


def _setting(default, text: str):
    return field(default=default, metadata={"help": text})


@dataclass
class CovGRPOConfig(GRPOConfig):
    """TRL's GRPOConfig with ``loss_type="clip_cov"`` or ``"kl_cov"``, and their settings.

    The settings have this package's names, defaults and units (shares are fractions). TRL's own
    loss types work as in TRL. With these two, ``beta`` and ``entropy_coef`` add reference KL and
    entropy bonus; settings that act only inside TRL's own losses are refused.

    Raises:
        UserError: a value out of range, or a combination that cannot work.

    """

    loss_type: str = _setting("kl_cov", "kl_cov, clip_cov or one of TRL's")
    epsilon: float | None = _setting(
        None, "PPO clip; none is 1 with clip_cov as released, 0.2 with TRL's losses"
    )
    use_bias_correction_kl: bool | None = _setting(
        None, "TRL's, for its own losses alone; none is TRL's default there"
    )
    clip_fraction: float = _setting(2e-4, "Clip-Cov: r, a fraction")
    cov_low: float = _setting(1.0, "Clip-Cov: omega_low")
    cov_high: float = _setting(5.0, "Clip-Cov: omega_high")
    penalty_fraction: float = _setting(2e-3, "KL-Cov: k, a fraction")
    penalty_coefficient: float = _setting(1.0, "KL-Cov: beta")
    kl_estimator: str = _setting("abs_log_ratio", "KL-Cov: abs_log_ratio (released) or k3")
    covariance_scope: str = _setting(
        "rollout_batch",
        "rollout_batch (all that is sampled together), mini_batch (an optimizer step) or "
        "micro_batch (the released code's, which changes with the micro-batch size)",
    )
    minimum_tokens: int = _setting(0, "tokens at the least; released: 1")
    loss_aggregation: str = _setting(
        "token_mean", "or sequence_mean_token_mean, sequence_mean_token_sum; over the step"
    )
    log_ratio_clamp: float | None = _setting(
        None, "log-ratios are cut off at plus and minus this; paper none"
    )

    def __post_init__(self):
        """Set defaults that depend on the loss; refuse combinations that cannot work."""
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
        fix = ""
        if per_generation % accumulated:
            fix = (
                f"give a multiple of gradient_accumulation_steps = {accumulated}: every optimizer "
                "step then takes one rollout's responses"
            )
        elif self.loss_type == "kl_cov" and accumulated == per_generation * self.num_iterations:
            fix = (
                "one optimizer step a rollout, and KL-Cov's penalty has gradient 0 on the first; "
                f"give {8 * accumulated} for the paper's 8, or more num_iterations"
            )
        if fix:
            raise bad_value("steps_per_generation", per_generation, fix)

    def covariance_loss(self) -> ClipCov | KLCov | None:
        """Return the settings as a ``loss`` section of this package; None with TRL's losses."""
        section = _SECTIONS.get(self.loss_type)
        if section is None:
            return None
        shared = [name for name in section.model_fields if name in CovGRPOConfig.__annotations__]
        table = {name: getattr(self, name) for name in shared}
        table |= {"method": self.loss_type, "aggregation": self.loss_aggregation}
        if self.loss_aggregation == "sequence_mean_token_sum":
            table["normaliser_tokens"] = self.max_completion_length
        if self.loss_type == "clip_cov":
            high = self.epsilon if self.epsilon_high is None else self.epsilon_high
            table |= {"clip_low": self.epsilon, "clip_high": high}
        return make_config({"loss": table}).loss


# -- The trainer ---------------------------------------------------------------------------------

_MODEL_INPUTS = (
    "pixel_values", "image_grid_thw", "num_images", "pixel_attention_mask", "spatial_shapes",
    "num_tiles", "image_sizes", "token_type_ids", "mm_token_type_ids", "image_position_ids",
)  # fmt: skip


class CovGRPOTrainer(GRPOTrainer):
    """TRL's GRPOTrainer with ``loss_type="clip_cov"`` and ``"kl_cov"``.

    Give it a ``CovGRPOConfig``; all else is as in TRL. It logs ``cov/...`` besides, means over the
    tokens of an optimizer step.
    """

    def __init__(self, model, reward_funcs=None, args=None, *more, **named):
        if not isinstance(args, CovGRPOConfig):
            raise bad_value("args", type(args).__name__, "give a CovGRPOConfig")
        self.covariance_loss = args.covariance_loss()
        self._first_update = False  # of a rollout: the policy is still the one that sampled
        self._step_counts: dict[str, int] = {}
        super().__init__(model, reward_funcs, args, *more, **named)
        if self.covariance_loss is not None and self.aux_loss_enabled:
            fix = f"there is no router loss in loss_type = {self.loss_type}; give 0"
            raise bad_value("router_aux_loss_coef", self.router_aux_loss_coef, fix)

    def _prepare_inputs(self, generation_batch):
        inputs = super()._prepare_inputs(generation_batch)
        accumulated = self.args.gradient_accumulation_steps
        training = self.covariance_loss is not None and self.model.training
        if training and self._step % accumulated == 0:
            self._begin_optimizer_step(accumulated)
        return inputs

    def _begin_optimizer_step(self, accumulated: int) -> None:
        """Count the tokens of the step that begins, and choose those that the method touches."""
        per_generation = self.args.steps_per_generation
        self._first_update = self._step % (per_generation * self.num_iterations) == 0
        start = self._step % per_generation
        parts = self._buffered_inputs[start : start + accumulated]
        lengths = torch.cat([_response_mask(part).sum(dim=1) for part in parts])
        lengths = self.accelerator.gather(lengths)
        self._step_counts = {
            "token_count": max(int(lengths.sum()), 1),
            "sequence_count": max(int(torch.count_nonzero(lengths)), 1),
        }
        scope = self.covariance_loss.covariance_scope
        if scope == "mini_batch":
            self._choose(parts, self._logps(parts))
        elif scope == "rollout_batch" and self._first_update:
            self._choose(self._buffered_inputs, self._logps(self._buffered_inputs))

    def _logps(self, parts: Sequence[dict]) -> list[Tensor]:
        """Return the policy's log-probabilities of each part, B x T, without a gradient."""
        if self._first_update and all("old_per_token_logps" in part for part in parts):
            return [part["old_per_token_logps"] for part in parts]
        with torch.no_grad():
            return [self._forward(self.model, part, entropy=False)[0] for part in parts]

    def _forward(self, model, part: dict, *, entropy: bool) -> tuple[Tensor, Tensor | None]:
        ids = torch.cat([part["prompt_ids"], part["completion_ids"]], dim=1)
        mask = torch.cat([part["prompt_mask"], part["completion_mask"]], dim=1)
        more = {name: part.get(name) for name in _MODEL_INPUTS}
        logp, entropies, _ = self._get_per_token_logps_and_entropies(
            model, ids, mask, part["completion_ids"].size(1), compute_entropy=entropy, **more
        )
        return logp, entropies

    def _choose(self, parts: Sequence[dict], logps: list[Tensor]) -> None:
        """Choose among the tokens of all parts of all processes; store its own mask in each part.

        Every process gathers all tokens and makes the same choice. Clip-Cov's random numbers belong
        to row numbers, which no split changes: TRL shuffles a rollout before splitting it.
        """
        logp = torch.cat(logps)
        old = [part.get("old_per_token_logps", now) for part, now in zip(parts, logps, strict=True)]
        advantages = torch.cat([_token_advantages(part) for part in parts])
        mask = torch.cat([_response_mask(part) for part in parts])
        everywhere = [
            self.accelerator.gather(self.accelerator.pad_across_processes(tensor, dim=1))
            for tensor in (logp, torch.cat(old), advantages, mask)
        ]
        rows = torch.arange(len(everywhere[0])).numpy()
        step = self.state.global_step  # of the optimizer: TRL's own counts micro-batches
        scores = named_scores(rows, rows, everywhere[0], self.args.seed, step)
        chosen = choose_tokens(self.covariance_loss, *everywhere, scores)
        chosen = chosen[self.accelerator.process_index * len(logp) :, : logp.shape[1]]
        for part in parts:
            part["selected_mask"], chosen = chosen.tensor_split([len(part["advantages"])])

    def _compute_loss(self, model, inputs):
        if self.covariance_loss is None:
            return super()._compute_loss(model, inputs)
        training = self.model.training
        mask = _response_mask(inputs)
        logp_new, entropy = self._forward(model, inputs, entropy=True)
        logp_old = inputs.get("old_per_token_logps")
        if logp_old is None or (training and self._first_update):
            # Makes the ratio exactly 1: rounding must not choose a side of the kink of |log ratio|.
            logp_old = logp_new.detach()
        loss = self.covariance_loss
        counts = self._step_counts if training else {}
        mean = Aggregation(loss.aggregation, normaliser_tokens=loss.normaliser_tokens, **counts)
        weights = inputs.get("importance_sampling_ratio")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InertPenaltyWarning)  # the configuration refuses that
            out = _FUNCTIONS[loss.method](
                logp_new,
                logp_old,
                _token_advantages(inputs),
                mask,
                selected_mask=inputs.get("selected_mask"),  # without: among these tokens
                aggregation=mean,
                token_weights=None if weights is None else weights.expand_as(logp_new),
                **loss.of_the_method(),
            )
        if alpha := self.entropy_coef:
            out = with_entropy_bonus(out, entropy, mask, coefficient=alpha, aggregation=mean)
        if self.beta:
            settings = {"log_ratio_clamp": loss.log_ratio_clamp, "aggregation": mean}
            logp_ref = inputs["ref_per_token_logps"]
            out = with_reference_kl(
                out, logp_new, logp_ref, mask, coefficient=self.beta, **settings
            )
        self._log_step(out.metrics, entropy, mask)
        # Gradients are averaged over processes, and the counts are of all of them.
        return out.loss * (self.accelerator.num_processes if training else 1)

    def _log_step(self, metrics: dict[str, Tensor], entropy: Tensor, mask: Tensor) -> None:
        """Log means over the step's tokens: each part adds its share, TRL averages parts."""
        training = self.model.training
        parts = self.args.gradient_accumulation_steps if training else 1
        tokens = self._step_counts["token_count"] if training else mask.sum()
        values = {
            "entropy": torch.where(mask, entropy.detach(), 0.0).sum() / tokens,
            "cov/selected_fraction": metrics["selected_fraction"],
            "cov/kl_old_new_nats": metrics["kl_old_new_nats"],
        }
        more = {"cov/ppo_clipped_fraction": "ppo_clipped_fraction", "kl": "reference_kl_nats"}
        values |= {name: metrics[key] for name, key in more.items() if key in metrics}
        shares = torch.stack([value.float() for value in values.values()])
        reduction = "sum" if training else "mean"
        shares = self.accelerator.reduce(shares, reduction=reduction).tolist()
        for name, value in zip(values, shares, strict=True):
            self._metrics["train" if training else "eval"][name].append(parts * value)


def _response_mask(part: dict) -> Tensor:
    mask = part["completion_mask"]
    return (mask * part["tool_mask"] if "tool_mask" in part else mask).bool()


def _token_advantages(part: dict) -> Tensor:
    advantages = part["advantages"]
    if advantages.dim() == 1:
        advantages = advantages.unsqueeze(1)
    return advantages.expand(part["completion_ids"].shape)
