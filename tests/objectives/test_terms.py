"""Aggregation, entropy bonus, reference KL and importance weights."""

import math

import pytest
import torch

from entropy_mech.errors import UserError
from entropy_mech.objectives import (
    AGGREGATIONS,
    Aggregation,
    clip_cov_loss,
    kl_cov_loss,
    policy_gradient_loss,
    ppo_clip_loss,
    reference_kl_per_token,
    token_entropy,
    truncated_importance_weights,
    with_entropy_bonus,
    with_reference_kl,
)

MASK = torch.tensor([[True, True, True], [True, False, False], [False, False, False]])
LOSSES = [policy_gradient_loss, ppo_clip_loss, clip_cov_loss, kl_cov_loss]


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    logp_old, noise, advantages = torch.randn(3, 3, 3, generator=generator, dtype=torch.float64)
    return logp_old + 0.1 * noise, logp_old, advantages, MASK


def aggregation(method, **counts):
    return Aggregation(method, normaliser_tokens=10, **counts)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_has_every_aggregation_by_hand(loss):
    tensors = batch()
    chosen = torch.zeros_like(MASK)
    extra = {} if loss in LOSSES[:2] else {"selected_mask": chosen}

    def out(method):
        return loss(*tensors, aggregation=aggregation(method), **extra).loss.item()

    first, second = (
        loss(
            *(t[row : row + 1] for t in tensors), **{k: v[row : row + 1] for k, v in extra.items()}
        )
        for row in (0, 1)
    )
    a, b = first.loss.item(), second.loss.item()  # token means of 3 and 1 tokens
    assert out("token_mean") == pytest.approx((3 * a + b) / 4)
    assert out("sequence_mean_token_mean") == pytest.approx((a + b) / 2)  # the empty row: no row
    assert out("sequence_mean_token_sum") == pytest.approx((3 * a + b) / (2 * 10))


def test_the_token_sum_is_verls_seq_mean_token_sum_norm_by_hand():
    """In verl 0.8 and later: over two responses and a length of 4; up to 0.7 without the two."""
    values = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 77.0], [77.0, 77.0, 77.0]])
    mask = torch.tensor([[True, True, True], [True, True, False], [False, False, False]])
    mean = Aggregation("sequence_mean_token_sum", normaliser_tokens=4)
    assert mean(values, mask).item() == (6 + 9) / 2 / 4
    whole_step = Aggregation("sequence_mean_token_sum", normaliser_tokens=4, sequence_count=5)
    assert whole_step(values, mask).item() == (6 + 9) / 5 / 4


@pytest.mark.parametrize("method", AGGREGATIONS)
def test_parts_add_up_to_the_whole_under_every_aggregation(method):
    tensors = batch()
    logp_ref = tensors[1] - 0.3

    def total(rows, **counts):
        logp = tensors[0].clone().requires_grad_()
        mean = aggregation(method, **counts)
        part = [t[rows] for t in (logp, *tensors[1:])]
        out = ppo_clip_loss(*part, aggregation=mean)
        terms = {"coefficient": 0.7, "aggregation": mean}
        out = with_entropy_bonus(out, -part[0], part[3], **terms)
        out = with_reference_kl(out, part[0], logp_ref[rows], part[3], **terms)
        out.loss.backward()
        return out, logp.grad

    counts = {"token_count": 4, "sequence_count": 2}
    whole, gradient = total(slice(None))
    parts = [total(rows, **counts) for rows in (slice(0, 1), slice(1, 3))]
    assert sum(p.loss for p, _ in parts).item() == pytest.approx(whole.loss.item(), rel=1e-12)
    torch.testing.assert_close(sum(g for _, g in parts), gradient, rtol=1e-12, atol=0)
    for name, value in whole.metrics.items():
        values = torch.stack([p.metrics[name] for p, _ in parts])
        combined = values.max() if name.endswith("_max") else values.sum()
        assert combined.item() == pytest.approx(value.item(), rel=1e-12)


def test_metrics_are_token_means_under_every_aggregation():
    tensors = batch()
    expected = ppo_clip_loss(*tensors).metrics
    for method in AGGREGATIONS:
        metrics = ppo_clip_loss(*tensors, aggregation=aggregation(method)).metrics
        assert metrics == expected


def test_entropy_bonus_teaches_entropy():
    logits = torch.tensor([[[2.0, 0.0, 0.0]]], dtype=torch.float64, requires_grad=True)
    mask = torch.ones(1, 1, dtype=torch.bool)
    logp = torch.log_softmax(logits, -1)[..., 0]
    plain = policy_gradient_loss(logp, logp.detach(), torch.zeros(1, 1).double(), mask)
    out = with_entropy_bonus(plain, token_entropy(logits), mask, coefficient=0.5)
    assert out.loss.item() == pytest.approx(-0.5 * token_entropy(logits).item())
    assert out.metrics["entropy_bonus_nats"].item() == pytest.approx(token_entropy(logits).item())
    (gradient,) = torch.autograd.grad(out.loss, logits)
    assert token_entropy(logits - 0.1 * gradient).item() > token_entropy(logits).item()


