"""What verl's real training worker does on the CPU: its FSDP engine, splitting and ``ppo_loss``.

Run as a program, once for each rank: verl wants its platform and its process group set up before
anything else, and TRL out of the way (verl 0.9 asks it for a class that TRL 1 does not have).
Rank 0 saves what happened; ``test_verl.py`` says what must hold of it.

    python -m tests.integrations.verl_world FOLDER RANK SIZE CASE...
"""

import os
import sys
from functools import partial

import torch
import torch.distributed as dist
from transformers import AutoModelForCausalLM

from tests.integrations.tiny_model import TOKENIZER, tiny_model

ROWS, UPDATES, PROMPT, RESPONSE, FRACTION = 16, 2, 3, 10, 0.2


def save_model(folder):
    tiny_model().save_pretrained(folder)
    TOKENIZER.save_pretrained(folder)


def actor_config(loss_mode, aggregation):
    """Settings by verl's names; fractions fit a hundred tokens."""
    from verl.workers.config import ActorConfig
    from verl.workers.config.actor import PolicyLossConfig

    policy_loss = PolicyLossConfig(
        loss_mode=loss_mode,
        kl_cov_ratio=FRACTION,
        ppo_kl_coef=2.0,
        clip_cov_ratio=FRACTION,
        clip_cov_lb=0.05,
        clip_cov_ub=9.0,
    )
    return ActorConfig(
        strategy="fsdp2",
        rollout_n=1,
        use_dynamic_bsz=True,
        clip_ratio=1.0,
        clip_ratio_low=1.0,
        clip_ratio_high=1.0,
        loss_agg_mode=aggregation,
        policy_loss=policy_loss,
        data_loader_seed=5,
    )


def make_worker(folder, config):
    """The worker as verl's ActorRolloutRefWorker makes it, with the class that it would take."""
    from verl.trainer.config import CheckpointConfig
    from verl.workers.config import (
        FSDPEngineConfig,
        FSDPOptimizerConfig,
        HFModelConfig,
        TrainingWorkerConfig,
    )
    from verl.workers.engine_workers import ActorRolloutRefWorker
    from verl.workers.utils.losses import ppo_loss

    model = HFModelConfig(
        path=str(folder),
        use_remove_padding=False,
        external_lib="entropy_mech.integrations.verl",
        override_config={"attn_implementation": "eager"},
    )
    worker = ActorRolloutRefWorker.actor_worker_cls(
        TrainingWorkerConfig(
            model_type="language_model",
            model_config=model,
            engine_config=FSDPEngineConfig(
                strategy="fsdp2",
                dtype="float32",
                use_dynamic_bsz=False,
                use_torch_compile=False,
                mixed_precision={"param_dtype": "fp32", "reduce_dtype": "fp32"},
                infer_micro_batch_size_per_gpu=4,
            ),
            optimizer_config=FSDPOptimizerConfig(lr=3e-3, clip_grad=1e9),
            checkpoint_config=CheckpointConfig(),
        )
    )
    worker.reset()
    worker.set_loss_fn(partial(ppo_loss, config=config))
    return worker


def rollout(folder):
    """Rows of random tokens, ragged on the right, and the policy's own log-probabilities."""
    generator = torch.Generator().manual_seed(3)
    lengths = torch.randint(3, RESPONSE + 1, (ROWS, 1), generator=generator)
    mask = torch.arange(RESPONSE) < lengths
    ids = torch.randint(3, len(TOKENIZER), (ROWS, PROMPT + RESPONSE), generator=generator)
    ids[:, PROMPT:] *= mask
    advantages = torch.randn(ROWS, 1, generator=generator).expand(ROWS, RESPONSE).contiguous()
    attention = torch.cat([torch.ones(ROWS, PROMPT, dtype=torch.bool), mask], dim=1)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return {
        "input_ids": ids,
        "prompts": ids[:, :PROMPT],
        "responses": ids[:, PROMPT:],
        "attention_mask": attention.long(),
        "position_ids": torch.arange(PROMPT + RESPONSE).expand(ROWS, -1).contiguous(),
        "response_mask": mask.long(),
        "advantages": advantages,
        "old_log_probs": log_probabilities(model, ids, attention).detach(),
    }


