"""One training run: its sections, and the checks between sections."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from typing import Any, Literal, get_args

from pydantic import Field, ValidationError, field_validator, model_validator

from entropy_mech.config.objective import GRPO, AlgorithmConfig, LossConfig, PPOClip
from entropy_mech.config.sections import (
    AnyModelConfig,
    AnyProblemsConfig,
    BaseModelConfig,
    Count,
    EngineConfig,
    Fraction,
    LearningRate,
    MirrorConfig,
    ModelConfig,
    Positive,
    PretrainedModelConfig,
    ProblemsConfig,
    SamplerConfig,
    Section,
    Temperature,
    TorchSamplerConfig,
)
from entropy_mech.config.shapes import Architecture, architecture_at
from entropy_mech.errors import UserError, bad_value, fraction_fix, unknown_name

# -- Cross-section validation --------------------------------------------------------------------
# Each function yields one line a contradiction; the first is the error.


def _problem_contradictions(config: TrainConfig) -> Iterator[str]:
    """The model, the problems and how they are validated."""
    real = hasattr(config.problems, "training_set")
    if config.toy and real:
        yield (
            f"problems.training_set = {config.problems.training_set}: a toy model knows its own "
            "world alone; give model.path, or leave problems.training_set out"
        )
    if config.toy and getattr(config.problems, "domain", "") == "arithmetic":
        yield (
            "problems.domain = arithmetic: a toy model knows its own world alone; give model.path, "
            'or domain = "maths"'
        )
    if config.base.form is not None and getattr(config.problems, "domain", "") != "arithmetic":
        yield (
            "base.form: shows the form of answers to arithmetic; give problems.domain = "
            '"arithmetic", or leave it out'
        )
    known, new = architecture_of(config), config.rollout.max_new_tokens
    if known is not None and config.longest_sequence > known.positions:
        prompt = config.longest_sequence - new
        room = known.positions - prompt
        fix = f"at most {room}" if room > 0 else "a smaller problems.max_prompt_tokens"
        subject = f"with prompts of up to {prompt} tokens it" if prompt else "it"
        yield (
            f"rollout.max_new_tokens = {new}: {subject} exceeds the model's {known.positions} "
            f"positions; give {fix}"
        )
    reading = config.validation.reading
    if reading != "graded" and getattr(config.problems, "domain", "arithmetic") != "arithmetic":
        yield (
            f"validation.reading = {reading}: the toy world's answers have one form and are no "
            'numbers; give "graded"'
        )
    for name in ("temperature", "samples") if real else ():
        value = getattr(config.validation, name)
        if value != ValidationConfig.model_fields[name].default:
            yield (
                f"validation.{name} = {value}: benchmarks are measured by their own protocol "
                "(AIME and AMC: temperature 0.6, 32 samples; the others greedily); leave it out"
            )


def _update_contradictions(config: TrainConfig) -> Iterator[str]:
    """How a rollout is sampled and cut into updates."""
    rollout, update = config.rollout, config.update
    updates, budget = update.updates_per_rollout, update.micro_batch_tokens
    if config.loss.method == "kl_cov" and updates == 1:
        yield (
            "update.updates_per_rollout = 1: KL-Cov's penalty has gradient 0 on the first "
            "update of a rollout, so it would do nothing; give 2 or more"
        )
    if budget is not None and budget < config.longest_sequence:
        yield (
            f"update.micro_batch_tokens = {budget}: smaller than the longest sequence; give at "
            f"least {config.longest_sequence} (rollout.max_new_tokens and the longest prompt)"
        )
    if rollout.prompts % updates:
        divisors = (n for n in range(1, rollout.prompts + 1) if rollout.prompts % n == 0)
        yield (
            f"update.updates_per_rollout = {updates}: the {rollout.prompts} prompts of a rollout "
            "cannot be dealt evenly to as many updates; give "
            f"{min(divisors, key=lambda n: abs(n - updates))}, or another rollout.prompts"
        )
    if rollout.max_generation_rounds > 1 and not rollout.group_filter:
        yield (
            f"rollout.max_generation_rounds = {rollout.max_generation_rounds}: without "
            "rollout.group_filter nothing is dropped and one round is enough; give 1"
        )


def _loss_contradictions(config: TrainConfig) -> Iterator[str]:
    """Settings of the loss, and the temperature."""
    loss, temperature = config.loss, config.rollout.temperature
    if loss.method == "clip_cov" and loss.cov_low >= loss.cov_high:
        yield (
            f"loss.cov_low = {loss.cov_low:g}: the band up to loss.cov_high = {loss.cov_high:g} is "
            "empty and nothing would be clipped; the paper's are 1 and 5"
        )
    if loss.normaliser_tokens is not None and loss.aggregation != "sequence_mean_token_sum":
        yield (
            f"loss.normaliser_tokens = {loss.normaliser_tokens}: loss.aggregation = "
            f'{loss.aggregation} does not use it; give "sequence_mean_token_sum" or leave it out'
        )
    if config.algorithm.name == "prime" and loss.reference_kl and temperature != 1.0:
        yield (
            f"loss.reference_kl = {loss.reference_kl:g}: PRIME's reference is taken at temperature "
            f"1 and the KL's at rollout.temperature = {temperature:g}; give 0, or sample at 1"
        )


def _start_contradictions(config: TrainConfig) -> Iterator[str]:
    """The run that another one starts from has the same model."""
    before = config.start and config.start.run
    if before and (before.model, before.base) != (config.model, config.base):
        yield (
            "start.run: its model or base model is another than this run's; give a run of the same"
        )


def _engine_contradictions(config: TrainConfig) -> Iterator[str]:
    """What the training engine and the sampler can do."""
    width = getattr(config.sampler, "tensor_parallel", 1)
    if width > 1 and config.engine.kind == "torch":
        yield (
            f"sampler.tensor_parallel = {width}: an engine is shared by that many training "
            'processes, and engine.kind = "torch" has one; give "deepspeed"'
        )
    half_weights = config.engine.kind == "deepspeed" and config.engine.dtype == "bfloat16"
    if config.engine.attention == "flash_attention_2" and not half_weights:
        yield (
            'engine.attention = "flash_attention_2": takes weights in bfloat16 alone, which are '
            'engine.kind = "deepspeed" with engine.dtype = "bfloat16"; give those, or "auto"'
        )
    if config.lemma1_every and config.engine.kind != "torch":
        yield (
            f"lemma1_every = {config.lemma1_every}: keeps the logits of all tokens, which only "
            'engine.kind = "torch" can; give 0'
        )
    if config.rollout.old_logp != "sampler":
        return
    if config.sampler.kind != "torch":
        yield (
            'rollout.old_logp = "sampler": only sampler.kind = "torch" draws with the weights of '
            'the trainer and sees all logits; give "recomputed"'
        )
    if config.engine.dtype != "float32":
        yield (
            f'rollout.old_logp = "sampler": with engine.dtype = "{config.engine.dtype}" sampler '
            'and trainer round differently; give "recomputed"'
        )
    if config.loss.importance_cap is not None:
        yield (
            f"loss.importance_cap = {config.loss.importance_cap:g}: corrects for the gap between "
            'sampler and trainer, and with rollout.old_logp = "sampler" none is taken; leave it out'
        )


CONTRADICTIONS = (
    _problem_contradictions,
    _update_contradictions,
    _loss_contradictions,
    _start_contradictions,
    _engine_contradictions,
)


# -- The run -------------------------------------------------------------------------------------


class RolloutConfig(Section):
    """What is sampled each step."""

    prompts: int = Field(64, ge=1, le=10**6)
    """P, prompts a rollout; paper 512 in section 2, 256 in section 4."""
    responses: int = Field(8, le=10**5)
    """G, responses a prompt; 2 or more, paper 8."""
    temperature: Temperature = 1.0
    """Sampling temperature; paper 1."""
    max_new_tokens: int = Field(40, ge=1, le=10**7)
    """Longest response, in tokens; paper 8,192 in section 4, silent in section 2."""
    group_filter: bool = True
    """Drop prompts whose responses are all right or all wrong; paper true."""
    max_generation_rounds: Count = 1
    """With the filter: draw prompts until P are kept, in at most this many rounds, each of as many
    as the share kept before asks for; released 10. 1 trains on what one rollout leaves."""
    entropy_over: Literal["sampled", "trained"] = "sampled"
    """Responses whose tokens Eq. 5 averages over: all that were sampled, or those that the filter
    left, as the released code does."""
    old_logp: Literal["recomputed", "sampler"] = "recomputed"
    """Source of log-probabilities and entropies before the update: a pass of the trainer, as in the
    paper's code, or the torch sampler, which draws with the same weights; that saves the pass, and
    no gap between the two is logged."""
    top_p: Literal[1.0] = 1.0
    """1: what is trained must be the distribution that was sampled."""

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

    updates_per_rollout: int = Field(8, ge=1, le=10**6)
    """Optimizer steps a rollout; paper 8, Fig. 8 is on-policy: 1."""
    micro_batch_size: Count = 32
    """Sequences a backward pass; speed and memory, never the result; paper 128."""
    micro_batch_tokens: Count | None = None
    """Tokens a backward pass, padding counted in, in place of micro_batch_size."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """Released adamw; SGD is without momentum."""
    learning_rate: LearningRate = 3e-4
    """Constant learning rate; paper 5e-7, released 1e-6 for 32B."""
    weight_decay: float = Field(0.0, ge=0, le=1000)
    """Weight decay; released 0."""
    max_grad_norm: Positive = 1.0
    """Gradient norm is clipped to this; released 1.0."""
    measure_entropy_change: bool = False
    """After the update, take the entropy at the rollout's own prefixes again."""


