"""Losses that are Clip-Cov and KL-Cov as released, and ones with a defect each, by hand.

As released means: among the tokens of one micro-batch, under the policy now, one at the least, and
the PPO clip of Clip-Cov at 1. Each takes logp_new, logp_old, advantages and mask, all B x T.
"""

import torch

from entropy_mech.integrations.conformance import BAND, COEFFICIENT, FRACTION


def token_mean(values, mask):
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp(min=1)


def covariance(logp, advantages, mask):
    parts = [torch.where(mask, x.detach(), 0.0) for x in (logp, advantages)]
    centred = [x - x.sum() / mask.sum().clamp(min=1) for x in parts]
    return torch.where(mask, centred[0] * centred[1], -torch.inf)


def largest(scores, mask, fraction=FRACTION, least=1):
    """The mask of the share of largest scores."""
    count = min(max(int(fraction * mask.sum() + 1e-9), least), int(mask.sum()))
    chosen = torch.zeros(mask.numel(), dtype=torch.bool)
    chosen[torch.where(mask, scores, -torch.inf).flatten().topk(count).indices] = True
    return chosen.view_as(mask) & mask


def drawn(scores, mask, fraction=FRACTION, least=1, band=BAND):
    """The mask of a share of the tokens in the band, at random."""
    inside = (mask & (scores > band[0]) & (scores < band[1])).flatten().nonzero().flatten()
    count = max(int(fraction * mask.sum() + 1e-9), least)
    chosen = torch.zeros(mask.numel(), dtype=torch.bool)
    chosen[inside[torch.randperm(len(inside))[:count]]] = True
    return chosen.view_as(mask)


def log_ratio_of(new, old, mask):
    return torch.where(mask, new - old, 0.0)


def kl_cov(new, old, advantages, mask, *, scores=covariance, choose=largest, penalty=torch.abs,
           mean=token_mean, sign=1.0):  # fmt: skip
    log_ratio = log_ratio_of(new, old, mask)
    chosen = choose(scores(new, advantages, mask), mask)
    loss = -log_ratio.exp() * advantages
    return mean(loss + sign * COEFFICIENT * torch.where(chosen, penalty(log_ratio), 0.0), mask)


def clip_cov(new, old, advantages, mask, *, scores=covariance, choose=drawn, epsilon=1.0,
             mean=token_mean):  # fmt: skip
    ratio = log_ratio_of(new, old, mask).exp()
    clipped = ratio.clamp(1 - epsilon, 1 + epsilon)
    loss = torch.maximum(-ratio * advantages, -clipped * advantages)
    chosen = choose(scores(new, advantages, mask), mask)
    return mean(torch.where(chosen, 0.0, loss), mask)


# -- Defects -------------------------------------------------------------------------------------


def uncentred(logp, advantages, mask):
    return logp.detach() * advantages


def half_centred(logp, advantages, mask):
    mean = torch.where(mask, logp.detach(), 0.0).sum() / mask.sum().clamp(min=1)
    return (logp.detach() - mean) * advantages


def padding_in_means(logp, advantages, mask):
    logp, advantages = (torch.where(mask, x.detach(), 0.0) for x in (logp, advantages))
    return (logp - logp.mean()) * (advantages - advantages.mean())


def each_response(logp, advantages, mask):
    """Every response a population: the advantage is one number in it, so all are 0."""
    return torch.zeros_like(logp)


def largest_of_each_response(scores, mask):
    return torch.cat([largest(s, m, least=0) for s, m in zip(scores.split(1), mask.split(1),
                                                             strict=True)])  # fmt: skip


def at_least_the_last(scores, mask):
    """All tokens not below the last of the share: ties are all taken."""
    count = max(int(FRACTION * mask.sum()), 1)
    return mask & (scores >= scores[mask].topk(min(count, int(mask.sum()))).values[-1])


def from_padding_too(scores, mask):
    """The share is of all places, padding too."""
    chosen = torch.zeros(mask.numel(), dtype=torch.bool)
    chosen[scores.flatten().topk(int(FRACTION * mask.numel())).indices] = True
    return chosen.view_as(mask) & mask


def over_all_places(values, mask):
    return torch.where(mask, values, 0.0).sum() / mask.numel()


def multiplied(values, mask):
    """A mask that multiplies: 0 times infinity is NaN."""
    return (values * mask).sum() / mask.sum()


def unmasked_ratio(new, old, advantages, mask):
    chosen = largest(covariance(new, advantages, mask), mask)
    log_ratio = new - old
    loss = -log_ratio.exp() * advantages
    return multiplied(loss + torch.where(chosen, log_ratio.abs(), torch.zeros(())), mask)


def padding_trained(new, old, advantages, mask):
    loss = -(new - old).exp() * advantages
    chosen = largest(covariance(new, advantages, mask), mask)
    return (loss + torch.where(chosen, (new - old).abs(), 0.0)).sum() / mask.sum().clamp(min=1)


def value_alone(new, old, advantages, mask):
    """The penalty is added under no_grad: the loss moves, the gradient does not."""
    loss = -log_ratio_of(new, old, mask).exp() * advantages
    chosen = largest(covariance(new, advantages, mask), mask)
    return token_mean(loss + torch.where(chosen, (new - old).detach().abs(), 0.0), mask)


def kl_with_ppo_clip(new, old, advantages, mask):
    ratio = log_ratio_of(new, old, mask).exp()
    loss = torch.maximum(-ratio * advantages, -ratio.clamp(0.8, 1.2) * advantages)
    chosen = largest(covariance(new, advantages, mask), mask)
    return token_mean(loss + torch.where(chosen, log_ratio_of(new, old, mask).abs(), 0.0), mask)


def plain(new, old, advantages, mask):
    return token_mean(-log_ratio_of(new, old, mask).exp() * advantages, mask)