def log_probabilities(model, ids, attention):
    logits = model(input_ids=ids, attention_mask=attention.long()).logits[:, PROMPT - 1 : -1]
    return logits.log_softmax(-1).gather(2, ids[:, PROMPT:].unsqueeze(2)).squeeze(2)


def rows_of(rank, size):
    """The rows dealt to a rank, so that each mini-batch has the same ones at any size."""
    return torch.arange(ROWS).view(UPDATES, size, -1)[:, rank].flatten()


def train(folder, loss_mode, micro_batch, aggregation="token-mean"):
    """Train on one rollout in two optimizer steps; return what the worker did at each."""
    from tensordict import TensorDict
    from verl.utils import tensordict_utils as tu
    from verl.workers.utils.padding import left_right_2_no_padding

    worker = make_worker(folder, actor_config(loss_mode, aggregation))
    size, rank = dist.get_world_size(), dist.get_rank()
    rows = rows_of(rank, size)
    batch = {name: tensor[rows] for name, tensor in rollout(folder).items()}
    data = left_right_2_no_padding(TensorDict(batch, batch_size=[len(rows)]))
    tu.assign_non_tensor(
        data,
        calculate_entropy=False,
        compute_loss=True,
        dataloader_kwargs={"shuffle": False},
        distillation_only=False,
        distillation_use_topk=False,
        epochs=1,
        global_batch_size=ROWS // UPDATES,
        micro_batch_size_per_gpu=micro_batch,
        mini_batch_size=ROWS // UPDATES,
        seed=5,
        temperature=1.0,
    )
    steps = []

    def before_step(optimizer, *_):
        tensors = [p for group in optimizer.param_groups for p in group["params"]]
        whole = [whole_of(p.detach()).clone() for p in tensors]
        steps.append({"weights": whole, "gradients": [whole_of(p.grad).clone() for p in tensors]})

    engine_step = worker.engine.train_batch

    def watched(data, loss_function):
        out = engine_step(data, loss_function)
        if "covariance_selected" in data.keys():  # noqa: SIM118
            steps[-1]["chosen"] = data["covariance_selected"].clone()
        return out

    worker.engine.optimizer.register_step_pre_hook(before_step)
    worker.engine.train_batch = watched
    worker.train_mini_batch(data)
    module = worker.engine.module
    end = torch.cat([whole_of(p.detach()).flatten() for p in module.parameters()])
    return {"steps": steps, "names": [name for name, _ in module.named_parameters()], "end": end}


def whole_of(tensor):
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def set_up(folder, rank, size):
    """Verl's platform and group, on the CPU."""
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(size), VERL_ENGINE_DEVICE="cuda")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="0")  # asked for, and not used
    sys.modules["trl"] = None
    torch.set_num_threads(1)
    from verl.plugin.platform import platform_manager

    from tests.integrations.verl_cpu import CPUPlatform

    platform_manager.set_platform(CPUPlatform())
    store = f"file://{folder}/group"
    dist.init_process_group("gloo", rank=rank, world_size=size, init_method=store)


def refusals():
    """What the registered losses say where they cannot work."""
    from verl.trainer.ppo.core_algos import get_policy_loss_fn

    from entropy_mech.errors import UserError

    tensors = [torch.zeros(2, 3), torch.zeros(2, 3), torch.ones(2, 3), torch.ones(2, 3)]
    said = []
    for aggregation in ("token-mean", "token-sum"):
        config = actor_config("kl_cov_rollout_batch", aggregation)
        try:
            get_policy_loss_fn("kl_cov_rollout_batch")(*tensors, aggregation, config)
        except UserError as error:
            said.append(str(error))
    return said


def main(folder, rank, size, *cases):
    """Run the cases, each ``loss_mode,micro_batch,aggregation``; rank 0 saves the results."""
    set_up(folder, int(rank), int(size))
    model = f"{folder}/model"
    results = {}
    for case in cases:
        loss_mode, micro_batch, *aggregation = case.split(",")
        results[case] = train(model, loss_mode, int(micro_batch), *aggregation)
    results["refusals"] = refusals()
    if rank == "0":
        torch.save(results, f"{folder}/results-{size}.pt")


if __name__ == "__main__":
    main(*sys.argv[1:])