class ValidationConfig(Section):
    """Accuracy on held-out problems."""

    every: Count = 4
    """Rollouts between validations; paper 4."""
    temperature: Temperature = 1.0
    """1 measures Eq. 1's own objective; greedy accuracy is kept beside it."""
    samples: int = Field(2, ge=1, le=10**6)
    """Responses a problem at that temperature."""
    reading: Literal["graded", "strict", "lenient"] = "graded"
    """Which accuracy is R: as rewards are given; right and in the form asked for (boxed); or right
    by its last number."""
    details: bool = False
    """Keep all three accuracies, the share of responses in the form, and pass@k for k = 1, 2, 4,
    ... up to the samples."""


class CheckpointConfig(Section):
    """What is kept to go on from."""

    every: Count = 20
    """Rollouts between checkpoints."""
    keep: int = Field(2, ge=2)
    """Checkpoints kept; 2, so that one may be damaged."""
    export: Literal["each", "last"] = "each"
    """Write the policy in Hugging Face format with each checkpoint or at the end."""


class StartConfig(Section):
    """Where a run starts from, in place of its base model: a trained policy, changed at once."""

    run: TrainConfig
    """The run, of this one's seed, whose last policy is taken; in a file its path."""
    temperature: Temperature = 1.0
    """Divides all logits from then on: the last norm's weights are divided by it."""
    base_share: Fraction = 0.0
    """Share of the base model's weights, mixed into the policy's: 0 keeps the policy."""

    @field_validator("run", mode="before")
    @classmethod
    def _names_are_text(cls, table: Any) -> Any:
        if isinstance(table, dict) and not all(isinstance(key, str) for key in table):
            raise ValueError(str(bad_value("run", table, "give the settings of a run by name")))
        return table


