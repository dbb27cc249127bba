"""One training run: its sections, and the checks between sections."""

from __future__ import annotations

import re
from typing import Any, Literal, get_args

from pydantic import BaseModel, Field, ValidationError, model_validator

from entropy_mech.config.data import (
    AnyModelConfig,
    AnyProblemsConfig,
    BaseModelConfig,
    ModelConfig,
    PretrainedModelConfig,
    ProblemsConfig,
    TrainingSetConfig,
)
from entropy_mech.config.hardware import (
    EngineConfig,
    MirrorConfig,
    SamplerConfig,
    TorchSamplerConfig,
)
from entropy_mech.config.objective import GRPO, AlgorithmConfig, LossConfig, PPOClip
from entropy_mech.config.section import LearningRate, Section, Temperature
from entropy_mech.config.shapes import Architecture, architecture_at
from entropy_mech.errors import UserError, bad_value, fraction_fix, unknown_name

# -- Checks between sections ---------------------------------------------------------------------


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
    if width > 1 and config.engine.kind == "torch":
        raise ValueError(
            f"sampler.tensor_parallel = {width}: an engine is shared by that many training "
            'processes, and engine.kind = "torch" has one; give "deepspeed"'
        )


def _toys_go_together(config: TrainConfig) -> None:
    if config.toy and hasattr(config.problems, "training_set"):
        raise ValueError(
            f"problems.training_set = {config.problems.training_set}: a toy model knows its own "
            "world alone; give model.path, or leave problems.training_set out"
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


# -- The run -------------------------------------------------------------------------------------


class RolloutConfig(Section):
    """What is sampled each step."""

    prompts: int = Field(
        64,
        ge=1,
        le=10**6,
        description="P, prompts a rollout; paper 512 in section 2, 256 in section 4",
    )
    responses: int = Field(8, le=10**5, description="G, responses a prompt; 2 or more, paper 8")
    temperature: Temperature = Field(1.0, description="sampling temperature; paper 1")
    max_new_tokens: int = Field(
        40,
        ge=1,
        le=10**7,
        description="longest response, in tokens; paper 8,192 in section 4, silent in section 2",
    )
    group_filter: bool = Field(
        True, description="drop prompts whose responses are all right or all wrong; paper true"
    )
    max_generation_rounds: int = Field(
        1,
        ge=1,
        description="with the filter: draw further prompts until P are kept, at most so often; "
        "the released scripts' 10. 1 trains on what one rollout leaves",
    )
    entropy_over: Literal["sampled", "trained"] = Field(
        "sampled",
        description="responses whose tokens Eq. 5 averages over: all that were sampled, or "
        "those that the filter left, as the released code does",
    )
    old_logp: Literal["recomputed", "sampler"] = Field(
        "recomputed",
        description="log-probabilities and entropies before the update: of a pass of the trainer's "
        "own, as the paper's code has it, or of the torch sampler, which draws with the same "
        "weights; that saves the pass, and no gap between the two is logged",
    )
    top_p: Literal[1.0] = Field(
        1.0, description="1: what is trained must be the distribution that was sampled"
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

    updates_per_rollout: int = Field(
        8, ge=1, le=10**6, description="optimizer steps a rollout; paper 8, Fig. 8 is on-policy: 1"
    )
    micro_batch_size: int = Field(
        32,
        ge=1,
        description="sequences a backward pass; speed and memory, never the result; paper 128",
    )
    micro_batch_tokens: int | None = Field(
        None,
        ge=1,
        description="tokens a backward pass, padding counted in, in place of micro_batch_size",
    )
    optimizer: Literal["adamw", "sgd"] = Field(
        "adamw", description="released adamw; SGD is without momentum"
    )
    learning_rate: LearningRate = Field(
        3e-4, description="constant learning rate; paper 5e-7, released 1e-6 for 32B"
    )
    weight_decay: float = Field(0.0, ge=0, le=1000, description="weight decay; released 0")
    max_grad_norm: float = Field(
        1.0, gt=0, description="gradient norm is clipped to this; released 1.0"
    )
    measure_entropy_change: bool = Field(
        False, description="after the update, take the entropy at the rollout's own prefixes again"
    )


class ValidationConfig(Section):
    """Accuracy on held-out problems."""

    every: int = Field(4, ge=1, description="rollouts between validations; paper 4")
    temperature: Temperature = Field(
        1.0, description="1 measures Eq. 1's own objective; greedy accuracy is kept beside it"
    )
    samples: int = Field(2, ge=1, le=10**6, description="responses a problem at that temperature")


class CheckpointConfig(Section):
    """What is kept to go on from."""

    every: int = Field(20, ge=1, description="rollouts between checkpoints")
    keep: int = Field(2, ge=2, description="checkpoints kept; 2, so that one may be torn")
    export: Literal["each", "last"] = Field(
        "each",
        description="write the policy in Hugging Face format with each checkpoint or at the end",
    )


class TrainConfig(Section):
    """One training run. ``steps`` is how far; everything else is what the run is."""

    seed: int = Field(1, ge=0, description="names every random stream of the run")
    steps: int = Field(80, ge=1, description="rollouts; a longer run continues a shorter one")
    threads: int = Field(
        1, ge=1, le=1024, description="CPU threads; 1 makes a run repeat bit for bit"
    )
    record_tokens_every: int = Field(
        20, ge=1, description="rollouts between saved token records (tokens, covariance, ...)"
    )
    lemma1_every: int = Field(
        0, ge=0, description="rollouts between checks of Lemma 1 on the transformer; 0 for none"
    )
    model: AnyModelConfig = ModelConfig()
    problems: AnyProblemsConfig = ProblemsConfig()
    base: BaseModelConfig = BaseModelConfig()
    rollout: RolloutConfig = RolloutConfig()
    algorithm: AlgorithmConfig = GRPO()
    update: UpdateConfig = UpdateConfig()
    loss: LossConfig = PPOClip()
    engine: EngineConfig = EngineConfig()
    sampler: SamplerConfig = TorchSamplerConfig()
    validation: ValidationConfig = ValidationConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    mirror: MirrorConfig = MirrorConfig()

    def __init__(self, **table: Any):
        """Build it from nested tables; every fault is one UserError."""
        try:
            super().__init__(**table)
        except ValidationError as error:
            raise user_error(error) from None

    @property
    def toy(self) -> bool:
        """Whether the model is made here rather than taken from the hub or a folder."""
        return not isinstance(self.model, PretrainedModelConfig)

    @model_validator(mode="after")
    def _says_nothing_twice(self):
        for contradiction in CONTRADICTIONS:
            contradiction(self)
        return self


_TOY_SPECIAL_TOKENS = 3  # pad, eos and unknown, before the characters
TOY_POSITIONS = 128


def architecture_of(config: TrainConfig) -> Architecture | None:
    """Return the shape of a run's model; None where it is not known."""
    if config.toy:
        from entropy_mech.problems.toy import ALPHABET

        toy = config.model
        return Architecture(
            toy.layers, toy.hidden_size, toy.intermediate_size, toy.heads, toy.kv_heads,
            len(ALPHABET) + _TOY_SPECIAL_TOKENS, TOY_POSITIONS,
            head_size=toy.hidden_size // toy.heads, tied=True, qkv_bias=toy.family == "qwen2",
        )  # fmt: skip
    return architecture_at(config.model.path)


# pydantic puts the arm of a union, and the kind of a list or one name, into the path of a field;
# users do not write them.
_ARMS: dict[str, dict[str, type[BaseModel]]] = {
    "loss": {a.model_fields["method"].default: a for a in get_args(get_args(LossConfig)[0])},
    "algorithm": {
        a.model_fields["name"].default: a for a in get_args(get_args(AlgorithmConfig)[0])
    },
    "sampler": {a.model_fields["kind"].default: a for a in get_args(get_args(SamplerConfig)[0])},
    "model": {"toy-model": ModelConfig, "pretrained-model": PretrainedModelConfig},
    "problems": {
        "toy": ProblemsConfig,
        "training-set": TrainingSetConfig,
    },
}

TAGS = {"loss": "method", "algorithm": "name", "sampler": "kind"}
_LIST_OR_NAME = ("str", "tuple[str, ...]")


def user_error(error: ValidationError) -> UserError:
    """Return pydantic's first fault in one line: field, value, fix."""
    first = error.errors()[0]
    arms = _ARMS.get(str(first["loc"][0]) if first["loc"] else "", {})
    path = [str(part) for i, part in enumerate(first["loc"]) if i != 1 or part not in arms]
    path = [part for part in path if part not in _LIST_OR_NAME]
    field, value = ".".join(path) or "config", first.get("input")
    if first["type"] == "extra_forbidden":
        known = _known_keys(path[:-1], first["loc"])
        prefix = ".".join(path[:-1])
        return unknown_name(
            "configuration key", field, [f"{prefix}.{k}" if prefix else k for k in known]
        )
    if first["type"] == "less_than_equal" and path[-1].endswith("_fraction"):
        return bad_value(field, value, fraction_fix(value))
    if first["type"] == "value_error":  # raised by our own validators, which name the field
        text = str(first["ctx"]["error"])
        return UserError(f"{field}.{text}" if path and not text.startswith("unknown") else text)
    choices = re.findall("'([^']*)'", first.get("ctx", {}).get("expected", ""))
    if first["type"] == "literal_error" and isinstance(value, str) and choices:
        if path[1:] == [TAGS.get(path[0])]:  # the other arms are choices too
            fields = [arm.model_fields.get(path[1]) for arm in arms.values()]
            choices = [one.default for one in fields if one is not None]
        return unknown_name(field, value, choices)
    if first["type"] in ("union_tag_invalid", "union_tag_not_found"):
        tag = f"{path[0]}.{TAGS[path[0]]}"
        chosen = value.get(TAGS[path[0]]) if isinstance(value, dict) else value
        if chosen is None:
            return UserError(f"{tag} is missing beside the others: give one of {', '.join(arms)}")
        return unknown_name(tag, str(chosen), arms)
    if first["type"] in ("model_type", "model_attributes_type"):
        return bad_value(field, value, "give a table of settings")
    if field == "rollout.top_p":
        return bad_value(
            field, value, "training needs the distribution that it samples from; give 1"
        )
    return bad_value(field, value, first["msg"][:1].lower() + first["msg"][1:])


def _known_keys(path: list[str], loc: tuple) -> list[str]:
    section: type[BaseModel] = TrainConfig
    for i, part in enumerate(path):
        arms = _ARMS.get(part, {}) if i == 0 else {}
        if arms:
            section = arms[str(loc[1])]
            continue
        section = section.model_fields[part].annotation
        # An optional section is a union with None.
        section = next((a for a in get_args(section) if a is not type(None)), section)
    return list(section.model_fields)
