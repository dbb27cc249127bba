"""Made-up runs: what three trainers log and are told, healthy, and then each with one fault."""

import json

import numpy as np
import yaml

STEPS = 80


def curves(seed, steps=STEPS):
    """Entropy that is spent, rewards that follow it, lengths that wander; steps values each."""
    random = np.random.default_rng(seed)
    spent = 1 - np.exp(-np.arange(steps) / (steps / 4))
    entropy = (0.55 - 0.45 * spent) * np.exp(0.08 * random.standard_normal(steps))
    reward = 0.25 + 0.4 * spent + 0.03 * random.standard_normal(steps)
    length = 400 + 150 * spent + 40 * random.standard_normal(steps)
    return {
        "entropy": entropy,
        "reward": reward,
        "validation": 0.2 + 0.35 * spent + 0.01 * random.standard_normal(steps),
        "length": length,
        "longest": length * np.exp(0.4 + 0.1 * random.standard_normal(steps)),
        "clipped": np.abs(2e-3 * random.standard_normal(steps)) + 1e-4,
        "kl": np.abs(4e-3 * random.standard_normal(steps)) + 1e-4,
        "gap": 0.01 * np.exp(0.1 * random.standard_normal(steps)),
        "norm": 0.3 * np.exp(0.2 * random.standard_normal(steps)),
        "loss": 0.01 * random.standard_normal(steps),
    }


# What each trainer calls them, and its settings: eight updates a rollout, as in the paper.
NAMES = {
    "ours": {
        "entropy": "entropy_nats", "reward": "reward_mean", "validation": "validation_accuracy",
        "length": "response_length_mean", "clipped": "ppo_clipped_fraction",
        "kl": "kl_old_new_nats", "gap": "logp_gap_mean_nats", "norm": "grad_norm", "loss": "loss",
    },
    "verl": {
        "entropy": "actor/entropy", "reward": "critic/score/mean",
        "validation": "val-core/math/acc/mean@8", "length": "response_length/mean",
        "longest": "response_length/max", "clipped": "actor/pg_clipfrac", "kl": "actor/ppo_kl",
        "gap": "training/rollout_probs_diff_mean", "norm": "actor/grad_norm",
        "loss": "actor/pg_loss",
    },
    "TRL": {
        "entropy": "entropy", "reward": "reward", "validation": "eval_reward",
        "length": "completions/mean_length", "longest": "completions/max_length",
        "clipped": "clip_ratio/high_mean", "gap": "sampling/sampling_logp_difference/mean",
        "norm": "grad_norm", "loss": "loss",
    },
    "OpenRLHF": {
        "entropy": "train/entropy_loss", "reward": "train/reward",
        "validation": "eval/math_pass1", "length": "train/response_length",
        "clipped": "train/ppo_clip_ratio", "kl": "train/ppo_kl", "gap": "train/vllm_kl",
        "norm": "train/actor_grad_norm", "loss": "train/policy_loss",
    },
}  # fmt: skip
SETTINGS = {
    "ours": {
        "loss.method": "ppo_clip", "loss.clip_low": 0.2, "loss.clip_high": 0.2,
        "rollout.prompts": 256, "rollout.responses": 8, "rollout.max_new_tokens": 2048,
        "update.updates_per_rollout": 8, "update.micro_batch_size": 128, "model.path": "base",
    },
    "verl": {
        "data.train_batch_size": 256, "actor_rollout_ref.rollout.n": 8,
        "actor_rollout_ref.rollout.temperature": 1.0,
        "actor_rollout_ref.rollout.val_kwargs.temperature": 0.6,
        "actor_rollout_ref.actor.ppo_mini_batch_size": 32,
        "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu": 32,
        "actor_rollout_ref.actor.clip_ratio": 0.2,
        "actor_rollout_ref.actor.entropy_coeff": 0.001,
        "actor_rollout_ref.actor.policy_loss.loss_mode": "vanilla",
        "critic.ppo_mini_batch_size": 256,
    },
    "TRL": {
        "per_device_train_batch_size": 32, "gradient_accumulation_steps": 8,
        "steps_per_generation": 64, "num_generations": 8, "temperature": 1.0,
        "loss_type": "dapo", "epsilon": 0.2, "max_completion_length": 2048,
    },
    "OpenRLHF": {
        "rollout_batch_size": 256, "n_samples_per_prompt": 8, "train_batch_size": 256,
        "micro_train_batch_size": 8, "eps_clip": 0.2, "temperature": 1.0, "max_new_tokens": 2048,
    },
}  # fmt: skip
ACTOR, POLICY_LOSS = "actor_rollout_ref.actor.", "actor_rollout_ref.actor.policy_loss."


def write_log(folder, trainer, values):
    """Write a run's log as its trainer does: JSON lines, console text, TRL's state, CSV."""
    names = NAMES[trainer]
    steps = len(values["entropy"])
    rows = []
    for step in range(steps):
        row = {names.get(k, k): float(v[step]) for k, v in values.items() if k in names or "/" in k}
        row |= {k: float(v[step]) for k, v in values.items() if k not in names and "/" not in k
                and k != "longest"}  # fmt: skip
        if step % 4 and names["validation"] in row:
            del row[names["validation"]]
        rows.append({"step": step, **row})
    if trainer == "verl":
        path = folder / "run.log"
        lines = [f"(TaskRunner pid=7) step:{r.pop('step')} - " + " - ".join(
            f"{k}:np.float64({v!r})" for k, v in r.items()) for r in rows]  # fmt: skip
        path.write_text("\n".join([*lines, ""]))
    elif trainer == "TRL":
        path = folder / "trainer_state.json"
        evaluated = [{"step": r["step"], "eval_reward": r.pop("eval_reward")} for r in rows
                     if "eval_reward" in r]  # fmt: skip
        path.write_text(json.dumps({"log_history": rows + evaluated}))
    else:
        path = folder / "metrics.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def nested(keys):
    """Dotted keys as tables."""
    table = {}
    for key, value in keys.items():
        *sections, last = key.split(".")
        inside = table
        for section in sections:
            inside = inside.setdefault(section, {})
        inside[last] = value
    return table


def toml_of(keys):
    """Tables of one level as TOML."""
    lines = []
    for section, values in nested(keys).items():
        lines += [f"[{section}]", *(f"{k} = {json.dumps(v)}" for k, v in values.items())]
    return "\n".join([*lines, ""])


def write_settings(folder, trainer, keys, form=""):
    """Write settings as the trainer takes them: TOML, YAML, JSON, hydra's overrides, a script."""
    form = form or {"ours": "toml", "verl": "yaml", "TRL": "json", "OpenRLHF": "sh"}[trainer]
    words = {k: str(v).lower() if isinstance(v, bool) else v for k, v in keys.items()}
    text = {
        "toml": lambda: toml_of(keys),
        "yaml": lambda: yaml.safe_dump(nested(keys)),
        "json": lambda: json.dumps(nested(keys)),
        "overrides": lambda: yaml.safe_dump([f"{k}={v}" for k, v in words.items()]),
        "sh": lambda: " \\\n    ".join(["python -m train", *(
            f"--{k} {v}" if trainer == "OpenRLHF" else f"{k}={v}" for k, v in words.items())]),
    }[form]()  # fmt: skip
    path = folder / f"settings.{'yaml' if form == 'overrides' else form}"
    path.write_text(text)
    return path