class TrainConfig(Section):
    """One training run. ``steps`` is its length; the other settings say what it is."""

    seed: int = Field(1, ge=0)
    """Names every random stream of the run."""
    steps: Count = 80
    """Rollouts; a longer run continues a shorter one."""
    threads: int = Field(1, ge=1, le=1024)
    """CPU threads; 1 makes a run repeat bit for bit."""
    record_tokens_every: Count = 20
    """Rollouts between saved token records (tokens, covariance, ...)."""
    lemma1_every: int = Field(0, ge=0)
    """Rollouts between checks of Lemma 1 on the transformer; 0 for none."""
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
    start: StartConfig | None = None

    def __init__(self, **table: Any):
        """Build it from nested tables; every fault is one UserError."""
        try:
            super().__init__(**table)
        except ValidationError as error:
            raise user_error(error) from None

    @property
    def toy(self) -> bool:
        """Whether the model is made here rather than taken from elsewhere."""
        return not isinstance(self.model, PretrainedModelConfig)

    @property
    def earlier(self) -> TrainConfig | None:
        """The run that this one starts from, of the same seed; None where it is the base model."""
        return self.start and self.start.run.model_copy(update={"seed": self.seed})

    @property
    def makes_base_model(self) -> bool:
        """Whether what it starts from is made and kept: by supervised stages, of another run."""
        return self.toy or self.base.form is not None or self.start is not None

    @property
    def longest_sequence(self) -> int:
        """The tokens of the longest prompt and response together; a toy's prompt counts as 0."""
        return self.rollout.max_new_tokens + getattr(self.problems, "max_prompt_tokens", 0)

    @model_validator(mode="after")
    def _sections_agree(self):
        for contradiction in chain.from_iterable(find(self) for find in CONTRADICTIONS):
            raise ValueError(contradiction)
        return self


