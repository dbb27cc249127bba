"""What carries a run: the training engine, the sampler, and where metrics are mirrored."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from entropy_mech.config.section import Seconds, Section

# -- The training engine -------------------------------------------------------------------------


class EngineConfig(Section):
    """How forward passes, gradients and the optimizer are carried out; never what they compute."""

    kind: Literal["torch", "deepspeed"] = Field(
        "torch", description="torch: one process; deepspeed: ZeRO over any number of them"
    )
    zero_stage: Literal[0, 1, 2, 3] = Field(
        2, description="DeepSpeed: what is sharded; 1 optimizer, 2 gradients too, 3 weights too"
    )
    offload_optimizer: bool = Field(
        False, description="DeepSpeed: keep the optimizer's state in host memory"
    )
    offload_weights: bool = Field(
        False, description="DeepSpeed ZeRO 3: keep the weights in host memory between uses"
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="of forward and backward passes; the optimizer's own copy is always float32. "
        "The paper's runs use bfloat16",
    )
    gradient_checkpointing: bool = Field(
        False, description="recompute each block in the backward pass: less memory, a third slower"
    )
    attention: Literal["auto", "flash_attention_2", "sdpa", "eager"] = Field(
        "auto", description="auto takes flash attention where it is installed and fits, else sdpa"
    )
    forward_tokens: int = Field(
        8192,
        ge=1,
        description="tokens of one pass without gradient, padding counted in. Old "
        "log-probabilities come from these passes, so they do not depend on the micro-batch size",
    )
    collective_timeout_s: Seconds = Field(
        1800.0,
        description="how long a process waits for another before it names it and stops",
    )

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


class VLLMSamplerConfig(Section):
    """Sample with vLLM: an engine in each training process, on its GPU, asleep while it trains.

    Every sync is numbered, and probed against the trainer.
    """

    kind: Literal["vllm"] = "vllm"
    tensor_parallel: int = Field(
        1,
        ge=1,
        description="GPUs an engine's weights are split over; 32B in bfloat16 needs 2 of "
        "80 GB or more",
    )
    gpu_memory_fraction: float = Field(
        0.5,
        gt=0,
        le=1,
        description="share of a GPU's memory that the engine takes while awake",
    )
    max_sequences: int = Field(
        256, ge=1, description="responses that an engine samples at once; speed and memory alone"
    )
    max_num_batched_tokens: int | None = Field(
        None,
        ge=1,
        description="tokens of one engine step, which bounds how many prompts are read at once; "
        "none takes the larger of 8192 and the longest sequence",
    )
    enforce_eager: bool = Field(
        False,
        description="no compilation and no CUDA graphs: quicker start, slower steps; always so "
        "on a CPU",
    )
    probe_tolerance: float | None = Field(
        None,
        gt=0,
        description="largest gap in nats of log-probabilities, sampler to trainer, that the probe "
        "after each sync lets pass; none is 1e-3 in float32 and 0.5 in bfloat16",
    )
    sync_timeout_s: Seconds = Field(
        600.0, description="how long an engine may take to load new weights"
    )
    sample_timeout_s: Seconds = Field(
        3600.0, description="how long an engine may take for its share of one rollout"
    )


SamplerConfig = Annotated[TorchSamplerConfig | VLLMSamplerConfig, Field(discriminator="kind")]


# -- Mirrors of the metrics ----------------------------------------------------------------------


class MirrorConfig(Section):
    """A copy of the metrics for a dashboard; one that fails is named once and never stops a run."""

    kind: Literal["none", "tensorboard", "wandb", "trackio"] = Field(
        "none", description="the dashboard; its package must be installed"
    )
    project: str = Field(
        "entropy_mech", min_length=1, description="the project's name at wandb or trackio"
    )
