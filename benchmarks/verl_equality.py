"""Objectives against verl's own functions: are they equal.

Needs verl beside this package, in an environment of its own; only its core_algos is used, which
imports ray, msgpack, protobuf, tensordict, pyvers, codetiming, hydra-core and omegaconf:

    pip install --no-deps verl
    python benchmarks/verl_equality.py --batches 40

Prints the largest differences of values and gradients over random batches, in float32.
"""

import argparse
import warnings
from importlib.metadata import version

import numpy as np
import torch
from verl.trainer.config.algorithm import AlgoConfig
from verl.trainer.ppo import core_algos
from verl.workers.config import ActorConfig
from verl.workers.config.actor import PolicyLossConfig

from entropy_mech import objectives as em

AGGREGATIONS = {
    "token-mean": "token_mean",
    "seq-mean-token-mean": "sequence_mean_token_mean",
    "seq-mean-token-sum-norm": "sequence_mean_token_sum",
}


def verl_config(clip=(0.2, 0.2), *, fraction=2e-4, band=(1.0, 5.0), beta=1.0, counts=None):
    """Verl's settings by our names; the dual clip, which the paper does not have, out of reach."""
    policy_loss = PolicyLossConfig(
        clip_cov_ratio=fraction,
        clip_cov_lb=band[0],
        clip_cov_ub=band[1],
        kl_cov_ratio=fraction,
        ppo_kl_coef=beta,
    )
    return ActorConfig(
        strategy="fsdp",
        rollout_n=1,
        use_dynamic_bsz=True,
        clip_ratio=clip[0],
        clip_ratio_low=clip[0],
        clip_ratio_high=clip[1],
        clip_ratio_c=1e9,
        policy_loss=policy_loss,
        global_batch_info=counts or {},
    )


def random_batch(rows, columns, seed, *, ragged=True, spread=0.1):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, columns + 1, (rows, 1), generator=generator)
    mask = torch.arange(columns) < (lengths if ragged else torch.full_like(lengths, columns))
    logp_old = -torch.empty(rows, columns).exponential_(2.0, generator=generator)
    logp_new = logp_old + spread * torch.randn(rows, columns, generator=generator)
    advantages = torch.randn(rows, 1, generator=generator).expand(rows, columns).contiguous()
    return logp_new.requires_grad_(), logp_old, advantages, mask


def verl_loss(name, batch, config, aggregation="token-mean", weights=None):
    logp_new, logp_old, advantages, mask = batch
    loss = core_algos.get_policy_loss_fn(name)
    args = (logp_old, logp_new, advantages, mask.float(), aggregation, config)
    return loss(*args, rollout_is_weights=weights)[0]


def verls_draw(batch, seed, *, fraction, band, clip):
    """The tokens that verl's clip_cov draws after torch.manual_seed(seed): our band, its order."""
    settings = {"cov_low": band[0], "cov_high": band[1], "clip_low": clip[0], "clip_high": clip[1]}
    everything = em.clip_cov_loss(*batch, clip_fraction=1.0, **settings).selected_mask
    places = everything.nonzero()
    torch.manual_seed(seed)
    quota = max(1, int(fraction * batch[3].sum().item()))
    places = places[torch.randperm(len(places))[:quota]]
    chosen = torch.zeros_like(everything)
    chosen[places[:, 0], places[:, 1]] = True
    return chosen


def policy_loss_pairs(batch, seed):
    """Yield (name, our loss, verl's loss) for every loss, aggregation and with weights."""
    columns = batch[3].shape[1]
    fraction, band, clip = 0.02, (0.2, 2.0), (0.2, 0.28)
    sampler = batch[1] + 0.2 * torch.randn(
        batch[1].shape, generator=torch.Generator().manual_seed(1)
    )
    weights = em.truncated_importance_weights(batch[1], sampler, batch[3], cap=1.2)
    for theirs, ours in AGGREGATIONS.items():
        mean = em.Aggregation(ours, normaliser_tokens=columns)
        more = {"aggregation": mean, "token_weights": weights}
        config = verl_config(clip, fraction=fraction, band=band, beta=0.7)
        args = (batch, config, theirs, weights)
        yield (
            f"ppo_clip {ours}",
            em.ppo_clip_loss(*batch, clip_low=clip[0], clip_high=clip[1], **more).loss,
            verl_loss("vanilla", *args),
        )
        settings = {"penalty_fraction": fraction, "penalty_coefficient": 0.7, "minimum_tokens": 1}
        kl_cov = em.kl_cov_loss(*batch, **settings, **more)
        yield f"kl_cov {ours}", kl_cov.loss, verl_loss("kl_cov", *args)
        drawn = verls_draw(batch, seed, fraction=fraction, band=band, clip=clip)
        settings = {"selected_mask": drawn, "clip_low": clip[0], "clip_high": clip[1]}
        clip_cov = em.clip_cov_loss(*batch, **settings, **more)
        torch.manual_seed(seed)
        yield f"clip_cov {ours}", clip_cov.loss, verl_loss("clip_cov", *args)


