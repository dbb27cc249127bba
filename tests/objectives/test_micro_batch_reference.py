"""At micro-batch scope the losses are those of the released code, written here from its rules.

What verl's ``clip_cov`` and ``kl_cov`` (and the paper's released code) do in one micro-batch:

- Both centre log pi and A over the response tokens of the micro-batch, under the new policy.
- Clip-Cov: candidates are the response tokens with covariance strictly between the bounds that
  the PPO clip does not hold; of them max(1, int(r N)) are drawn without replacement, and their
  loss max(-w A, -clip(w) A) is multiplied by 0.
- KL-Cov: the max(1, int(k N)) response tokens of the largest covariance have -w A + beta |log w|,
  the others -w A.
- Token mean: the sum over response tokens divided by their number.

Ours agree with ``minimum_tokens=1`` and the micro-batch as the population. Two differences are
of no weight: Eq. 12's band includes its bounds, and floor(r N) forgives the rounding of a product
such as 0.29 * 100, where int() gives 28.
"""

import pytest
import torch

from entropy_mech.objectives import clip_cov_loss, kl_cov_loss, ppo_clip_loss

SIZES = [(1, 1), (1, 40), (4, 25), (16, 60)]


def random_batch(rows, columns, seed):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, columns + 1, (rows, 1), generator=generator)
    mask = torch.arange(columns) < lengths
    logp_old = -torch.empty(rows, columns).exponential_(generator=generator).double()
    logp_new = logp_old + 0.3 * torch.randn(rows, columns, generator=generator).double()
    # Eighths, so that the mean of one row's is exact and its covariance exactly 0, not noise.
    advantages = (8 * torch.randn(rows, 1, generator=generator)).round().double() / 8
    advantages = advantages.expand(rows, columns)
    return logp_new.requires_grad_(), logp_old, advantages, mask


def centred_product(logp_new, advantages, mask):
    logp = logp_new.detach()
    return (logp - logp[mask].mean()) * (advantages - advantages[mask].mean())


def reference_clip(logp_new, logp_old, advantages, low, high):
    ratio = (logp_new - logp_old).exp()
    plain, held = -advantages * ratio, -advantages * ratio.clamp(1 - low, 1 + high)
    return plain, held


def reference_kl_cov(logp_new, logp_old, advantages, mask, fraction, beta):
    log_ratio = logp_new - logp_old
    losses = []  # of response tokens, in row order
    covariance = centred_product(logp_new, advantages, mask)[mask]
    quota = max(1, int(fraction * len(covariance)))
    chosen = set(covariance.argsort(descending=True, stable=True)[:quota].tolist())
    for i, (d, a) in enumerate(zip(log_ratio[mask], advantages[mask], strict=True)):
        losses.append(-a * d.exp() + (beta * d.abs() if i in chosen else 0.0))
    return torch.stack(losses).mean()


def reference_clip_cov(batch, fraction, cov_low, cov_high, clip, draw):
    logp_new, logp_old, advantages, mask = batch
    plain, held = reference_clip(logp_new, logp_old, advantages, *clip)
    covariance = centred_product(logp_new, advantages, mask)
    candidates = (covariance > cov_low) & (covariance < cov_high) & mask & ~(held > plain)
    places = candidates.nonzero()
    quota = max(1, int(fraction * mask.sum().item()))
    weight = torch.ones_like(plain)
    for row, column in places[draw(len(places))[:quota]].tolist():
        weight[row, column] = 0.0
    return (torch.maximum(plain, held) * weight)[mask].sum() / mask.sum(), weight == 0


def both(ours, theirs, logp_new):
    (our_gradient,) = torch.autograd.grad(ours, logp_new)
    (their_gradient,) = torch.autograd.grad(theirs, logp_new)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(our_gradient, their_gradient, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("fraction", [2e-4, 0.05, 0.5])
@pytest.mark.parametrize(("rows", "columns"), SIZES)
def test_kl_cov(rows, columns, fraction):
    for seed in range(3):
        batch = random_batch(rows, columns, seed)
        ours = kl_cov_loss(
            *batch, penalty_fraction=fraction, penalty_coefficient=0.7, minimum_tokens=1
        )
        assert ours.selected_mask.sum() == max(1, int(fraction * batch[3].sum().item()))
        both(ours.loss, reference_kl_cov(*batch, fraction, 0.7), batch[0])


@pytest.mark.parametrize("clip", [(1.0, 1.0), (0.2, 0.28)])
@pytest.mark.parametrize("fraction", [2e-4, 0.05, 1.0])
@pytest.mark.parametrize(("rows", "columns"), SIZES)
def test_clip_cov(rows, columns, fraction, clip):
    for seed in range(3):
        batch = random_batch(rows, columns, seed)
        settings = {
            "clip_fraction": fraction,
            "cov_low": 0.1,
            "cov_high": 2.0,
            "clip_low": clip[0],
            "clip_high": clip[1],
            "minimum_tokens": 1,
        }
        # Ours draws; the reference is given the same draw, and checks how many and from where.
        ours = clip_cov_loss(*batch, generator=torch.Generator().manual_seed(seed), **settings)
        everything = clip_cov_loss(*batch, **{**settings, "clip_fraction": 1.0})
        order = ours.selected_mask[everything.selected_mask].int().argsort(descending=True)
        theirs, removed = reference_clip_cov(
            batch, fraction, 0.1, 2.0, clip, lambda n, order=order: order[:n]
        )
        assert torch.equal(removed, ours.selected_mask)
        both(ours.loss, theirs, batch[0])


@pytest.mark.parametrize(("rows", "columns"), SIZES)
def test_ppo_clip(rows, columns):
    batch = random_batch(rows, columns, 0)
    plain, held = reference_clip(*batch[:3], 0.2, 0.28)
    theirs = torch.maximum(plain, held)[batch[3]].mean()
    both(ppo_clip_loss(*batch, clip_high=0.28).loss, theirs, batch[0])


def test_the_floor_of_one_token_is_a_setting():
    batch = random_batch(4, 25, 0)
    wide = {"clip_fraction": 1e-6, "cov_low": -100, "cov_high": 100}
    for minimum in (0, 1):
        kl = kl_cov_loss(*batch, penalty_fraction=1e-6, minimum_tokens=minimum)
        assert kl.selected_mask.sum() == minimum
        assert clip_cov_loss(*batch, **wide, minimum_tokens=minimum).selected_mask.sum() == minimum
