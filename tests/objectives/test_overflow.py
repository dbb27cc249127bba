"""Log-ratios beyond what a float's exponential holds: gradients are numbers, and the right ones."""

import itertools
import math

import pytest
import torch

from entropy_mech.config.files import make_config
from entropy_mech.errors import UserError
from entropy_mech.objectives import (
    clip_cov_loss,
    kl_cov_loss,
    policy_gradient_loss,
    ppo_clip_loss,
    reference_kl_per_token,
    token_entropy,
    truncated_importance_weights,
    with_reference_kl,
)

pytestmark = pytest.mark.filterwarnings("ignore::entropy_mech.objectives.InertPenaltyWarning")
LOG_RATIOS = (0.0, 1e-3, 20, 88, 89, 200, 1e4, math.inf)
SIGNED = sorted({sign * value for value in LOG_RATIOS for sign in (1, -1)})
MASK = torch.ones(1, 3, dtype=torch.bool)
CHOSEN = torch.tensor([[True, False, False]])
LOSSES = {
    "policy_gradient": (policy_gradient_loss, {}),
    "ppo_clip": (ppo_clip_loss, {}),
    "clip_higher": (ppo_clip_loss, {"clip_high": 0.28}),
    "clip_cov": (clip_cov_loss, {"selected_mask": torch.zeros_like(MASK)}),
    "clip_cov, dropped": (clip_cov_loss, {"selected_mask": CHOSEN}),
    "kl_cov": (kl_cov_loss, {"selected_mask": torch.zeros_like(MASK)}),
    "kl_cov, penalised": (kl_cov_loss, {"selected_mask": CHOSEN}),
    "kl_cov k3": (kl_cov_loss, {"selected_mask": CHOSEN, "kl_estimator": "k3"}),
}

PENALISED = ("kl_cov, penalised", "kl_cov k3")  # whatever their advantage


def run(loss, log_ratio, advantage, **more):
    """Return loss, gradient and metrics of three tokens, the first with this log-ratio."""
    function, settings = LOSSES[loss]
    # Whole numbers, so that the difference is the log-ratio asked for.
    logp_new = torch.tensor([[-2.0, -2.0, -1.0]]).requires_grad_()
    logp_old = logp_new.detach() - torch.tensor([[log_ratio, 0.0, 0.0]])
    advantages = torch.tensor([[advantage, 1.0, -1.0]])
    out = function(logp_new, logp_old, advantages, MASK, **settings, **more)
    out.loss.backward()
    return out.loss.detach(), logp_new.grad, out.metrics


@pytest.mark.parametrize("loss", LOSSES)
def test_with_the_clamp_every_gradient_and_metric_is_finite(loss):
    for log_ratio, advantage in itertools.product(SIGNED, (-3.0, -1e-3, 0.0, 1e-3, 3.0)):
        value, gradient, metrics = run(loss, log_ratio, advantage, log_ratio_clamp=20.0)
        assert gradient.isfinite().all(), (log_ratio, advantage)
        assert value.isfinite()
        assert all(metric.isfinite() for metric in metrics.values()), (log_ratio, metrics)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_without_it_no_gradient_is_nan_and_other_tokens_are_untouched(loss, weight):
    weights = torch.tensor([[weight, 1.0, 1.0]])
    ordinary = run(loss, 0.0, 1.0, token_weights=weights)[1][0, 1:]
    for log_ratio, advantage in itertools.product(SIGNED, (-3.0, 0.0, 3.0)):
        _, gradient, metrics = run(loss, log_ratio, advantage, token_weights=weights)
        assert not gradient.isnan().any(), (log_ratio, advantage)
        assert torch.equal(gradient[0, 1:], ordinary)
        ratios = [metrics["ratio_mean"], metrics["ratio_max"]]
        assert all(value.isfinite() for value in ratios)


@pytest.mark.parametrize("log_ratio", [89.0, 200.0, 1e4, math.inf])
@pytest.mark.parametrize(
    ("loss", "advantage"),
    [
        *((loss, 0.0) for loss in LOSSES if loss not in PENALISED),  # no weight
        ("ppo_clip", 2.0), ("clip_higher", 2.0), ("clip_cov", 2.0),  # an active clip
        ("clip_cov, dropped", 2.0), ("clip_cov, dropped", -2.0),
    ],
)  # fmt: skip
def test_where_nothing_depends_on_the_ratio_the_gradient_is_exactly_0(loss, advantage, log_ratio):
    value, gradient, _ = run(loss, log_ratio, advantage)
    assert gradient[0, 0] == 0
    assert value.isfinite()


def test_an_active_clip_has_its_own_value_whatever_the_ratio():
    ordinary, _, _ = run("ppo_clip", 3.0, 2.0)
    for log_ratio in (89.0, 1e4, math.inf):
        assert torch.equal(run("ppo_clip", log_ratio, 2.0)[0], ordinary)


