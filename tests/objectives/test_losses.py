"""Losses against numbers computed by hand, verl's semantics, and finite differences."""

import math
import warnings

import pytest
import torch

from entropy_mech.errors import UserError
from entropy_mech.objectives import (
    Aggregation,
    InertPenaltyWarning,
    clip_cov_loss,
    kl_cov_loss,
    policy_gradient_loss,
    ppo_clip_loss,
)

# Two responses of 3 and 2 tokens; the padding holds numbers that must never count.
MASK = torch.tensor([[True, True, True], [True, True, False]])
LOGP_OLD = torch.tensor([[-1.0, -2.0, -0.5], [-3.0, -0.1, -99.0]], dtype=torch.float64)
LOG_RATIO = torch.tensor([[0.5, -0.1, 0.0], [0.4, -0.5, 50.0]], dtype=torch.float64)
LOGP_NEW = LOGP_OLD + LOG_RATIO
ADVANTAGES = torch.tensor([[1.0, 1.0, 1.0], [-2.0, -2.0, 77.0]], dtype=torch.float64)
ALL = (LOGP_NEW, LOGP_OLD, ADVANTAGES, MASK)


def test_ppo_clip_by_hand():
    # Ratios e^.5 = 1.649 (clipped to 1.2), e^-.1, 1 | A = -2: e^.4 = 1.492 (not clipped: it makes
    # the loss larger), e^-.5 = 0.607 (clipped to 0.8).
    out = ppo_clip_loss(*ALL)
    by_hand = (-1.2 - math.exp(-0.1) - 1.0 + 2 * math.exp(0.4) + 2 * 0.8) / 5
    assert out.loss.item() == pytest.approx(by_hand, rel=1e-12)
    assert out.selected_mask.tolist() == [[True, False, False], [False, True, False]]
    assert out.metrics["selected_fraction"].item() == pytest.approx(2 / 5)
    assert out.metrics["ratio_max"].item() == pytest.approx(math.exp(0.5))


def test_clip_higher_admits_the_larger_ratio():
    out = ppo_clip_loss(*ALL, clip_high=0.7)
    assert out.selected_mask.tolist() == [[False, False, False], [False, True, False]]


def test_policy_gradient_by_hand():
    out = policy_gradient_loss(*ALL)
    assert out.loss.item() == pytest.approx((0.5 + 2.1 + 0.5 + 2 * -2.6 + 2 * -0.6) / 5)


def covariances_by_hand():
    """Log pi: mean -8.3/5 + ... of the five tokens; A: mean -1/5."""
    logp = [-0.5, -2.1, -0.5, -2.6, -0.6]
    advantage = [1.0, 1.0, 1.0, -2.0, -2.0]
    mean_logp, mean_advantage = sum(logp) / 5, sum(advantage) / 5
    return [
        (x - mean_logp) * (a - mean_advantage) for x, a in zip(logp, advantage, strict=True)
    ]  # 0.912, -1.008, 0.912, 2.412, -1.188


def test_kl_cov_by_hand():
    assert max(covariances_by_hand()) == covariances_by_hand()[3] == pytest.approx(2.412)
    out = kl_cov_loss(*ALL, penalty_fraction=0.2, penalty_coefficient=3.0)  # floor(0.2 * 5) = 1
    assert out.selected_mask.tolist() == [[False, False, False], [True, False, False]]
    plain = -math.exp(0.5) - math.exp(-0.1) - 1 + 2 * math.exp(0.4) + 2 * math.exp(-0.5)
    assert out.loss.item() == pytest.approx((plain + 3.0 * 0.4) / 5, rel=1e-12)
    k3 = kl_cov_loss(*ALL, penalty_fraction=0.2, penalty_coefficient=3.0, kl_estimator="k3")
    assert k3.loss.item() == pytest.approx((plain + 3 * (math.exp(0.4) - 1.4)) / 5, rel=1e-12)


def test_clip_cov_by_hand():
    # The band [0.9, 1] holds tokens 0 and 2 of the first row; floor(0.4 * 5) = 2 takes both.
    out = clip_cov_loss(*ALL, clip_fraction=0.4, cov_low=0.9, cov_high=1.0)
    assert out.selected_mask.tolist() == [[True, False, True], [False, False, False]]
    by_hand = (-math.exp(-0.1) + 2 * math.exp(0.4) + 2 * math.exp(-0.5)) / 5
    assert out.loss.item() == pytest.approx(by_hand, rel=1e-12)  # still divided by all 5