def test_an_entropy_without_a_gradient_is_refused():
    logp_new, *rest = batch()
    out = ppo_clip_loss(logp_new.requires_grad_(), *rest)
    with pytest.raises(ValueError, match=r"outside of torch\.no_grad"):
        with_entropy_bonus(out, torch.ones(3, 3), MASK, coefficient=0.1)


POLICY = torch.tensor([1.0, 0.2, -0.5], dtype=torch.float64)
REFERENCE = torch.tensor([0.0, 0.5, 0.3], dtype=torch.float64)


def expected_kl(logits, estimator):
    """Average an estimator over the tokens that the policy takes, exactly."""
    logp, logp_ref = (torch.log_softmax(x, -1).unsqueeze(0) for x in (logits, REFERENCE))
    everything = torch.ones(1, 3, dtype=torch.bool)
    values = reference_kl_per_token(logp, logp_ref, everything, estimator=estimator)
    return (logp.detach().exp() * values).sum()


def kl(p, q):
    p, q = torch.log_softmax(p, -1), torch.log_softmax(q, -1)
    return (p.exp() * (p - q)).sum()


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_k1_and_k3_are_unbiased(estimator):
    expected = kl(POLICY, REFERENCE).item()
    assert expected_kl(POLICY, estimator).item() == pytest.approx(expected, rel=1e-12)
    assert abs(expected_kl(POLICY, "k2").item() - expected) > 0.01


@pytest.mark.parametrize(
    ("estimator", "objective"),
    [
        ("k1", lambda z: 0.0 * z.sum()),
        ("k2", lambda z: kl(z, REFERENCE)),
        ("k3", lambda z: kl(REFERENCE, z)),
    ],
)
def test_what_each_estimators_gradient_is_on_average(estimator, objective):
    ours, theirs = (
        torch.autograd.grad(f(logits), logits)[0]
        for f, logits in (
            (lambda z: expected_kl(z, estimator), POLICY.clone().requires_grad_()),
            (objective, POLICY.clone().requires_grad_()),
        )
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_k3_is_never_negative_and_counts_no_padding():
    logp = -torch.rand(4, 5)
    mask = torch.rand(4, 5) < 0.5
    k3 = reference_kl_per_token(logp + torch.where(mask, 0.0, 99.0), logp * 0.9, mask)
    assert (k3 >= 0).all()
    assert (k3[~mask] == 0).all()


def test_importance_weights_by_hand():
    logp_old = torch.tensor([[-1.0, -1.0, -1.0]], requires_grad=True)
    logp_sampler = torch.tensor([[-1.0, -1.5, -9.0]])
    weights = truncated_importance_weights(logp_old, logp_sampler, MASK[:1], cap=3.0)
    assert weights[0].tolist() == pytest.approx([1.0, math.exp(0.5), 3.0])
    assert not weights.requires_grad
    padded = truncated_importance_weights(logp_old, logp_sampler, MASK[1:2])
    assert padded[0].tolist() == [1.0, 1.0, 1.0]


def test_importance_weights_make_the_samplers_tokens_the_policys():
    """On average over the sampler's tokens they give the policy's expectation, up to the cap."""
    p, q = torch.softmax(POLICY, -1), torch.softmax(REFERENCE, -1)
    values = torch.tensor([3.0, -1.0, 2.0], dtype=torch.float64)
    everything = torch.ones(1, 3, dtype=torch.bool)
    weights = truncated_importance_weights(p.log()[None], q.log()[None], everything, cap=10)
    assert (q * weights[0] * values).sum().item() == pytest.approx((p * values).sum().item())


@pytest.mark.parametrize("loss", LOSSES)
def test_token_weights_multiply_the_loss_of_a_token(loss):
    logp, *rest = batch()
    weights = torch.tensor([[2.0, 0.5, 0.0], [3.0, float("nan"), 7.0], [1.0, 1.0, 1.0]]).double()

    def gradient(**more):
        new = logp.clone().requires_grad_()
        loss(new, *rest, **more).loss.backward()
        return new.grad

    weighted, plain = gradient(token_weights=weights), gradient()
    torch.testing.assert_close(weighted[MASK], (weights * plain)[MASK])
    assert (weighted[~MASK] == 0).all()


def test_faults_are_named():
    tensors = batch()
    with pytest.raises(UserError, match=r"unknown loss.aggregation 'tokens_mean'"):
        Aggregation("tokens_mean")
    with pytest.raises(UserError, match=r"loss.normaliser_tokens = None"):
        Aggregation("sequence_mean_token_sum")
    with pytest.raises(UserError, match=r"loss.importance_cap = 0"):
        truncated_importance_weights(*tensors[:2], MASK, cap=0)
    with pytest.raises(UserError, match="did you mean 'k3'"):
        reference_kl_per_token(*tensors[:2], MASK, estimator="k33")
