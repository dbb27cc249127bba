"""Our side of ``cycle_vs_trl``: the parts of the training loop, as it calls them."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
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
from transformers import AutoModelForCausalLM, AutoTokenizer

from entropy_mech.config.files import make_config
from entropy_mech.grading.verdict import Verdict
from entropy_mech.objectives import group_advantages
from entropy_mech.sampling.torch_sampler import TorchSampler
from entropy_mech.train.distributed import Ranks
from entropy_mech.train.engine import measure
from entropy_mech.train.pretrain import build_engine
from entropy_mech.train.rollouts import RolloutMaker
from entropy_mech.train.tasks import Grader, Prompts, Tasks
from entropy_mech.train.update import update_policy


@dataclass(frozen=True)
class FirstDigit:
    """A prompt that is graded by ``cycle_work.reward``."""

    prompt: str
    reference: str = ""
    level: str = ""

    def grade(self, response: str) -> Verdict:
        return Verdict("correct" if reward(response) else "wrong")


class Ours:
    """A policy with its sampler and engine; ``cycle`` is one step of training."""

    def __init__(self, folder: Path, *, forced: bool, threads: int):
        self.config = make_config(
            {
                "threads": threads,
                "rollout": {
                    "prompts": PROMPTS,
                    "responses": RESPONSES,
                    "max_new_tokens": MAX_TOKENS,
                    "group_filter": False,
                },
                "update": {
                    "updates_per_rollout": UPDATES,
                    "learning_rate": LEARNING_RATE,
                    "micro_batch_tokens": 2400,  # 32 of the longest rows
                },
                "loss": {"method": "ppo_clip"},
            }
        )
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        self.engine = build_engine(model, self.config.engine, self.config.update, Ranks())
        self.model, self.step, self.cursor, self.optimizer_steps = model, 0, 0, 0
        self.engine.optimizer.register_step_post_hook(self._count)
        eos = NO_SUCH_TOKEN if forced else tokenizer.eos_token_id
        sampler = TorchSampler(model, pad_token=tokenizer.pad_token_id, eos_token=eos)
        problems = [FirstDigit(text) for text in prompts(512)]
        tasks = Prompts(tokenizer, self.config).of_tasks(Tasks(problems, ()), Ranks())
        self.rollouts = RolloutMaker(self.config, tasks, tokenizer, sampler, Grader(Ranks()))

    def _count(self, *_) -> None:
        self.optimizer_steps += 1

    def cycle(self) -> dict:
        """Sample, grade, measure, update; return times and what was done."""
        steps_before = self.optimizer_steps
        cpu, start = time.process_time(), time.perf_counter()
        rollout = self.rollouts.make(self.step, self.cursor)
        sampled = time.perf_counter()
        logp, entropy = measure(self.engine, rollout.batch)
        batch = replace(rollout.batch, logp_old=logp, entropy=entropy)
        by_row = group_advantages(batch.rewards.view(-1, RESPONSES)).flatten()
        advantages = torch.where(batch.response_mask, by_row.unsqueeze(1), 0.0)
        batch = replace(batch, advantages=advantages)
        measured = time.perf_counter()
        update_policy(self.engine, batch, self.config, self.step)
        end = time.perf_counter()
        cpu = time.process_time() - cpu
        self.step, self.cursor = self.step + 1, rollout.cursor
        response = batch.response_mask.sum(dim=1)
        return {
            "wall_s": end - start,
            "cpu_s": cpu,
            "rollout_s": sampled - start,
            "measure_s": measured - sampled,
            "update_s": end - measured,
            "tokens": int(response.sum()),
            "optimizer_steps": self.optimizer_steps - steps_before,
            "lengths": list(zip(batch.prompt_length.tolist(), response.tolist(), strict=True)),
        }

    def shape(self) -> dict:
        """Return what ``cycle_work.flops`` needs."""
        config = self.model.config
        blocks = self.model.model.layers
        return {
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "block_parameters": sum(p.numel() for p in blocks.parameters() if p.ndim == 2),
            "head_parameters": self.model.lm_head.weight.numel(),
            "attention": config.num_hidden_layers
            * config.num_attention_heads
            * blocks[0].self_attn.head_dim,
        }