def part_of_a_step(batch):
    """Yield the same for one of several backward passes, whose counts are of the whole step."""
    tokens = 3 * int(batch[3].sum())
    config = verl_config(fraction=0.02, counts={"batch_num_tokens": tokens})
    mean = em.Aggregation(token_count=tokens)
    ours = em.kl_cov_loss(*batch, penalty_fraction=0.02, minimum_tokens=1, aggregation=mean)
    yield "kl_cov, part of a step", ours.loss, verl_loss("kl_cov", batch, config)


def other_pairs(batch, seed):
    """Yield (name, ours, verl's) for reference KL and advantages."""
    logp_new, logp_old, _, mask = batch
    for estimator in ("k1", "k2", "k3"):
        ours = em.reference_kl_per_token(logp_new, logp_old, mask, estimator=estimator)
        theirs = core_algos.kl_penalty_forward(logp_new, logp_old, estimator)
        yield f"reference KL {estimator}", ours.sum(), torch.where(mask, theirs, 0.0).sum()
    generator = torch.Generator().manual_seed(seed)
    rows, columns = mask.shape
    rewards = torch.randint(2, (rows // 4, 4), generator=generator).float()
    at_end = torch.zeros(rows, columns)
    at_end[torch.arange(rows), mask.sum(1) - 1] = rewards.flatten()
    prompt = np.arange(rows) // 4
    keep = mask.float()
    theirs = {
        "grpo": core_algos.compute_grpo_outcome_advantage(at_end, keep, prompt)[0],
        "rloo": core_algos.compute_rloo_outcome_advantage(at_end, keep, prompt)[0],
        "reinforce_pp": core_algos.compute_reinforce_plus_plus_outcome_advantage(
            at_end, keep, config=AlgoConfig()
        )[0],
    }
    by_response = em.group_advantages(rewards), em.rloo_advantages(rewards)
    ours = {
        "grpo": by_response[0].view(-1, 1) * mask,
        "rloo": by_response[1].view(-1, 1) * mask,
        "reinforce_pp": em.reinforce_pp_advantages(rewards, mask),
    }
    for name, values in ours.items():
        yield f"advantages {name}", values, theirs[name]


def equality(batches):
    worst: dict[str, np.ndarray] = {}
    for seed in range(batches):
        batch = random_batch(*[(8, 64), (32, 200), (64, 33), (4, 500)][seed % 4], seed)
        for pairs in (
            policy_loss_pairs(batch, seed),
            part_of_a_step(batch),
            other_pairs(batch, seed),
        ):
            for name, ours, theirs in pairs:
                value = (ours - theirs).abs().max().item()
                gradient = 0.0
                if ours.requires_grad:
                    a, b = (torch.autograd.grad(x, batch[0])[0] for x in (ours, theirs))
                    gradient = ((a - b).abs().max() / b.abs().max()).item()
                # numpy's maximum keeps a NaN.
                worst[name] = np.maximum(worst.get(name, 0.0), (value, gradient))
    print(
        "| function | largest difference of the value | of the gradient, relative |\n|---|---|---|"
    )
    for name, (value, gradient) in worst.items():
        print(f"| {name} | {value:.1e} | {gradient:.1e} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batches", type=int, default=40)
    args = parser.parse_args()
    warnings.simplefilter("ignore", em.InertPenaltyWarning)
    print(f"verl {version('verl')}, torch {torch.__version__}, {args.batches} batches\n")
    equality(args.batches)


if __name__ == "__main__":
    main()
