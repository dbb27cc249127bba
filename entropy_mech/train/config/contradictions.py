"""What sections may not say together; each check raises ValueError with field, value and fix."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from entropy_mech.train.config.run import TrainConfig


def _penalty_can_act(config: TrainConfig) -> None:
    if config.loss.method == "kl_cov" and config.update.updates_per_rollout == 1:
        raise ValueError(
            "update.updates_per_rollout = 1: KL-Cov's penalty has gradient 0 on the first "
            "update of a rollout, so it would do nothing; give 2 or more"
        )


def _micro_batch_holds_a_sequence(config: TrainConfig) -> None:
    budget = config.update.micro_batch_tokens
    longest = config.rollout.max_new_tokens + getattr(config.problems, "max_prompt_tokens", 0)
    if budget is not None and budget < longest:
        raise ValueError(
            f"update.micro_batch_tokens = {budget}: smaller than the longest sequence; give at "
            f"least {longest} (rollout.max_new_tokens and the longest prompt)"
        )


def _toys_go_together(config: TrainConfig) -> None:
    if config.toy and hasattr(config.problems, "training_set"):
        raise ValueError(
            f"problems.training_set = {config.problems.training_set}: a toy model knows sums "
            "alone; give model.path, or leave problems.training_set out"
        )


def _probe_has_one_process(config: TrainConfig) -> None:
    if config.lemma1_every and config.engine.kind != "torch":
        raise ValueError(
            f"lemma1_every = {config.lemma1_every}: keeps the logits of all tokens, which only "
            'engine.kind = "torch" can; give 0'
        )


def _spread_needs_groups(config: TrainConfig) -> None:
    if config.rollout.max_generation_rounds > 1 and not config.rollout.group_filter:
        raise ValueError(
            f"rollout.max_generation_rounds = {config.rollout.max_generation_rounds}: without "
            "rollout.group_filter nothing is dropped and one round is enough; give 1"
        )


def _one_temperature_for_one_reference(config: TrainConfig) -> None:
    kl, temperature = config.loss.reference_kl, config.rollout.temperature
    if config.algorithm.name == "prime" and kl and temperature != 1.0:
        raise ValueError(
            f"loss.reference_kl = {kl:g}: PRIME's reference is taken at temperature 1 and the KL's "
            f"at rollout.temperature = {temperature:g}; give 0, or sample at 1"
        )


CONTRADICTIONS = (
    _penalty_can_act,
    _micro_batch_holds_a_sequence,
    _toys_go_together,
    _probe_has_one_process,
    _spread_needs_groups,
    _one_temperature_for_one_reference,
)
