"""A tiny policy that TRL's real GRPOTrainer trains on the CPU, and what it saw, step by step.

As a program, one rank of several: ``python -m tests.integrations.trl_world FOLDER`` trains with
each loss and saves its record of the steps in ``FOLDER/rank-RANK.pt``; RANK and the like are
torchrun's.
"""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import torch
from datasets import Dataset

from tests.integrations.tiny_model import TOKENIZER, tiny_model

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

ROWS, UPDATES, GENERATIONS = 16, 2, 4
# On a random policy, whose covariances are small; fractions fit a hundred tokens.
CLIP_COV = {"loss_type": "clip_cov", "clip_fraction": 0.1, "cov_low": 0.05, "cov_high": 9.0}
KL_COV = {"loss_type": "kl_cov", "penalty_fraction": 0.2, "penalty_coefficient": 2.0}


def even_digits(completions, **_):
    """A reward that differs within nearly every group."""
    return [sum(text.count(digit) for digit in "02468") % 3 / 2 for text in completions]


def make_trainer(folder, *, micro_batch=8, reward=even_digits, dataset=None, **settings):
    """Return a trainer of two optimizer steps a rollout of 16 responses."""
    from entropy_mech.integrations.trl import CovGRPOConfig, CovGRPOTrainer

    torch.set_num_threads(1)
    tiny_model().save_pretrained(folder / "model")
    ranks = int(os.environ.get("WORLD_SIZE", 1))
    per_update = ROWS // UPDATES // micro_batch // ranks
    arguments = {
        "output_dir": str(folder),
        "use_cpu": True,
        "bf16": False,
        "per_device_train_batch_size": micro_batch,
        "gradient_accumulation_steps": per_update,
        "steps_per_generation": UPDATES * per_update,
        "num_generations": GENERATIONS,
        "max_completion_length": 8,
        "max_steps": 2 * UPDATES,
        "learning_rate": 3e-3,
        "lr_scheduler_type": "constant",
        "gradient_checkpointing": False,
        "report_to": "none",
        "logging_steps": 1,
        "save_strategy": "no",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "model_init_kwargs": {"dtype": "float32"},
        **settings,
    }
    prompts = [f"{i}+{j}=" for i in range(4) for j in range(4)]
    return CovGRPOTrainer(
        str(folder / "model"),
        reward,
        args=CovGRPOConfig(**arguments),
        train_dataset=dataset or Dataset.from_dict({"prompt": prompts}),
        processing_class=TOKENIZER,
    )


def train(folder, **settings):
    """Train; return the weights, the log and a record of each optimizer step.

    A record has ``parts`` (what TRL gave the loss, in order), ``losses``, the weights before the
    step, its gradients before clipping, and whether it was the first of its rollout.
    """
    trainer = make_trainer(folder, **settings)
    steps, current = [], {"parts": [], "losses": []}
    compute = trainer._compute_loss

    def recorded(model, inputs):
        loss = compute(model, inputs)
        current["parts"].append(dict(inputs))
        current["losses"].append(loss.detach())
        return loss

    def before_step(*_):
        named = dict(trainer.model.named_parameters())
        gradients = {name: p.grad.clone() for name, p in named.items()}
        weights = {name: p.detach().clone() for name, p in named.items()}
        first = trainer._first_update
        steps.append(SimpleNamespace(**current, gradients=gradients, weights=weights, first=first))
        current.update(parts=[], losses=[])

    trainer._compute_loss = recorded
    trainer.create_optimizer()
    trainer.optimizer.register_step_pre_hook(before_step)
    trainer.train()
    weights = torch.cat([p.detach().flatten() for p in trainer.model.parameters()])
    return SimpleNamespace(weights=weights, log=trainer.state.log_history, steps=steps)


def log_probabilities(weights, part):
    """The tiny model's own log-probabilities of a part's completions, B x T, and entropies."""
    model = tiny_model()
    model.load_state_dict(weights, strict=False)
    ids = torch.cat([part["prompt_ids"], part["completion_ids"]], dim=1)
    mask = torch.cat([part["prompt_mask"], part["completion_mask"]], dim=1)
    logits = model(input_ids=ids, attention_mask=mask).logits
    columns = part["completion_ids"].shape[1]
    log_p = logits[:, -columns - 1 : -1].log_softmax(dim=-1)
    logp = log_p.gather(2, part["completion_ids"].unsqueeze(2)).squeeze(2)
    return model, logp, -(log_p.exp() * log_p).sum(dim=-1)


def main(folder):
    """Train as one rank."""
    sys.modules["vllm"] = None  # TRL would import it wherever it is installed, and slowly
    folder, rank = Path(folder), os.environ["RANK"]
    own = folder / rank
    own.mkdir()
    records = {}
    for settings in (CLIP_COV, KL_COV):
        done = train(own, micro_batch=2, max_grad_norm=1e9, **settings)
        records[settings["loss_type"]] = [vars(step) for step in done.steps]
    torch.save(records, folder / f"rank-{rank}.pt")


if __name__ == "__main__":
    main(*sys.argv[1:])
