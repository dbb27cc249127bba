"""Clip-Cov and KL-Cov in verl, with covariances over the rollout or the mini-batch.

Give verl this module and the name of a loss; the settings are verl's own::

    actor_rollout_ref.model.external_lib=entropy_mech.integrations.verl
    actor_rollout_ref.actor.policy_loss.loss_mode=kl_cov_rollout_batch
    actor_rollout_ref.actor.policy_loss.kl_cov_ratio=2e-3
    actor_rollout_ref.actor.policy_loss.ppo_kl_coef=1.0

A loss in verl's registry sees the tensors of one micro-batch only, so verl's own ``clip_cov`` and
``kl_cov`` choose inside each micro-batch. Here the training worker, which has its share of the
rollout before it is split, chooses among the tokens of all workers; the choice becomes a column of
the batch, and the registered loss reads its micro-batch's rows. Without that worker the losses
refuse to run.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from entropy_mech.config import ClipCov, KLCov
from entropy_mech.config.files import make_config
from entropy_mech.errors import UserError, bad_value, unknown_name
from entropy_mech.objectives import (
    Aggregation,
    InertPenaltyWarning,
    choose_tokens,
    clip_cov_loss,
    kl_cov_loss,
    named_scores,
)

try:
    from verl.trainer.ppo.core_algos import get_policy_loss_fn, register_policy_loss
    from verl.utils import tensordict_utils as tu
    from verl.workers.config import ActorConfig
    from verl.workers.config.actor import PolicyLossConfig
    from verl.workers.engine_workers import ActorRolloutRefWorker, TrainingWorker
    from verl.workers.utils.padding import no_padding_2_padding
except ImportError as error:
    fix = "pip install 'entropy-mech[verl]'"
    raise UserError(f"verl cannot be imported ({error}); {fix}") from error

_FUNCTIONS = {"clip_cov": clip_cov_loss, "kl_cov": kl_cov_loss}
LOSS_MODES = tuple(f"{m}_{scope}" for m in _FUNCTIONS for scope in ("rollout_batch", "mini_batch"))
_AGGREGATIONS = {
    "token-mean": "token_mean",
    "seq-mean-token-mean": "sequence_mean_token_mean",
    "seq-mean-token-sum-norm": "sequence_mean_token_sum",
}
_FIELD = "covariance_selected"


@dataclass(frozen=True)
class _Choice:
    """A micro-batch's chosen tokens, and whether this is the rollout's first update."""

    selected_mask: Tensor
    first_update: bool


_CHOICE: ContextVar[_Choice | None] = ContextVar("choice of the micro-batch", default=None)


def covariance_loss(config: Any, response_tokens: int = 1) -> ClipCov | KLCov | None:
    """Return the settings of an ``ActorConfig`` as this package has them; None with other losses.

    ``clip_cov_ratio``, ``clip_cov_lb``, ``clip_cov_ub``, ``kl_cov_ratio`` (fractions, as ours) and
    ``ppo_kl_coef`` are read; verl's defaults for the last two are 2e-4 and 0.1, the paper's for
    7B are 2e-3 and 1. ``response_tokens`` is the length that "seq-mean-token-sum-norm" divides by
    where ``loss_scale_factor`` gives none.
    """
    given = config.policy_loss
    if given.loss_mode not in LOSS_MODES:
        return None
    if config.loss_agg_mode not in _AGGREGATIONS:
        raise unknown_name("loss_agg_mode", config.loss_agg_mode, _AGGREGATIONS)
    scope = "mini_batch" if given.loss_mode.endswith("mini_batch") else "rollout_batch"
    table = {"covariance_scope": scope, "aggregation": _AGGREGATIONS[config.loss_agg_mode]}
    if table["aggregation"] == "sequence_mean_token_sum":
        table["normaliser_tokens"] = config.loss_scale_factor or response_tokens
    if given.loss_mode.startswith("kl_cov"):
        table |= {"method": "kl_cov", "penalty_fraction": given.kl_cov_ratio}
        table["penalty_coefficient"] = given.ppo_kl_coef
    else:
        table |= {"method": "clip_cov", "clip_fraction": given.clip_cov_ratio}
        table |= {"cov_low": given.clip_cov_lb, "cov_high": given.clip_cov_ub}
        table |= {"clip_low": config.clip_ratio_low, "clip_high": config.clip_ratio_high}
    return make_config({"loss": table}).loss


def _policy_loss(
    old_log_prob: Tensor,
    log_prob: Tensor,
    advantages: Tensor,
    response_mask: Tensor,
    loss_agg_mode: str = "token-mean",
    config: Any = None,
    rollout_is_weights: Tensor | None = None,
) -> tuple[Tensor, dict[str, float]]:
    """Return the loss of a micro-batch, with verl's signature and its denominators; all B x T."""
    choice = _CHOICE.get()
    loss = covariance_loss(config, response_mask.shape[1])
    if choice is None:
        fix = (
            "nothing was chosen for this micro-batch; the worker is not CovarianceWorker: give "
            "actor_rollout_ref.model.external_lib=entropy_mech.integrations.verl"
        )
        raise bad_value("actor.policy_loss.loss_mode", config.policy_loss.loss_mode, fix)
    counts = config.global_batch_info
    # On the first update the ratio is exactly 1: rounding must not choose a side of |log ratio|.
    old = log_prob.detach() if choice.first_update else old_log_prob
    mean = Aggregation(
        loss.aggregation,
        token_count=counts.get("batch_num_tokens"),
        sequence_count=counts.get("global_batch_size"),
        normaliser_tokens=loss.normaliser_tokens,
    )
    with warnings.catch_warnings():
        if choice.first_update:  # the worker warns if it is the only one
            warnings.simplefilter("ignore", InertPenaltyWarning)
        out = _FUNCTIONS[loss.method](
            log_prob,
            old,
            advantages,
            response_mask.bool(),
            selected_mask=choice.selected_mask[:, : log_prob.shape[1]].to(log_prob.device),
            token_weights=rollout_is_weights,
            aggregation=mean,
            **loss.of_the_method(),
        )
    tokens = response_mask.sum().clamp(min=1)
    metrics = {
        "actor/ppo_kl": ((old - log_prob.detach()) * response_mask).sum() / tokens,
        "actor/cov_selected_fraction": choice.selected_mask.sum() / tokens,
    }
    # verl averages gradients over the workers, and the counts are of all of them.
    whole = out.loss * counts.get("dp_size", 1)
    return whole, {name: value.item() for name, value in metrics.items()}


