"""What sections may not say together; each check raises ValueError with field, value and fix."""

from __future__ import annotations

from typing import TYPE_CHECKING

from entropy_mech.train.architecture import architecture_of

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


def _updates_take_whole_prompts(config: TrainConfig) -> None:
    updates, prompts = config.update.updates_per_rollout, config.rollout.prompts
    if prompts % updates:
        divisors = (n for n in range(1, prompts + 1) if prompts % n == 0)
        nearest = min(divisors, key=lambda n: abs(n - updates))
        raise ValueError(
            f"update.updates_per_rollout = {updates}: the {prompts} prompts of a rollout cannot be "
            f"dealt evenly to as many updates; give {nearest}, or another rollout.prompts"
        )


def _model_reads_whole_sequences(config: TrainConfig) -> None:
    known = architecture_of(config)
    prompt = getattr(config.problems, "max_prompt_tokens", 0)
    new = config.rollout.max_new_tokens
    if known is not None and prompt + new > known.positions:
        room = known.positions - prompt
        fix = f"at most {room}" if room > 0 else "a smaller problems.max_prompt_tokens"
        asked = f"with prompts of up to {prompt} tokens it" if prompt else "it"
        raise ValueError(
            f"rollout.max_new_tokens = {new}: {asked} exceeds the model's {known.positions} "
            f"positions; give {fix}"
        )


def _covariance_band_has_room(config: TrainConfig) -> None:
    loss = config.loss
    if loss.method == "clip_cov" and loss.cov_low >= loss.cov_high:
        raise ValueError(
            f"loss.cov_low = {loss.cov_low:g}: the band up to loss.cov_high = {loss.cov_high:g} is "
            "empty and nothing would be clipped; the paper's are 1 and 5"
        )


def _fixed_length_is_used(config: TrainConfig) -> None:
    loss = config.loss
    if loss.normaliser_tokens is not None and loss.aggregation != "sequence_mean_token_sum":
        raise ValueError(
            f"loss.normaliser_tokens = {loss.normaliser_tokens}: loss.aggregation = "
            f'{loss.aggregation} does not use it; give "sequence_mean_token_sum" or leave it out'
        )


def _benchmarks_keep_their_protocol(config: TrainConfig) -> None:
    asked = config.validation
    if not hasattr(config.problems, "training_set"):
        return
    for name in ("temperature", "samples"):
        value, default = getattr(asked, name), type(asked).model_fields[name].default
        if value != default:
            raise ValueError(
                f"validation.{name} = {value}: benchmarks are measured by their own protocol "
                "(AIME and AMC: temperature 0.6, 32 samples; the others greedily); leave it out"
            )


def _engine_of_several_gpus_has_them(config: TrainConfig) -> None:
    width = getattr(config.sampler, "tensor_parallel", 1)
    colocated = getattr(config.sampler, "placement", "") == "colocated"
    if width > 1 and colocated and config.engine.kind == "torch":
        raise ValueError(
            f"sampler.tensor_parallel = {width}: colocated engines share the training processes, "
            'and engine.kind = "torch" has one; give "deepspeed", or sampler.placement = "separate"'
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


def _old_logp_are_the_trainers(config: TrainConfig) -> None:
    if config.rollout.old_logp != "sampler":
        return
    fix = 'give "recomputed"'
    if config.sampler.kind != "torch":
        raise ValueError(
            'rollout.old_logp = "sampler": only sampler.kind = "torch" draws with the weights of '
            f"the trainer and sees all logits; {fix}"
        )
    if config.engine.dtype != "float32":
        raise ValueError(
            f'rollout.old_logp = "sampler": with engine.dtype = "{config.engine.dtype}" sampler '
            f"and trainer round differently; {fix}"
        )
    if getattr(config.loss, "importance_cap", None) is not None:
        raise ValueError(
            f"loss.importance_cap = {config.loss.importance_cap:g}: corrects for the gap between "
            'sampler and trainer, and with rollout.old_logp = "sampler" none is taken; leave it out'
        )


CONTRADICTIONS = (
    _toys_go_together,
    _penalty_can_act,
    _micro_batch_holds_a_sequence,
    _updates_take_whole_prompts,
    _model_reads_whole_sequences,
    _covariance_band_has_room,
    _fixed_length_is_used,
    _benchmarks_keep_their_protocol,
    _engine_of_several_gpus_has_them,
    _probe_has_one_process,
    _spread_needs_groups,
    _one_temperature_for_one_reference,
    _old_logp_are_the_trainers,
)
