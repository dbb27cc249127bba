"""Which tokens are chosen: as a stable sort would, at any size, with ties."""

import pytest
import torch

from entropy_mech.config import ClipCov
from entropy_mech.objectives import (
    choose_tokens,
    clip_cov_loss,
    ppo_clip_loss,
    select_in_band,
    select_largest,
)


def first_by_stable_sort(values, keep, count):
    order = torch.where(keep, values, torch.inf).flatten().sort(stable=True).indices[:count]
    chosen = torch.zeros(values.numel(), dtype=torch.bool)
    chosen[order] = True
    return chosen.view_as(values)


@pytest.mark.parametrize("fraction", [0.0, 2e-4, 2e-3, 0.02, 0.3, 1.0])
@pytest.mark.parametrize("kind", ["continuous", "many ties", "one value", "sorted", "spread"])
def test_the_largest_are_a_stable_sorts_first(kind, fraction):
    generator = torch.Generator().manual_seed(0)
    shape = (50, 400)
    values = {
        "continuous": torch.randn(shape, generator=generator),
        "many ties": torch.randint(5, shape, generator=generator).float(),
        "one value": torch.ones(shape),
        "sorted": torch.arange(20_000.0).view(shape),
        # All large ones where a regular sample never looks.
        "spread": torch.zeros(20_000).index_fill_(0, torch.arange(1, 20_000, 64), 9.0).view(shape),
    }[kind]
    mask = torch.rand(shape, generator=generator) < 0.7
    ours = select_largest(values, mask, penalty_fraction=fraction)
    count = int(fraction * int(mask.sum()) + 1e-9)
    assert torch.equal(ours, first_by_stable_sort(-values, mask, count))


@pytest.mark.parametrize("fraction", [0.0, 1e-3, 0.05, 1.0])
def test_in_the_band_the_lowest_scores_win(fraction):
    generator = torch.Generator().manual_seed(1)
    covariance = torch.randn(40, 300, generator=generator)
    scores = torch.randint(50, (40, 300), generator=generator) / 50  # with ties
    scores[:, 7] = torch.inf
    mask = torch.rand(40, 300, generator=generator) < 0.8
    excluded = torch.rand(40, 300, generator=generator) < 0.1
    ours = select_in_band(
        covariance,
        mask,
        scores,
        clip_fraction=fraction,
        cov_low=0.5,
        cov_high=1.5,
        excluded=excluded,
    )
    band = mask & (covariance >= 0.5) & (covariance <= 1.5) & ~excluded & scores.isfinite()
    count = min(int(fraction * int(mask.sum()) + 1e-9), int(band.sum()))
    assert torch.equal(ours, first_by_stable_sort(scores, band, count))


def test_the_bands_bounds_belong_to_it():
    covariance = torch.tensor([[0.99, 1.0, 3.0, 5.0, 5.01]])
    mask = torch.ones(1, 5, dtype=torch.bool)
    chosen = select_in_band(covariance, mask, clip_fraction=1.0, cov_low=1.0, cov_high=5.0)
    assert chosen.tolist() == [[False, True, True, True, False]]


def test_minimum_tokens_never_reaches_beyond_the_response():
    mask = torch.zeros(2, 3, dtype=torch.bool)
    assert not select_largest(torch.ones(2, 3), mask, penalty_fraction=0.5, minimum_tokens=1).any()
    mask[0, 1] = True
    chosen = select_largest(torch.ones(2, 3), mask, penalty_fraction=0.5, minimum_tokens=1)
    assert torch.equal(chosen, mask)


def test_memory_order_does_not_matter():
    covariance = torch.randn(30, 20)
    mask = torch.rand(30, 20) < 0.8
    turned = covariance.T.contiguous().T, mask.T.contiguous().T
    ours = select_largest(covariance, mask, penalty_fraction=0.1)
    assert torch.equal(select_largest(*turned, penalty_fraction=0.1), ours)


@pytest.mark.parametrize("ratio", [0.25, 3.0])
@pytest.mark.parametrize(("advantage", "held_at"), [(1.0, 3.0), (0.0, None), (-1.0, 0.25)])
def test_loss_and_choice_agree_on_what_the_clip_holds(ratio, advantage, held_at):
    """At advantage 0 it holds nothing, whose gradient is 0 anyhow: the released code's strict >."""
    logp_old = torch.full((1, 8), -1.0)
    logp_new = (logp_old + torch.tensor([ratio] * 4 + [1.0] * 4).log()).requires_grad_()
    advantages = torch.full((1, 8), advantage)
    mask = torch.ones(1, 8, dtype=torch.bool)
    held = torch.tensor([[ratio == held_at] * 4 + [False] * 4])
    given = (logp_new, logp_old, advantages, mask)
    ppo = ppo_clip_loss(*given, clip_low=0.5, clip_high=1.0)
    assert torch.equal(ppo.selected_mask, held)
    (gradient,) = torch.autograd.grad(ppo.loss, logp_new)
    assert torch.equal(gradient == 0, held | torch.tensor(advantage == 0))

    everything = {"clip_fraction": 1.0, "cov_low": -9.0, "cov_high": 9.0, "clip_low": 0.5}
    settings = ClipCov(clip_high=1.0, **everything)
    chosen = choose_tokens(settings, *(t.detach() for t in given), torch.zeros(1, 8))
    assert torch.equal(chosen, ~held)
    assert torch.equal(clip_cov_loss(*given, clip_high=1.0, **everything).selected_mask, ~held)