StartConfig.model_rebuild()

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
            tied=True, qkv_bias=toy.family == "qwen2",
        )  # fmt: skip
    return architecture_at(config.model.path)


TAGS = {"loss": "method", "algorithm": "name", "sampler": "kind"}
_UNIONS = {"loss": LossConfig, "algorithm": AlgorithmConfig, "sampler": SamplerConfig}
# Pydantic puts the arm of a union, and the kind of a list or one name, into the path of a field;
# users do not write them.
_ARMS: dict[str, list[str]] = {
    "model": ["toy-model", "pretrained-model"],
    "problems": ["toy", "training-set"],
    **{
        name: [arm.model_fields[tag].default for arm in get_args(get_args(_UNIONS[name])[0])]
        for name, tag in TAGS.items()
    },
}
_LIST_OR_NAME = ("str", "tuple[str, ...]", "[key]")
# In place of pydantic's words, which are Python's.
_WORDS = {
    "tuple_type": 'give a list, such as ["math500"]',
    "dict_type": "give a table, such as {2 = 1}",
}


def user_error(error: ValidationError) -> UserError:
    """Return pydantic's first fault in one line: field, value, fix."""
    first = error.errors()[0]
    kind, value = first["type"], first.get("input")
    arms = _ARMS.get(str(first["loc"][0]) if first["loc"] else "", [])
    path = [str(part) for i, part in enumerate(first["loc"]) if i != 1 or part not in arms]
    path = [part for part in path if part not in _LIST_OR_NAME]
    field = ".".join(path) or "config"
    if kind == "unknown_key":
        names = (first["ctx"]["name"], *first["ctx"]["known"])
        name, *known = (".".join([*path, one]) for one in names)
        return unknown_name("configuration key", name, known)
    if kind == "less_than_equal" and path[-1].endswith("_fraction"):
        return bad_value(field, value, fraction_fix(value))
    if kind == "value_error":  # raised by our own validators, which name the field
        text = str(first["ctx"]["error"])
        return UserError(f"{field}.{text}" if path and not text.startswith("unknown") else text)
    if kind == "missing":
        return UserError(f"{field} is missing beside the others: give it, or none of them")
    if kind in _WORDS:
        return bad_value(field, value, _WORDS[kind])
    choices = re.findall("'([^']*)'", first.get("ctx", {}).get("expected", ""))
    if kind == "literal_error" and isinstance(value, str) and choices:
        return unknown_name(field, value, choices)
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        tag = f"{path[0]}.{TAGS[path[0]]}"
        chosen = value.get(TAGS[path[0]]) if isinstance(value, dict) else value
        if chosen is None:
            return UserError(f"{tag} is missing beside the others: give one of {', '.join(arms)}")
        return unknown_name(tag, str(chosen), arms)
    if kind in ("model_type", "model_attributes_type"):
        return bad_value(field, value, "give a table of settings")
    if field == "rollout.top_p":
        return bad_value(
            field, value, "training needs the distribution that it samples from; give 1"
        )
    return bad_value(field, value, first["msg"][:1].lower() + first["msg"][1:])