def test_clip_cov_draws_uniformly_and_by_its_generator():
    counts = torch.zeros(3)
    for seed in range(600):
        out = clip_cov_loss(
            *ALL,
            clip_fraction=0.2,
            cov_low=0.9,
            cov_high=3.0,
            generator=torch.Generator().manual_seed(seed),
        )
        assert out.selected_mask.sum() == 1
        counts += out.selected_mask[[0, 0, 1], [0, 2, 0]]
    # Each of the three in the band has chance 1/3: 200 +- 46 is four standard deviations.
    assert counts.sum() == 600
    assert (counts - 200).abs().max() < 46


def test_clip_cov_leaves_alone_what_the_ppo_clip_holds():
    out = clip_cov_loss(
        *ALL, clip_fraction=1.0, cov_low=0.9, cov_high=1.0, clip_low=0.2, clip_high=0.2
    )
    assert out.selected_mask.tolist() == [[False, False, True], [False, False, False]]
    assert out.metrics["ppo_clipped_fraction"].item() == pytest.approx(2 / 5)


@pytest.mark.parametrize(
    ("fraction", "tokens", "count"),
    [(2e-4, 4999, 0), (2e-4, 5000, 1), (0.29, 100, 29), (0.3, 10, 3), (1.0, 7, 7), (0.0, 7, 0)],
)
def test_selection_counts_are_floors(fraction, tokens, count):
    mask = torch.ones(1, tokens, dtype=torch.bool)
    logp = torch.linspace(-2, 0, tokens).unsqueeze(0)
    advantages = torch.linspace(-1, 1, tokens).unsqueeze(0)
    out = kl_cov_loss(logp, logp - 0.1, advantages, mask, penalty_fraction=fraction)
    assert out.selected_mask.sum() == count


def test_kl_cov_at_ratio_one_warns_and_is_the_plain_gradient():
    logp = LOGP_OLD.clone().requires_grad_()
    with pytest.warns(InertPenaltyWarning, match="second update"):
        out = kl_cov_loss(logp, LOGP_OLD, ADVANTAGES, MASK, penalty_fraction=1.0)
    (gradient,) = torch.autograd.grad(out.loss, logp)
    assert torch.equal(gradient, torch.where(MASK, -ADVANTAGES / 5, 0.0))


def test_kl_cov_away_from_ratio_one_does_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kl_cov_loss(*ALL, penalty_fraction=1.0)


LOSSES = {
    "policy_gradient": (policy_gradient_loss, {}),
    "ppo_clip": (ppo_clip_loss, {}),
    "clip_higher": (ppo_clip_loss, {"clip_high": 0.28}),
    "clip_cov": (clip_cov_loss, {"clip_fraction": 0.4, "cov_low": 0.9}),
    "kl_cov": (kl_cov_loss, {"penalty_fraction": 0.2}),
    "kl_cov_k3": (kl_cov_loss, {"penalty_fraction": 0.2, "kl_estimator": "k3"}),
}


def _with_seed(name):
    loss, settings = LOSSES[name]
    if name == "clip_cov":
        settings = {**settings, "generator": torch.Generator().manual_seed(3)}
    return lambda logp_new, **more: loss(logp_new, LOGP_OLD, ADVANTAGES, MASK, **settings, **more)


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_against_finite_differences(name):
    # Moved off 0 where |log ratio| has its corner.
    logp = (LOGP_NEW + 0.013).requires_grad_()
    (gradient,) = torch.autograd.grad(_with_seed(name)(logp).loss, logp)
    for row, column in MASK.nonzero().tolist():
        shift = torch.zeros_like(logp)
        shift[row, column] = 1e-6
        difference = (
            _with_seed(name)(logp.detach() + shift).loss
            - _with_seed(name)(logp.detach() - shift).loss
        ) / 2e-6
        assert gradient[row, column].item() == pytest.approx(difference.item(), abs=1e-8)
    assert (gradient[~MASK] == 0).all()


@pytest.mark.parametrize("name", LOSSES)
def test_padding_never_counts(name):
    other = LOGP_NEW.clone()
    other[~MASK] = -1234.5
    assert torch.equal(_with_seed(name)(other).loss, _with_seed(name)(LOGP_NEW).loss)


