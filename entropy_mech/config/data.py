"""What is trained and on what: the model, its supervised stage, training problems, validation."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from entropy_mech.config.section import (
    Fraction,
    LearningRate,
    LevelCounts,
    LevelShares,
    Section,
)
from entropy_mech.errors import unknown_name

# -- The model -----------------------------------------------------------------------------------


class ModelConfig(Section):
    """The transformer: a real Hugging Face class at a toy size."""

    family: Literal["qwen2", "mistral", "llama"] = Field(
        "qwen2", description="model class: Qwen2ForCausalLM, MistralForCausalLM, LlamaForCausalLM"
    )
    layers: int = Field(2, ge=1, le=1000, description="transformer blocks")
    hidden_size: int = Field(64, ge=8, le=10**5, description="width D")
    intermediate_size: int = Field(
        256, ge=8, le=10**6, description="width of the feed-forward part"
    )
    heads: int = Field(4, ge=1, description="attention heads; must divide hidden_size")
    kv_heads: int = Field(2, ge=1, description="key and value heads; must divide heads")
    initializer_range: float = Field(
        0.1,
        gt=0,
        le=100,
        description="std of the initial weights; 0.02 learns far slower at this width",
    )

    @model_validator(mode="after")
    def _heads_divide(self):
        if self.hidden_size % self.heads or self.heads % self.kv_heads:
            raise ValueError("heads must divide hidden_size, and kv_heads must divide heads")
        return self


class PretrainedModelConfig(Section):
    """A model of the hub, or a folder in Hugging Face format."""

    path: str = Field(min_length=1, description="hub id such as Qwen/Qwen2.5-7B, or a folder")
    revision: str | None = Field(
        None,
        min_length=1,
        description="commit on the hub; none takes the newest and records which it was",
    )


LEVEL_SHARES = {1: 0.14, 2: 0.16, 3: 0.14, 4: 0.12, 6: 0.12, 8: 0.12, 10: 0.1, 12: 0.1}


class InstructConfig(Section):
    """A further supervised stage on cleaner demonstrations: what makes an instruct model."""

    steps: int = Field(300, ge=1, description="supervised optimizer steps")
    learning_rate: LearningRate = Field(1e-3, description="as ``base.learning_rate``")
    error_fraction: Fraction = Field(0.2, description="values that are wrong, in maths")
    code_error_fraction: Fraction = Field(
        0.12, description="operators, and constants, that are wrong"
    )
    slip_fraction: Fraction = Field(0.004, description="characters that are copied wrongly")


class BaseModelConfig(Section):
    """The base model: demonstrations without a fault, then a short stage of faulty ones.

    Facts are learned far faster from demonstrations that are right; what is learned last is how
    often the teacher errs.
    """

    seed: int = Field(0, ge=0, description="seed of the initial weights and the demonstrations")
    batch_size: int = Field(32, ge=1, le=10**6, description="demonstrations a step")
    level_shares: LevelShares = Field(
        LEVEL_SHARES, description="share of each level, a number of steps, in demonstrations"
    )
    code_fraction: Fraction = Field(0.0, description="demonstrations that are code")
    steps: int = Field(5000, ge=1, description="optimizer steps on right demonstrations")
    learning_rate: LearningRate = Field(
        5e-3,
        description="peak AdamW learning rate of a model of width 32, cosine decay; width D has "
        "32 / D of it",
    )
    noisy_steps: int = Field(800, ge=1, description="optimizer steps on faulty demonstrations")
    noisy_learning_rate: LearningRate = Field(1e-3, description="as ``learning_rate``")
    error_fraction: Fraction = Field(0.4, description="values that are wrong, in maths")
    code_error_fraction: Fraction = Field(
        0.25, description="operators, and constants, that are wrong"
    )
    slip_fraction: Fraction = Field(0.004, description="characters that are copied wrongly")
    instruct: InstructConfig | None = Field(
        None, description="a further stage that makes an instruct model; none leaves a base model"
    )


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
    """The toy world: chains that are answered in steps; a level is a number of steps."""

    domain: Literal["maths", "code"] = Field(
        "maths", description="maths asks for a digit, code for a program"
    )
    level_shares: LevelShares = Field(
        LEVEL_SHARES, description="share of each level among training problems"
    )
    train_size: int = Field(4096, le=10**8, description="training problems; 1 or more")
    validation_counts: LevelCounts = Field(
        {1: 28, 2: 32, 3: 28, 4: 24, 6: 24, 8: 24, 10: 20, 12: 20},
        description="distinct held-out problems of each level",
    )

    @model_validator(mode="after")
    def _training_set_not_empty(self):
        if self.train_size < 1:
            raise ValueError(
                f"train_size = {self.train_size}: the training set is empty; give 1 or more"
            )
        return self


class TrainingSetConfig(Section):
    """A training set of the paper, and the benchmarks that validate (section 2.3)."""

    training_set: str | tuple[str, ...] = Field(
        description="a name of entropy_mech.problems.sources, or a list of names whose union is "
        "taken; the paper's code runs take acecode, eurus_code and kodcode"
    )
    data_dir: str = Field("", description="folder with NAME.jsonl or .parquet, in place of the hub")
    validation: tuple[str, ...] = Field(
        ("math500",),
        min_length=1,
        description="benchmarks whose mean accuracy is R of the law; the paper's "
        "section 2 takes five for maths, two for code, section 4 seven",
    )
    validation_limit: int | None = Field(
        None, ge=1, description="first problems of each benchmark; none takes all"
    )
    chat_template: bool = Field(
        False, description="wrap the prompt as the tokenizer's template says; for instruct models"
    )
    max_prompt_tokens: int = Field(
        2048, ge=1, description="longer prompts are left out of training; the released 2,048"
    )
    drop_benchmark_problems: bool = Field(
        False,
        description="leave out training problems that also stand in a validation benchmark; "
        "the paper does not (14 of 83 AMC problems are in DAPO-Math)",
    )

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
