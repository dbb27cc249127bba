"""A tiny policy trained under TRL, each run in its own process: ``notebooks/with_trl.ipynb``."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd

from entropy_mech.errors import UserError, bad_value

COLUMNS = ("loss_type", "step", "entropy_nats", "reward", "selected_fraction")
_HOW = "pip install 'entropy-mech[trl]', or make stack in a clone"
# Knows the most frequent facts of the toy world after a minute of supervised training.
_POLICY = {
    "model": {
        "layers": 1, "hidden_size": 32, "intermediate_size": 128, "heads": 2, "kv_heads": 1,
    },
    "base": {"steps": 1200, "noisy_steps": 200, "batch_size": 64, "level_shares": {1: 1.0}},
}  # fmt: skip
_NAMES = {"entropy": "entropy_nats", "cov/selected_fraction": "selected_fraction"}


def train_with_trl(
    loss_types: Sequence[str],
    *,
    seed: int = 1,
    steps: int = 120,
    out_dir: str = "",
    **settings: Any,
) -> pd.DataFrame:
    """Train the tiny policy under TRL once with each loss; return what TRL logged.

    Where TRL is not installed nothing is trained: one line says so, and the frame is empty.

    Args:
        loss_types: of ``CovGRPOConfig``: "kl_cov", "clip_cov", or TRL's ("dapo").
        seed: of the prompts, the samples and the draws.
        steps: optimizer steps, four a rollout of 16 prompts x 8 responses.
        out_dir: keeps TRL's output; a temporary folder where empty.
        settings: more fields of ``CovGRPOConfig``.

    Returns:
        A row an optimizer step and loss: ``loss_type``, ``step``, ``entropy_nats``, ``reward``
        (the rollout's mean) and ``selected_fraction``.

    Raises:
        UserError: a setting that the configuration refuses, or a run that fails.

    """
    if steps < 4:
        raise bad_value("steps", steps, "give at least the 4 of one rollout")
    if importlib.util.find_spec("trl") is None:
        print(f"TRL is not installed here, so nothing was trained: {_HOW}")
        return pd.DataFrame(columns=COLUMNS)
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor() as pool:
        folders = [Path(out_dir or temporary) / f"trl-{name}" for name in loss_types]
        orders = [
            {"loss_type": name, "seed": seed, "max_steps": steps, **settings} for name in loss_types
        ]
        return pd.concat(pool.map(_trained, orders, folders), ignore_index=True)


def _trained(order: dict[str, Any], folder: Path) -> pd.DataFrame:
    """Train in a process of its own; return its steps, or raise its last line."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = {"VLLM_LOGGING_LEVEL": "ERROR", "HF_HUB_DISABLE_TELEMETRY": "1", **os.environ}
    command = [sys.executable, "-m", __name__, json.dumps(order), str(folder)]
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    run = subprocess.run(command, env=environment, text=True, check=False, **streams)
    if run.returncode:
        last = (run.stdout.strip().splitlines() or ["no output"])[-1]
        said = last.removeprefix("entropy_mech.errors.UserError: ")
        raise UserError(f"{folder.name}: {said}")
    return pd.read_json(folder / "steps.jsonl", lines=True)


def trl_trainer(folder: Path, loss_type: str, seed: int, **settings: Any):
    """Return a trainer set up as in plain TRL, except for its class, configuration and loss."""
    from datasets import Dataset

    from entropy_mech.integrations.trl import CovGRPOConfig, CovGRPOTrainer

    policy, problems = _policy_and_problems(seed)
    by_prompt = {problem.prompt: problem for problem in problems}

    def toy_reward(prompts, completions, **_):
        graded = zip(prompts, completions, strict=True)
        return [by_prompt[prompt].grade(text).reward for prompt, text in graded]

    arguments = {
        "per_device_train_batch_size": 32,  # responses in a backward pass
        "gradient_accumulation_steps": 1,  # backward passes in an optimizer step
        "steps_per_generation": 4,  # optimizer steps in a rollout
        "num_generations": 8,
        "max_completion_length": 24,
        "learning_rate": 1e-3,
        "lr_scheduler_type": "constant",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "bf16": False,
        **settings,
    }
    return CovGRPOTrainer(
        policy.model,
        toy_reward,
        args=CovGRPOConfig(output_dir=str(folder), loss_type=loss_type, seed=seed, **arguments),
        train_dataset=Dataset.from_dict({"prompt": list(by_prompt)}),
        processing_class=policy.tokenizer,
    )


def _policy_and_problems(seed: int):
    """Return the tiny policy, from the run store, and problems that it is trained on."""
    from entropy_mech.config.files import make_config
    from entropy_mech.problems.toy import ToyProblem
    from entropy_mech.runs.store import default_store
    from entropy_mech.train.pretrain import load_policy

    config = make_config(_POLICY)
    problems = ToyProblem.training_set(seed, 512, config.base.level_shares)
    return load_policy(config, default_store().root), problems


def _run(order: dict[str, Any], folder: Path) -> None:
    """Train; write a line an optimizer step."""
    # TRL imports vLLM wherever it is installed: ten seconds, and nothing here samples with it.
    sys.modules.setdefault("vllm", None)
    import torch

    torch.set_num_threads(1)
    trainer = trl_trainer(folder, **order)
    trainer.train()
    log = pd.DataFrame(trainer.state.log_history).dropna(subset="entropy")
    log = log.rename(columns=_NAMES).assign(loss_type=order["loss_type"])
    # TRL logs a rollout's reward at its first step alone.
    log["reward"] = log["reward"].ffill()
    log.reindex(columns=COLUMNS).to_json(folder / "steps.jsonl", orient="records", lines=True)


if __name__ == "__main__":
    _run(json.loads(sys.argv[1]), Path(sys.argv[2]))
