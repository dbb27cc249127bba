"""Clip-Cov and KL-Cov in TRL: a GRPOTrainer with these losses, and reward functions.

    trainer = CovGRPOTrainer(
        model, math_reward("answer"), args=CovGRPOConfig(loss_type="kl_cov", ...), ...
    )

Covariances are taken, and tokens chosen, over all that was sampled together (or over a whole
optimizer step), on all processes, before the gradient passes begin. So how a step is split into
``per_device_train_batch_size`` x ``gradient_accumulation_steps`` does not change the result.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from entropy_mech.errors import bad_value
from entropy_mech.integrations.rewards import code_reward, math_reward
from entropy_mech.integrations.trl_config import CovGRPOConfig, GRPOTrainer
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

__all__ = ["CovGRPOConfig", "CovGRPOTrainer", "code_reward", "math_reward"]

_FUNCTIONS = {"clip_cov": clip_cov_loss, "kl_cov": kl_cov_loss}
_MODEL_INPUTS = (
    "pixel_values", "image_grid_thw", "num_images", "pixel_attention_mask", "spatial_shapes",
    "num_tiles", "image_sizes", "token_type_ids", "mm_token_type_ids", "image_position_ids",
)  # fmt: skip


class CovGRPOTrainer(GRPOTrainer):
    """TRL's GRPOTrainer, which knows ``loss_type="clip_cov"`` and ``"kl_cov"`` too.

    Give it a ``CovGRPOConfig``; all else is as in TRL. Metrics of its own: ``cov/...``, means over
    the tokens of an optimizer step.
    """

    def __init__(self, model, reward_funcs=None, args=None, *more, **named):
        if not isinstance(args, CovGRPOConfig):
            raise bad_value("args", type(args).__name__, "give a CovGRPOConfig")
        self.covariance_loss = args.covariance_loss()
        self._first_update = False  # of a rollout: the policy has not moved since
        self._step_counts: dict[str, int] = {}
        super().__init__(model, reward_funcs, args, *more, **named)
        if self.covariance_loss is not None and self.aux_loss_enabled:
            fix = f"there is no router loss in loss_type = {self.loss_type}; give 0"
            raise bad_value("router_aux_loss_coef", self.router_aux_loss_coef, fix)

    def _prepare_inputs(self, generation_batch):
        inputs = super()._prepare_inputs(generation_batch)
        if self.covariance_loss is not None and self.model.training:
            accumulated = self.args.gradient_accumulation_steps
            if self._step % accumulated == 0:
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
        """Choose among the tokens of all parts, of all processes; leave each part its own.

        Every process sees all tokens and chooses alike. A row is named by its place, for the
        draw of Clip-Cov; TRL shuffles a rollout before it is split, so the place does not depend
        on how it is split.
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
            # Exactly ratio 1, and not left to rounding: |log ratio| has its corner there.
            logp_old = logp_new.detach()
        loss = self.covariance_loss
        counts = self._step_counts if training else {}
        mean = Aggregation(loss.aggregation, normaliser_tokens=loss.normaliser_tokens, **counts)
        weights = inputs.get("importance_sampling_ratio")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InertPenaltyWarning)  # the configuration checks that
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
        if self.entropy_coef:
            out = with_entropy_bonus(
                out, entropy, mask, coefficient=self.entropy_coef, aggregation=mean
            )
        if self.beta:
            logp_ref = inputs["ref_per_token_logps"]
            out = with_reference_kl(
                out,
                logp_new,
                logp_ref,
                mask,
                coefficient=self.beta,
                log_ratio_clamp=loss.log_ratio_clamp,
                aggregation=mean,
            )
        self._log_step(out.metrics, entropy, mask)
        # Gradients are averaged over processes, and the counts are of all of them.
        return out.loss * (self.accelerator.num_processes if training else 1)

    def _log_step(self, metrics: dict[str, Tensor], entropy: Tensor, mask: Tensor) -> None:
        """Log means over the step's tokens. Each part holds its share, and TRL averages parts."""
        training = self.model.training
        parts = self.args.gradient_accumulation_steps if training else 1
        tokens = self._step_counts["token_count"] if training else mask.sum()
        values = {
            "entropy": torch.where(mask, entropy.detach(), 0.0).sum() / tokens,
            "cov/selected_fraction": metrics["selected_fraction"],
            "cov/kl_old_new_nats": metrics["kl_old_new_nats"],
        }
        if "ppo_clipped_fraction" in metrics:
            values["cov/ppo_clipped_fraction"] = metrics["ppo_clipped_fraction"]
        if "reference_kl_nats" in metrics:
            values["kl"] = metrics["reference_kl_nats"]
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
