"""A policy, a rollout and one update of it: what the invariance tests train in each way."""

import os

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from entropy_mech.train.batch import RolloutBatch, join
from entropy_mech.train.config_io import make_config
from entropy_mech.train.engine import build_engine, measure
from entropy_mech.train.parallel import Ranks
from entropy_mech.train.update import update_policy
from tests.conftest import CLIP_COV, KL_COV, TINY

VOCABULARY, PROMPTS, RESPONSES = 18, 8, 4
SELECTING = {"clip_cov": {**CLIP_COV, "clip_fraction": 0.15}, "kl_cov": KL_COV}
METHODS = {
    "policy_gradient": {"method": "policy_gradient"},
    "ppo_clip": {"method": "ppo_clip"},
    **SELECTING,
}


def make_model():
    """A one-layer Qwen2 with spread-out random weights."""
    torch.manual_seed(0)
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=VOCABULARY,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            tie_word_embeddings=True,
            initializer_range=0.3,
            max_position_embeddings=64,
        )
    ).eval()


def make_batch(engine):
    """A rollout of random tokens and rewards, with responses of 1 to 11 tokens."""
    generator = torch.Generator().manual_seed(1)
    rows = PROMPTS * RESPONSES
    length = torch.randint(1, 12, (rows, 1), generator=generator)
    mask = torch.arange(11) < length
    tokens = torch.randint(3, VOCABULARY, mask.shape, generator=generator) * mask
    prompts = [tuple(range(3, 5 + row // RESPONSES)) for row in range(rows)]
    input_ids, prompt_length = join(prompts, tokens, mask, 0)
    advantage = torch.randn(rows, 1, generator=generator)
    blank = torch.zeros(mask.shape)
    batch = RolloutBatch(
        input_ids=input_ids,
        prompt_length=prompt_length,
        tokens=tokens,
        response_mask=mask,
        problem=torch.arange(PROMPTS).repeat_interleave(RESPONSES),
        sample=torch.arange(RESPONSES).repeat(PROMPTS),
        rewards=torch.zeros(rows),
        advantages=torch.where(mask, advantage, 0.0),
        logp_sampler=blank,
        logp_old=blank,
        logp_ref=blank,
        entropy=blank,
    )
    logp, entropy = measure(engine, batch)
    return RolloutBatch(**{**batch.__dict__, "logp_old": logp, "entropy": entropy})


def train_once(loss, *, ranks=None, engine=None, **update):
    """Two optimizer steps; return metrics, the tokens touched and the weights, laid end to end."""
    config = make_config(
        {
            **TINY,
            "rollout": {"prompts": PROMPTS, "responses": RESPONSES},
            "update": {"updates_per_rollout": 2, "learning_rate": 1e-2, **update},
            "loss": loss,
            "engine": engine or {},
        }
    )
    torch.set_num_threads(1)
    made = build_engine(make_model(), config.engine, config.update, ranks or Ranks())
    metrics, touched = update_policy(made, make_batch(made), config, step=3)
    weights = torch.cat([w.flatten().clone() for _, w in made.weights()])
    return metrics, touched, weights


def main():
    """Train every case given as JSON on standard input, on all ranks; rank 0 saves the results."""
    import json
    import sys

    from entropy_mech.train.parallel import join_ranks, leave_ranks

    ranks = join_ranks(timeout_s=60)
    out, cases = json.loads(os.environ["CASES"])
    results = [train_once(ranks=ranks, **case) for case in cases]
    if ranks.first:
        torch.save(results, out)
    leave_ranks(ranks)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
