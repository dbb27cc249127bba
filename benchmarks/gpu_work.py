"""What the sections of ``gpu_check`` share: the device, its clock and memory, models, a rollout."""

from __future__ import annotations

import os
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from entropy_mech.config import TrainConfig
from entropy_mech.config.files import make_config
from entropy_mech.config.shapes import MODELS, Architecture
from entropy_mech.objectives import token_advantages
from entropy_mech.train.distributed import Ranks
from entropy_mech.train.engine import Engine, measure
from entropy_mech.train.models import build_engine
from entropy_mech.train.rollouts import RolloutBatch, join

GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if GPU else "cpu")
GIB = 2**30
# Dense bfloat16 with float32 sums, TFLOP/s by their maker, by a part of the device's name.
PEAK_TFLOPS = {"B200": 2250.0, "H200": 989.0, "H100 PCIe": 756.0, "H100": 989.0, "A100": 312.0}
SHAPE = MODELS["Qwen/Qwen2.5-0.5B"]
if not GPU:
    SHAPE = Architecture(2, 64, 128, 4, 2, 3000, 8192, head_size=16, tied=True, qkv_bias=True)
PROMPTS, RESPONSES, PROMPT_TOKENS, LONGEST = (16, 8, 100, 2000) if GPU else (4, 4, 20, 60)


def settle() -> None:
    """Wait until the device has done what it was given."""
    if GPU:
        torch.cuda.synchronize()


def seconds(work: Callable[[], object], rounds: int = 5) -> float:
    """Return the median time of a piece of work, after one round that warms up."""
    work()
    taken = []
    for _ in range(rounds):
        settle()
        start = time.perf_counter()
        work()
        settle()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def peak_gib(work: Callable[[], object]) -> float | None:
    """Return the most memory that a piece of work adds, by torch's allocator; None on a CPU."""
    if not GPU:
        return None
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    work()
    settle()
    return (torch.cuda.max_memory_allocated() - before) / GIB


def matmul_tflops() -> float:
    """Return the speed of a large square product in the dtype that is trained in."""
    size = 8192 if GPU else 256
    a = torch.randn(size, size, device=DEVICE, dtype=torch.bfloat16 if GPU else torch.float32)
    return 2 * size**3 / seconds(lambda: a @ a) / 1e12


def peak_tflops() -> tuple[float, str]:
    """Return what 100 % MFU stands for, and where the number is from."""
    if GPU:
        for part, tflops in PEAK_TFLOPS.items():
            if part in torch.cuda.get_device_name():
                return tflops, "its maker's, dense bfloat16"
    return matmul_tflops(), "a square product, measured"


def device_words() -> str:
    """Return the device in words."""
    if GPU:
        found = torch.cuda.get_device_properties(0)
        return f"{found.name}, {found.total_memory / GIB:.0f} GiB"
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    name = re.search(r"model name\s*: (.+)", text)
    return f"{name[1] if name else 'CPU'}, {os.cpu_count()} cores, no GPU"


def random_model():
    """Return a Qwen2 of random weights, float32, of Qwen2.5-0.5B's shape on a GPU."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=SHAPE.vocabulary,
            hidden_size=SHAPE.hidden,
            intermediate_size=SHAPE.intermediate,
            num_hidden_layers=SHAPE.layers,
            num_attention_heads=SHAPE.heads,
            num_key_value_heads=SHAPE.kv_heads,
            max_position_embeddings=8192,
            tie_word_embeddings=SHAPE.tied,
            pad_token_id=0,
            eos_token_id=1,
            bos_token_id=None,
        )
    )


def configuration(kind: str, *, budget: int, loss: dict, stage: int = 2) -> TrainConfig:
    """Return a run's settings: bfloat16 passes with checkpointing, two updates a rollout."""
    return make_config(
        {
            "threads": torch.get_num_threads(),
            "model": {"path": "random"},
            "problems": {"training_set": "gsm8k", "max_prompt_tokens": 128},
            "rollout": {"prompts": PROMPTS, "responses": RESPONSES, "max_new_tokens": LONGEST,
                        "group_filter": False},
            "update": {"updates_per_rollout": 2, "micro_batch_tokens": budget,
                       "learning_rate": 1e-6},
            "loss": loss,
            "engine": {"kind": kind, "dtype": "bfloat16", "zero_stage": stage,
                       "gradient_checkpointing": True, "forward_tokens": 32768},
            "sampler": {"kind": "torch"},
        }
    )  # fmt: skip


def build(config: TrainConfig) -> Engine:
    """Return an engine around a random model."""
    model = random_model()
    if config.engine.kind == "deepspeed":
        model = model.bfloat16()
    return build_engine(model, config.engine, config.update, Ranks())


def rollout(engine: Engine, config: TrainConfig) -> tuple[RolloutBatch, float]:
    """Return a made-up rollout with old log-probabilities, and the seconds that those took."""
    generator = torch.Generator().manual_seed(1)
    rows, words = PROMPTS * RESPONSES, SHAPE.vocabulary
    lengths = (torch.rand(rows, generator=generator) ** 2 * (LONGEST - 20)).long() + 20
    mask = torch.arange(LONGEST) < lengths[:, None]
    tokens = torch.randint(2, words, (rows, LONGEST), generator=generator)
    prompts = [
        tuple(torch.randint(2, words, (PROMPT_TOKENS,), generator=generator).tolist())
        for _ in range(PROMPTS)
    ]
    ids, prompt_length = join([p for p in prompts for _ in range(RESPONSES)], tokens, mask, 0)
    batch = RolloutBatch(
        ids, prompt_length, tokens, mask,
        torch.arange(PROMPTS).repeat_interleave(RESPONSES), torch.arange(RESPONSES).repeat(PROMPTS),
        (torch.rand(rows, generator=generator) > 0.5).float(),
    )  # fmt: skip
    settle()
    start = time.perf_counter()
    logp, entropy = measure(engine, batch)
    settle()
    took = time.perf_counter() - start
    advantages = token_advantages(config.algorithm, batch.rewards.view(-1, RESPONSES), mask, None)
    return replace(batch, logp_old=logp, entropy=entropy, advantages=advantages), took


def update_flops(batch: RolloutBatch) -> float:
    """Return the operations of an update: 6 a weight and token, the head at responses alone.

    What checkpointing computes again is not counted; attention's two products are.
    """
    lengths = batch.lengths()
    responses = int(batch.response_mask.sum())
    dense = SHAPE.body_parameters * int(lengths.sum()) + SHAPE.head_parameters * responses
    return 6.0 * dense + 6.0 * SHAPE.layers * SHAPE.query_width * float((lengths**2).sum())
