"""What carries the training: one process, or DeepSpeed over several."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from entropy_mech.train.config.section import Seconds, Section


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