@pytest.mark.parametrize("name", LOSSES)
def test_parts_add_up_to_the_whole(name):
    whole = _with_seed(name)(LOGP_NEW)
    loss, settings = LOSSES[name]
    if name.startswith(("clip_cov", "kl_cov")):
        settings = {**settings}
    parts = []
    for row in (slice(0, 1), slice(1, 2)):
        extra = {}
        if name.startswith(("clip_cov", "kl_cov")):
            extra["selected_mask"] = whole.selected_mask[row]
        part = [tensor[row] for tensor in ALL]
        parts.append(loss(*part, **settings, **extra, aggregation=Aggregation(token_count=5)))
    assert sum(p.loss.item() for p in parts) == pytest.approx(whole.loss.item(), rel=1e-12)
    for key, value in whole.metrics.items():
        values = [p.metrics[key].item() for p in parts]
        combined = max(values) if key.endswith("_max") else sum(values)
        assert combined == pytest.approx(value.item(), rel=1e-12)


def test_percent_instead_of_fraction_is_named():
    with pytest.raises(UserError, match=r"loss.penalty_fraction = 2: .*for 2 percent write 0.02"):
        kl_cov_loss(*ALL, penalty_fraction=2)
    with pytest.raises(UserError, match=r"loss\.cov_low = 3: must not exceed cov_high = 1"):
        clip_cov_loss(*ALL, cov_low=3, cov_high=1)
    with pytest.raises(UserError, match="kl_estimator"):
        kl_cov_loss(*ALL, kl_estimator="k2")


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="advantages has shape"):
        ppo_clip_loss(LOGP_NEW, LOGP_OLD, ADVANTAGES[:, :2], MASK)
    with pytest.raises(ValueError, match="not bool"):
        ppo_clip_loss(LOGP_NEW, LOGP_OLD, ADVANTAGES, MASK.float())
    with pytest.raises(ValueError, match="logp_new is of type list: give a tensor"):
        ppo_clip_loss(LOGP_NEW.tolist(), LOGP_OLD, ADVANTAGES, MASK)
    with pytest.raises(ValueError, match=r"response_mask has shape \(3,\); all"):
        ppo_clip_loss(*(tensor[0] for tensor in ALL))
    for loss in (clip_cov_loss, kl_cov_loss):
        with pytest.raises(ValueError, match=r"selected_mask has shape \(1, 3\)"):
            loss(*ALL, selected_mask=MASK[:1])
        with pytest.raises(ValueError, match=r"selected_mask is torch.float32, not bool"):
            loss(*ALL, selected_mask=MASK.float())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ppo_clip_loss(*ALL, clip_low=math.nan), "clip_low = nan"),
        (lambda: clip_cov_loss(*ALL, cov_low=math.nan), "cov_low = nan"),
        (lambda: kl_cov_loss(*ALL, penalty_coefficient=-1.0), "penalty_coefficient = -1"),
    ],
)
def test_settings_that_would_only_show_as_nan_are_refused(call, message):
    with pytest.raises(UserError, match=f"loss.{message}"):
        call()


SHARES = {
    clip_cov_loss: {"clip_fraction": 0.4, "cov_low": 0.0},
    kl_cov_loss: {"penalty_fraction": 0.4},
}


@pytest.mark.parametrize("loss", [policy_gradient_loss, ppo_clip_loss, *SHARES])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_widened_before_anything_is_summed(loss, dtype):
    narrow = [tensor.to(dtype) for tensor in ALL[:3]]
    outs = []
    for batch in (narrow, [tensor.float() for tensor in narrow]):
        torch.manual_seed(1)
        outs.append(loss(*batch, MASK, **SHARES.get(loss, {})))
    assert outs[0].loss.dtype == torch.float32
    assert outs[0].loss == outs[1].loss
    assert outs[0].metrics == outs[1].metrics


@pytest.mark.parametrize("loss", [policy_gradient_loss, ppo_clip_loss, *SHARES])
@pytest.mark.parametrize("junk", [math.nan, math.inf, -math.inf])
def test_padding_may_hold_anything_and_advantages_any_precision(loss, junk):
    logp = LOGP_NEW.float().masked_fill(~MASK, junk).requires_grad_()
    old, advantages = (tensor.masked_fill(~MASK, junk) for tensor in (LOGP_OLD, ADVANTAGES))
    loss(logp, old.float(), advantages, MASK, **SHARES.get(loss, {})).loss.backward()
    assert logp.grad.isfinite().all()
    assert (logp.grad[~MASK] == 0).all()


@pytest.mark.parametrize("loss", [policy_gradient_loss, ppo_clip_loss, *SHARES])
def test_a_batch_of_no_rows_adds_nothing(loss):
    out = loss(*(tensor[:0] for tensor in ALL))
    assert out.loss == 0
    assert all(value == 0 for value in out.metrics.values())
