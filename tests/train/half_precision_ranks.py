"""One optimizer step in bfloat16 under ZeRO, on two ranks; started by test_half_precision_ranks."""

import json
import os
from pathlib import Path

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from entropy_mech.config.files import make_config
from entropy_mech.train.distributed import join_ranks, leave_ranks
from entropy_mech.train.pretrain import build_engine
from entropy_mech.train.rollouts import RolloutBatch, join
from entropy_mech.train.update import update_policy

VOCABULARY, PROMPTS, RESPONSES, LONGEST = 97, 16, 4, 14
ROWS = PROMPTS * RESPONSES


def make_model():
    """A Qwen2 whose weights are bfloat16 numbers, so that only its arithmetic can differ."""
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=VOCABULARY,
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            tie_word_embeddings=True,
            initializer_range=0.1,
            max_position_embeddings=64,
        )
    )
    for weight in model.parameters():
        weight.data = weight.data.bfloat16().float()
    return model.eval()


def make_batch():
    """Responses of 5 to 14 random tokens, with random advantages."""
    generator = torch.Generator().manual_seed(1)
    mask = torch.arange(LONGEST) < torch.randint(5, LONGEST + 1, (ROWS, 1), generator=generator)
    tokens = torch.randint(3, VOCABULARY, mask.shape, generator=generator) * mask
    prompts = [tuple(range(3, 7 + row // RESPONSES)) for row in range(ROWS)]
    input_ids, prompt_length = join(prompts, tokens, mask, 0)
    advantages = torch.randn(ROWS, 1, generator=generator) + 0.5
    return RolloutBatch(
        input_ids=input_ids,
        prompt_length=prompt_length,
        tokens=tokens,
        response_mask=mask,
        problem=torch.arange(PROMPTS).repeat_interleave(RESPONSES),
        sample=torch.arange(RESPONSES).repeat(PROMPTS),
        advantages=advantages.expand(mask.shape) * mask,
    )


def gradient(micro_batch_size, ranks, folder=None, **engine):
    """Return the norm and the whole gradient of a step: a step of SGD of length 1 is one.

    With a folder also the metrics of the next step, and again after a checkpoint was loaded.
    """
    config = make_config(
        {
            "model": {"path": "built-here"},
            "problems": {"training_set": "gsm8k"},
            "rollout": {"prompts": PROMPTS, "responses": RESPONSES, "max_new_tokens": LONGEST},
            "update": {
                "updates_per_rollout": 1,
                "micro_batch_size": micro_batch_size,
                "optimizer": "sgd",
                "learning_rate": 1.0,
                "max_grad_norm": 1e6,
            },
            "loss": {"method": "policy_gradient"},
            "engine": engine,
        }
    )
    model = make_model()
    if config.engine.kind == "deepspeed":
        model = model.bfloat16()
    before = [weight.detach().float().clone() for weight in model.parameters()]
    made = build_engine(model, config.engine, config.update, ranks)
    metrics, _ = update_policy(made, make_batch(), config, 0)
    moved = [b - a.float() for b, a in zip(before, _master(made), strict=True)]
    resumed = []
    if folder:
        made.save(Path(folder))
        ranks.meet("the end of a checkpoint")
        resumed.append(update_policy(made, make_batch(), config, 1)[0])
        made.load(Path(folder))
        resumed.append(update_policy(made, make_batch(), config, 1)[0])
    return metrics["grad_norm"], torch.cat([part.flatten() for part in moved]), resumed


def _master(engine):
    """Return the float32 weights of an engine, whole."""
    if engine.config.kind == "torch":
        return [weight.detach() for weight in engine.policy.model.parameters()]
    from deepspeed.utils import safe_get_full_fp32_param

    return [safe_get_full_fp32_param(weight) for weight in engine.policy.model.parameters()]


def main():
    """Take every step given in the environment; rank 0 saves what came of them."""
    torch.set_num_threads(1)
    ranks = join_ranks(timeout_s=240)
    out, cases = json.loads(os.environ["CASES"])
    found = [gradient(rows, ranks, folder, **engine) for rows, folder, engine in cases]
    if ranks.first:
        torch.save(found, out)
    leave_ranks(ranks)


if __name__ == "__main__":
    main()
