"""TRL's side of ``cycle_vs_trl``: one GRPOTrainer run, with our cycles between its own."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from cycle_models import prompts
from cycle_work import (
    LEARNING_RATE,
    MAX_TOKENS,
    NO_SUCH_TOKEN,
    PROMPTS,
    RESPONSES,
    UPDATES,
    reward,
)
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import GRPOTrainer
from trl_settings import plain_grpo


class _Turns(TrainerCallback):
    """Before each of TRL's cycles it is our turn; TRL's clock starts when we are done."""

    def __init__(self, our_turn: Callable[[], dict]):
        self.our_turn, self.pairs = our_turn, []
        self.now: dict = {}

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step % UPDATES == 0:
            self.mine = self.our_turn()
            self.now = {"tokens": 0, "optimizer_steps": 0, "rollout_s": 0.0}
            self.cpu, self.start = time.process_time(), time.perf_counter()

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step % UPDATES == 0:
            self.now["wall_s"] = time.perf_counter() - self.start
            self.now["cpu_s"] = time.process_time() - self.cpu
            self.pairs.append((self.now, self.mine))


def train_beside(folder: Path, our_turn: Callable[[], dict], case: dict) -> list[tuple[dict, dict]]:
    """Run TRL for one warm-up cycle and ``cycles`` more; return (TRL's, ours) of each."""
    forced, micro = case["lengths"] == "forced", case["trl_micro_batch"]
    per_update = PROMPTS * RESPONSES // UPDATES
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    turns = _Turns(our_turn)

    def reward_function(completions, completion_ids, **_):
        turns.now["tokens"] += sum(map(len, completion_ids))
        return [reward(text) for text in completions]

    with tempfile.TemporaryDirectory() as output:
        arguments = plain_grpo(
            output_dir=output,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            per_device_train_batch_size=micro,
            gradient_accumulation_steps=per_update // micro,
            steps_per_generation=PROMPTS * RESPONSES // micro,
            num_generations=RESPONSES,
            max_completion_length=MAX_TOKENS,
            max_steps=UPDATES * (1 + case["cycles"]),
            learning_rate=LEARNING_RATE,
        )
        trainer = GRPOTrainer(
            model=model,
            reward_funcs=reward_function,
            args=arguments,
            train_dataset=Dataset.from_dict({"prompt": prompts(512)}),
            processing_class=tokenizer,
            callbacks=[turns],
        )
        if forced:
            trainer.eos_token_ids = [NO_SUCH_TOKEN]
            trainer.generation_config.eos_token_id = [NO_SUCH_TOKEN]
        trainer.create_optimizer()
        _watch(trainer, turns)
        trainer.train()
    return turns.pairs


def _watch(trainer: GRPOTrainer, turns: _Turns) -> None:
    """Count TRL's optimizer steps and time its generation."""
    generate = trainer.model.generate

    def timed(*args, **kwargs):
        start = time.perf_counter()
        out = generate(*args, **kwargs)
        turns.now["rollout_s"] += time.perf_counter() - start
        return out

    def count(*_):
        turns.now["optimizer_steps"] += 1

    trainer.model.generate = timed
    trainer.optimizer.register_step_post_hook(count)