for _mode in LOSS_MODES:
    register_policy_loss(_mode)(_policy_loss)


def with_choice(loss_fn: Callable) -> Callable:
    """Wrap verl's ``ppo_loss`` so that the registered loss gets the micro-batch's chosen tokens."""

    def loss(model_output, data, dp_group=None):
        choice = None
        if _FIELD in data.keys():  # noqa: SIM118, a TensorDict is no mapping
            first = tu.get_non_tensor_data(data, "first_update", False)
            choice = _Choice(data[_FIELD], first)
        before = _CHOICE.set(choice)
        try:
            return loss_fn(model_output=model_output, data=data, dp_group=dp_group)
        finally:
            _CHOICE.reset(before)

    return loss


class CovarianceWorker(TrainingWorker):
    """verl's TrainingWorker, which chooses tokens before the batch is split.

    With other losses it is unchanged. The scope mini_batch costs a forward pass over each
    mini-batch, for the current policy's log-probabilities; rollout_batch costs nothing.
    """

    covariance = None
    _config, _rollouts, _updates = None, 0, 0

    def set_loss_fn(self, loss_fn):
        """Take the settings from the loss: verl gives ``partial(ppo_loss, config=...)``."""
        self._config = getattr(loss_fn, "keywords", {}).get("config")
        if self._config is not None and hasattr(self._config, "policy_loss"):
            self.covariance = covariance_loss(self._config)
        super().set_loss_fn(loss_fn if self.covariance is None else with_choice(loss_fn))

    def train_mini_batch(self, data):
        """Choose among the rollout's tokens, where that is the scope, and train on it."""
        self._updates = 0
        self._rollouts += 1
        if self._scope == "rollout_batch":
            logp_old = _dense(data, "old_log_probs")["old_log_probs"]
            data[_FIELD] = self._choose(data, logp_old)
        output = super().train_mini_batch(data)
        if self._updates == 1 and isinstance(self.covariance, KLCov):
            warnings.warn(
                "one optimizer step a rollout, and KL-Cov's penalty has gradient 0 on the first: "
                "give a ppo_mini_batch_size below train_batch_size",
                InertPenaltyWarning,
                stacklevel=2,
            )
        return output

    def train_batch(self, data):
        """Choose among the mini-batch's tokens, where that is the scope, and take the step."""
        if self._scope == "mini_batch":
            data[_FIELD] = self._choose(data, self._measure(data))
        if self.covariance is not None:
            bypass = self._config.policy_loss.rollout_correction.bypass_mode
            tu.assign_non_tensor(data, first_update=self._updates == 0 and not bypass)
            self._updates += 1
        return super().train_batch(data)

    @property
    def _scope(self) -> str | None:
        return None if self.covariance is None else self.covariance.covariance_scope

    def _measure(self, data) -> Tensor:
        """Return the current policy's log-probabilities, B x T."""
        copy = data.copy()
        tu.assign_non_tensor(copy, compute_loss=False, calculate_entropy=False)
        output = self.infer_batch(copy)
        if output is None:
            raise UserError(
                "policy_loss.loss_mode: with tensor, pipeline or sequence parallelism not every "
                "worker sees log-probabilities; give the loss with scope rollout_batch"
            )
        return no_padding_2_padding(output["log_probs"], data.cpu())

    def _choose(self, data, logp: Tensor) -> Tensor:
        """Choose among the tokens of all workers; return this one's, B x T, bool."""
        dense = _dense(data, "response_mask", "old_log_probs", "advantages")
        mask = dense["response_mask"].bool()
        columns = mask.shape[1]
        mine = [logp[:, :columns], dense["old_log_probs"], dense["advantages"], mask]
        group = self.engine.get_data_parallel_group()
        everywhere, start = _everywhere([tensor.detach().cpu() for tensor in mine], group)
        rows = torch.arange(len(everywhere[0])).numpy()
        seed, step = self._config.data_loader_seed or 0, self._rollouts
        scores = named_scores(rows, rows * 0 + self._updates, everywhere[0], seed, step)
        chosen = choose_tokens(self.covariance, *everywhere, scores)
        return chosen[start : start + len(mask), :columns].to(mask.device)