def test_what_grows_beyond_any_number_is_not_hidden():
    """The surrogate of a token that the clip does not hold: its gradient is huge, never 0."""
    for loss in ("ppo_clip", "clip_higher", "kl_cov"):
        assert run(loss, 200.0, -1.0)[1][0, 0] > 1e37
        assert run(loss, 200.0, -1.0, log_ratio_clamp=20.0)[1][0, 0] == 0  # cut off: no gradient


@pytest.mark.parametrize("loss", LOSSES)
def test_within_the_bound_the_clamp_changes_no_bit(loss):
    for log_ratio, advantage in itertools.product((-19.9, -0.3, 0.0, 0.7, 19.9), (-2.0, 0.0, 2.0)):
        plain = run(loss, log_ratio, advantage)
        clamped = run(loss, log_ratio, advantage, log_ratio_clamp=20.0)
        assert torch.equal(plain[0], clamped[0])
        assert torch.equal(plain[1], clamped[1])


def test_ordinary_ratios_have_the_bits_of_the_plain_formula():
    generator = torch.Generator().manual_seed(0)
    logp_old = -torch.rand(8, 50, generator=generator)
    start = logp_old + torch.randn(8, 50, generator=generator)
    advantages = torch.randn(8, 1, generator=generator).expand(8, 50)
    mask = torch.ones(8, 50, dtype=torch.bool)
    mine, plain = start.clone().requires_grad_(), start.clone().requires_grad_()
    ppo_clip_loss(mine, logp_old, advantages, mask).loss.backward()
    ratio = (plain - logp_old).exp()
    by_hand = torch.maximum(-advantages * ratio, -advantages * ratio.clamp(0.8, 1.2))
    (by_hand.sum() / 400).backward()
    assert torch.equal(mine.grad, plain.grad)


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_reference_kl_is_finite_with_the_clamp_and_never_nan_without(estimator):
    for difference in [d for d in SIGNED if math.isfinite(d)]:
        for bound in (None, 20.0):
            logp = torch.tensor([[-2.0, -1.0]]).requires_grad_()
            reference = logp.detach() - torch.tensor([[difference, 0.0]])
            mask = torch.ones(1, 2, dtype=torch.bool)
            kl = reference_kl_per_token(
                logp, reference, mask, estimator=estimator, log_ratio_clamp=bound
            )
            kl.sum().backward()
            assert not logp.grad.isnan().any()
            if bound is not None:
                assert kl.isfinite().all()
                assert logp.grad.isfinite().all()


def test_a_reference_kl_without_weight_changes_nothing():
    tensors = torch.tensor([[-2.0]]).requires_grad_(), torch.tensor([[-2.0]])
    mask = torch.ones(1, 1, dtype=torch.bool)
    out = ppo_clip_loss(*tensors, torch.ones(1, 1), mask)
    far = torch.tensor([[200.0]])
    out = with_reference_kl(out, tensors[0], far, mask, coefficient=0.0)
    out.loss.backward()
    assert tensors[0].grad.item() == -1.0


def test_importance_weights_of_any_gap_lie_between_0_and_the_cap():
    gaps = torch.tensor([SIGNED])
    mask = torch.ones_like(gaps, dtype=torch.bool)
    weights = truncated_importance_weights(gaps, torch.zeros_like(gaps), mask, cap=2.0)
    assert ((weights >= 0) & (weights <= 2)).all()


@pytest.mark.parametrize("kept", [1, 2, 5])
def test_impossible_words_add_nothing_to_an_entropy_nor_to_its_gradient(kept):
    logits = torch.linspace(0, 1, kept)
    padded = torch.cat([logits, torch.full((3,), -math.inf)]).requires_grad_()
    entropy = token_entropy(padded)
    entropy.backward()
    assert entropy.item() == pytest.approx(token_entropy(logits).item(), abs=1e-7)
    assert padded.grad.isfinite().all()
    assert padded.grad[kept:].tolist() == [0.0] * 3


def test_a_bound_that_is_none_is_refused_and_one_in_the_configuration_reaches_the_loss():
    for bound in (0.0, -20.0, math.nan):
        with pytest.raises(UserError, match=r"loss\.log_ratio_clamp = "):
            run("ppo_clip", 1.0, 1.0, log_ratio_clamp=bound)
    for method in ("policy_gradient", "ppo_clip", "clip_cov", "kl_cov"):
        loss = make_config({"loss": {"method": method, "log_ratio_clamp": 20}}).loss
        assert loss.of_the_method()["log_ratio_clamp"] == 20
        assert (
            "log_ratio_clamp" not in make_config({"loss": {"method": method}}).loss.of_the_method()
        )
