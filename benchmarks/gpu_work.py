"""What ``gpu_phases`` trains: model and prompts of random numbers, sizes, reward, device's peak."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from entropy_mech.config.shapes import MODELS, Architecture

SPECIAL = ("<pad>", "<eos>", "<unk>")
PAD, EOS = 0, 1
# Dense bfloat16 with float32 sums, TFLOP/s, by a part of the device's name; the first match counts.
PEAK_TFLOPS = {
    "B200": 2250.0,
    "H200": 989.0,
    "GH200": 989.0,
    "H100 PCIe": 756.0,
    "H100 NVL": 835.0,
    "H100": 989.0,
    "H20": 148.0,
    "A100": 312.0,
    "A800": 312.0,
    "A40": 150.0,
    "A30": 165.0,
    "A10G": 70.0,
    "A10": 125.0,
    "L40S": 362.0,
    "L40": 181.0,
    "L4": 121.0,
    "RTX 4090": 165.0,
    "RTX A6000": 155.0,
    "RTX 3090": 71.0,
}


@dataclass(frozen=True)
class Sizes:
    """One check; the same for both sides of a comparison."""

    prompts: int
    responses: int
    prompt_tokens: int
    response_tokens: int
    updates: int
    micro_batch: int

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence."""
        return self.prompt_tokens + self.response_tokens


SHAPES = {
    "0.5b": MODELS["Qwen/Qwen2.5-0.5B"],
    "small": Architecture(2, 128, 512, 4, 2, 4096, 512, head_size=32, tied=True, qkv_bias=True),
}
SIZES = {
    "0.5b": Sizes(32, 8, 128, 512, updates=4, micro_batch=16),
    "small": Sizes(8, 4, 16, 32, updates=2, micro_batch=8),
}


@dataclass(frozen=True)
class LastTokenEven:
    """A prompt whose response is right if its last token has an even number: about half are."""

    prompt: str
    reference: str = ""
    level: str = ""

    def grade(self, response: str):
        """Return a verdict."""
        from entropy_mech.grading.verdict import Verdict

        return Verdict("correct" if reward(response) else "wrong")


def reward(text: str) -> float:
    """Return 1 where the last token's number is even, however a tokenizer spaces its words."""
    return float(text[-1:] in set("02468"))


def prompt_texts(count: int, sizes: Sizes, vocabulary: int) -> list[str]:
    """Return prompts of random tokens, all of the same length."""
    size = (count, sizes.prompt_tokens)
    numbers = np.random.default_rng(0).integers(len(SPECIAL), vocabulary, size)
    return [" ".join(f"t{n}" for n in row) for row in numbers]


def save_model(folder: Path, shape: Architecture) -> None:
    """Write a Qwen2 of random weights, and a tokenizer whose words are t3, t4, ..."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=shape.vocabulary,
            hidden_size=shape.hidden,
            intermediate_size=shape.intermediate,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.kv_heads,
            max_position_embeddings=shape.positions,
            tie_word_embeddings=shape.tied,
            pad_token_id=PAD,
            eos_token_id=EOS,
            bos_token_id=None,
        )
    ).save_pretrained(folder)
    words = dict.fromkeys(SPECIAL) | dict.fromkeys(
        f"t{number}" for number in range(len(SPECIAL), shape.vocabulary)
    )
    vocabulary = {word: number for number, word in enumerate(words)}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token=SPECIAL[2]))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    pad, eos, unknown = SPECIAL
    PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token=pad, eos_token=eos, unk_token=unknown
    ).save_pretrained(folder)


def load_tokenizer(folder: str):
    """Return the tokenizer; for a Qwen2, AutoTokenizer would make Qwen2's own of its words."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(folder)


def configuration(folder: str, sizes: Sizes, case: dict):
    """Return the trainer's own configuration of a case."""
    from entropy_mech.config.files import make_config

    sampler = {"kind": case["sampler"]}
    if case["sampler"] == "vllm":
        sampler["gpu_memory_fraction"] = 0.3
    return make_config(
        {
            "threads": torch.get_num_threads(),
            "model": {"path": folder},
            "problems": {"training_set": "gsm8k", "max_prompt_tokens": sizes.prompt_tokens},
            "rollout": {
                "prompts": sizes.prompts,
                "responses": sizes.responses,
                "max_new_tokens": sizes.response_tokens,
                "group_filter": False,
            },
            "update": {
                "updates_per_rollout": sizes.updates,
                "micro_batch_size": sizes.micro_batch,
                "learning_rate": 1e-6,
            },
            "loss": {"method": "ppo_clip"},
            "engine": {
                "kind": case["engine"],
                "dtype": case["dtype"],
                "gradient_checkpointing": case["checkpointing"],
                "forward_tokens": max(8192, 2 * sizes.micro_batch * sizes.longest),
            },
            "sampler": sampler,
        }
    )


def peak_flops(device: torch.device, dtype: str, given_tflops: float | None) -> tuple[float, str]:
    """Return the operations a second that 100 % stands for, and where the number is from."""
    if given_tflops:
        return given_tflops * 1e12, "as given"
    if device.type == "cuda":
        name = torch.cuda.get_device_name()
        for part, tflops in PEAK_TFLOPS.items():
            if part in name:
                return tflops * 1e12, "dense bfloat16 by its maker"
        return matmul_flops(device, getattr(torch, dtype)), f"{dtype} matmul, measured"
    return matmul_flops(device, torch.float32), "float32 matmul, measured"


def matmul_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Return the fastest measured square product's operations a second."""
    size, repetitions = (8192, 20) if device.type == "cuda" else (512, 300)
    a = torch.randn(size, size, device=device).to(dtype)
    seconds = []
    for _ in range(1 + repetitions):  # the first one, which warms up, is never the fastest
        settle(device)
        start = time.perf_counter()
        a @ a
        settle(device)
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / min(seconds)


def settle(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()