def _dense(data, *names: str):
    return data.select(*names).to_padded_tensor()


def _everywhere(tensors: list[Tensor], group) -> tuple[list[Tensor], int]:
    """Return the rows of all workers, and at which row this one's begin."""
    if group is None or dist.get_world_size(group) == 1:
        return tensors, 0
    parts: list = [None] * dist.get_world_size(group)
    dist.all_gather_object(parts, tensors, group)
    widest = max(part[0].shape[1] for part in parts)
    wide = [[torch.nn.functional.pad(t, (0, widest - t.shape[1])) for t in part] for part in parts]
    start = sum(len(part[0]) for part in parts[: dist.get_rank(group)])
    return [torch.cat(columns) for columns in zip(*wide, strict=True)], start


# verl looks the class up when it makes its workers, after it has imported ``external_lib``.
ActorRolloutRefWorker.actor_worker_cls = CovarianceWorker


def own_policy_loss(mode: str, **settings: float) -> Callable[..., Tensor]:
    """Return a policy loss of verl's own, without a PPO clip, for the conformance suite.

    It takes old and new log-probabilities, advantages and mask of a micro-batch, B x T, and the
    tokens of the whole batch, over which verl averages; ``settings`` are ``PolicyLossConfig``'s.
    """
    loss, chosen = get_policy_loss_fn(mode), PolicyLossConfig(loss_mode=mode, **settings)
    epsilon = {"clip_ratio": 1.0, "clip_ratio_low": 1.0, "clip_ratio_high": 1.0}

    def one(logp_old, logp_new, advantages, mask, tokens: int) -> Tensor:
        config = ActorConfig(
            strategy="fsdp", rollout_n=1, use_dynamic_bsz=True, policy_loss=chosen,
            global_batch_info={"batch_num_tokens": tokens}, **epsilon,
        )  # fmt: skip
        return loss(logp_old, logp_new, advantages, mask, "token-mean", config)[0]

    return one
