"""TRL's side of ``gpu_phases``: GRPOTrainer with the same model, prompts and sizes."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack

import torch
from datasets import Dataset
from gpu_meter import Meter, sequence_flops
from gpu_work import SHAPES, SIZES, load_tokenizer, prompt_texts, reward
from transformers import AutoModelForCausalLM, TrainerCallback
from trl import GRPOTrainer
from trl_settings import plain_grpo


class _Watch(TrainerCallback):
    """Divides TRL's cycle into the phases that ours has."""

    def __init__(self, case: dict):
        self.shape, self.sizes = SHAPES[case["size"]], SIZES[case["size"]]
        self.meter = Meter(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
        self.update, self.lengths = ExitStack(), []

    def reward(self, completions, completion_ids, prompts, **_):
        """TRL's reward function; notes how long the responses were."""
        assert all(len(text.split()) == self.sizes.prompt_tokens for text in prompts)
        self.lengths = [len(ids) for ids in completion_ids]
        return [reward(text) for text in completions]

    def attach(self, trainer: GRPOTrainer) -> None:
        """Measure the trainer's own calls."""
        generate, score = trainer.model.generate, trainer._generate_and_score_completions
        logps = trainer._get_per_token_logps_and_entropies

        def generated(*args, **kwargs):
            with self.meter.phase("sample") as self.sampled:
                return generate(*args, **kwargs)

        def measured(*args, **kwargs):
            if torch.is_grad_enabled():
                return logps(*args, **kwargs)
            with self.meter.phase("measure") as self.passed:
                return logps(*args, **kwargs)

        def scored(*args, **kwargs):
            self.passed = {}
            out = score(*args, **kwargs)
            prompt = self.sizes.prompt_tokens
            flops = sum(sequence_flops(self.shape, prompt, length) for length in self.lengths)
            tokens = sum(self.lengths)
            self.sampled |= {"tokens": tokens, "flops": flops}
            tokens += prompt * len(self.lengths)
            self.passed |= {"tokens": tokens, "flops": flops}
            done = self.update.enter_context(self.meter.phase("update, ppo_clip"))
            done |= {"tokens": tokens, "flops": 3 * flops}
            return out

        trainer.model.generate = generated
        trainer._generate_and_score_completions = scored
        trainer._get_per_token_logps_and_entropies = measured

    def on_step_end(self, args, state, control, **kwargs):
        """End the phase with the last optimizer step of a rollout."""
        if state.global_step % self.sizes.updates == 0:
            self.update.close()


def run_trl(case: dict) -> dict:
    """Train for some rounds with TRL and return a row a phase."""
    watch, sizes = _Watch(case), SIZES[case["size"]]
    tokenizer = load_tokenizer(case["folder"])
    model = AutoModelForCausalLM.from_pretrained(case["folder"], dtype=torch.float32)
    rows = sizes.prompts * sizes.responses
    with tempfile.TemporaryDirectory() as output:
        arguments = plain_grpo(
            output_dir=output,
            use_cpu=not torch.cuda.is_available(),
            bf16=case["dtype"] == "bfloat16",
            gradient_checkpointing=case["checkpointing"],
            per_device_train_batch_size=sizes.micro_batch,
            gradient_accumulation_steps=rows // sizes.updates // sizes.micro_batch,
            steps_per_generation=rows // sizes.micro_batch,
            num_generations=sizes.responses,
            max_completion_length=sizes.response_tokens,
            max_steps=sizes.updates * (1 + case["rounds"]),
            learning_rate=1e-6,
        )
        texts = prompt_texts(4 * sizes.prompts, sizes, watch.shape.vocabulary)
        trainer = GRPOTrainer(
            model=model,
            reward_funcs=watch.reward,
            args=arguments,
            train_dataset=Dataset.from_dict({"prompt": texts}),
            processing_class=tokenizer,
            callbacks=[watch],
        )
        watch.attach(trainer)
        trainer.train()
    return {"rows": watch.meter.summary()}
