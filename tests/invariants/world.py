"""A policy, a rollout and one update of it: what the invariance tests train in each way."""

import json
import os
from dataclasses import replace

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from entropy_mech.config.files import make_config
from entropy_mech.objectives import logprobs, token_advantages
from entropy_mech.train.distributed import Ranks, join_ranks, leave_ranks
from entropy_mech.train.engine import measure
from entropy_mech.train.pretrain import build_engine
from entropy_mech.train.rollouts import RolloutBatch, join
from entropy_mech.train.update import ImplicitPRM, update_policy
from tests.conftest import CLIP_COV, KL_COV, TINY

VOCABULARY, PROMPTS, RESPONSES = 18, 8, 4
SELECTING = {"clip_cov": {**CLIP_COV, "clip_fraction": 0.15}, "kl_cov": KL_COV}
PPO = {"method": "ppo_clip"}
# Every control and every algorithm, by name: the sections of a configuration that make it.
CASES = {
    "policy gradient": {"loss": {"method": "policy_gradient"}},
    "PPO clip": {"loss": PPO},
    "clip-higher": {"loss": {**PPO, "clip_high": 0.28}},
    "entropy bonus": {"loss": {**PPO, "entropy_bonus": 0.01}},
    "reference KL": {"loss": {**PPO, "reference_kl": 0.1}},
    "importance weights": {"loss": {**PPO, "importance_cap": 1.05}},
    "mean over responses": {"loss": {**PPO, "aggregation": "sequence_mean_token_mean"}},
    "RLOO": {"loss": PPO, "algorithm": {"name": "rloo"}},
    "REINFORCE++": {"loss": PPO, "algorithm": {"name": "reinforce_pp"}},
    "PRIME": {"loss": PPO, "algorithm": {"name": "prime", "prm_learning_rate": 0.3}},
    **{
        f"{method}, {scope}": {"loss": {**loss, "covariance_scope": scope}}
        for method, loss in SELECTING.items()
        for scope in ("rollout_batch", "mini_batch")
    },
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
    """A rollout of random tokens and outcomes, with responses of 1 to 11 tokens.

    What a sampler and a reference would have said is the policy's own word, a little off.
    """
    generator = torch.Generator().manual_seed(1)
    rows = PROMPTS * RESPONSES
    length = torch.randint(1, 12, (rows, 1), generator=generator)
    mask = torch.arange(11) < length
    tokens = torch.randint(3, VOCABULARY, mask.shape, generator=generator) * mask
    prompts = [tuple(range(3, 5 + row // RESPONSES)) for row in range(rows)]
    input_ids, prompt_length = join(prompts, tokens, mask, 0)
    rewards = (torch.rand(rows, generator=generator) < 0.5).float()
    noise = 0.1 * torch.randn((2, *mask.shape), generator=generator)
    blank = torch.zeros(mask.shape)
    batch = RolloutBatch(
        input_ids=input_ids,
        prompt_length=prompt_length,
        tokens=tokens,
        response_mask=mask,
        problem=torch.arange(PROMPTS).repeat_interleave(RESPONSES),
        sample=torch.arange(RESPONSES).repeat(PROMPTS),
        rewards=rewards,
        advantages=blank,
        logp_sampler=blank,
        logp_old=blank,
        logp_ref=blank,
        entropy=blank,
    )
    logp, entropy = measure(engine, batch)
    return replace(
        batch,
        logp_old=logp,
        entropy=entropy,
        logp_sampler=torch.where(mask, logp + noise[0], 0.0),
        logp_ref=torch.where(mask, logp + noise[1], 0.0),
    )


def train_once(*, tiled_head=False, **case):
    """Two optimizer steps; return metrics, the tokens touched and the weights, laid end to end.

    ``tiled_head`` takes the way of large vocabularies for this small one.
    """
    limit = logprobs.PLAIN_LOGITS
    logprobs.PLAIN_LOGITS = 0 if tiled_head else limit
    try:
        return _train_once(**case)
    finally:
        logprobs.PLAIN_LOGITS = limit


def _train_once(*, ranks=None, engine=None, update=None, make=make_model, **sections):
    config = make_config(
        {
            **TINY,
            "rollout": {"prompts": PROMPTS, "responses": RESPONSES},
            # SGD, whose step is as exact as the gradient: Adam's first steps divide every gradient
            # by its own size, and so lift the rounding of one near 0 to a full step. The step is
            # long enough for ratios that the clips act on.
            "update": {
                "updates_per_rollout": 2,
                "optimizer": "sgd",
                "learning_rate": 0.3,
                **(update or {}),
            },
            "engine": engine or {},
            **sections,
        }
    )
    ranks = ranks or Ranks()
    torch.set_num_threads(1)
    made = build_engine(make(), config.engine, config.update, ranks)
    batch, metrics, process_rewards = make_batch(made), {}, None
    if config.algorithm.name == "prime":
        prm = ImplicitPRM(make(), config, ranks)
        process_rewards, metrics = prm.reward(batch, step=3)
    advantages = token_advantages(
        config.algorithm, batch.rewards.view(-1, RESPONSES), batch.response_mask, process_rewards
    )
    changes, touched = update_policy(made, replace(batch, advantages=advantages), config, step=3)
    weights = torch.cat([w.flatten().cpu().clone() for _, w in made.weights()])
    return metrics | changes, touched, weights


def main():
    """Train every case given as JSON in the environment, on all ranks; rank 0 saves the results."""
    ranks = join_ranks(timeout_s=60)
    out, cases = json.loads(os.environ["CASES"])
    results = [train_once(ranks=ranks, **case) for case in cases]
    if ranks.first:
        torch.save(results, out)
    leave_ranks(ranks)


if __name__ == "__main__":
    main()
