"""What is trained: the transformer and, for a toy, the supervised stage that makes it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from entropy_mech.train.config.section import (
    FamilyShares,
    Fraction,
    LearningRate,
    LevelShares,
    Operations,
    Section,
)


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


class InstructConfig(Section):
    """A further supervised stage on cleaner demonstrations: what makes an instruct model."""

    steps: int = Field(300, ge=1, description="supervised optimizer steps")
    learning_rate: LearningRate = Field(1e-3, description="peak AdamW learning rate, cosine decay")
    step_fraction: Fraction = Field(0.3, description="demonstrations that answer in steps")
    step_error_fraction: Fraction = Field(0.04, description="steps with a wrong result")
    direct_error_fraction: Fraction = Field(0.08, description="direct answers that are wrong")
    code_error_fraction: Fraction = Field(0.1, description="programs with a wrong constant")


class BaseModelConfig(Section):
    """The base model: a short supervised stage on demonstrations, shared by all runs."""

    seed: int = Field(0, ge=0, description="seed of the initial weights and the demonstrations")
    steps: int = Field(2500, ge=1, description="supervised optimizer steps")
    batch_size: int = Field(64, ge=1, le=10**6, description="demonstrations a step")
    learning_rate: LearningRate = Field(3e-3, description="peak AdamW learning rate, cosine decay")
    step_fraction: Fraction = Field(0.2, description="demonstrations that answer in steps")
    step_error_fraction: Fraction = Field(0.08, description="steps with a wrong result")
    direct_error_fraction: Fraction = Field(0.15, description="direct answers that are wrong")
    level_shares: LevelShares = Field(
        {2: 0.7, 4: 0.15, 5: 0.15}, description="share of each level among maths demonstrations"
    )
    operations: Operations = Field("+", description="operations of the maths demonstrations")
    code_fraction: Fraction = Field(0.0, description="demonstrations that are code")
    code_error_fraction: Fraction = Field(0.2, description="programs with a wrong constant")
    family_shares: FamilyShares = Field(
        {"shift": 0.3, "scale": 0.3, "affine": 0.4},
        description="share of each family of functions among code demonstrations",
    )
    instruct: InstructConfig | None = Field(
        None, description="a further stage that makes an instruct model; none leaves a base model"
    )


def _kind(value: Any) -> str:
    has_path = "path" in value if isinstance(value, dict) else hasattr(value, "path")
    return "pretrained-model" if has_path else "toy-model"


# A table with a path is a model that exists; any other describes a toy.
AnyModelConfig = Annotated[
    Annotated[ModelConfig, Tag("toy-model")]
    | Annotated[PretrainedModelConfig, Tag("pretrained-model")],
    Discriminator(_kind),
]
