"""Advantages, covariance, log-probabilities and entropy against other ways to compute them."""

import math

import numpy as np
import pytest
import torch

from entropy_mech.errors import UserError
from entropy_mech.objectives import (
    group_advantages,
    group_covariance,
    logprobs_and_entropy,
    mixed_outcome_groups,
    token_covariance,
    token_entropy,
)


@pytest.mark.parametrize("correction", [0, 1])
def test_group_advantages_are_standard_scores(correction):
    rewards = torch.from_numpy(np.random.default_rng(0).random((5, 8)))
    ours = group_advantages(rewards, correction=correction).numpy()
    r = rewards.numpy()
    expected = (r - r.mean(1, keepdims=True)) / r.std(1, ddof=correction, keepdims=True)
    np.testing.assert_allclose(ours, expected, rtol=1e-12)


def test_groups_that_all_fare_alike_have_no_advantage():
    rewards = torch.tensor([[1.0, 1.0], [0.0, 0.0], [0.1, 0.1], [1.0, 0.0]])
    advantages = group_advantages(rewards)
    assert advantages[:3].tolist() == [[0.0, 0.0]] * 3
    assert advantages[3].tolist() == pytest.approx([math.sqrt(0.5), -math.sqrt(0.5)])
    assert mixed_outcome_groups(rewards).tolist() == [False, False, False, True]


def test_a_group_of_one_is_refused():
    with pytest.raises(UserError, match=r"rollout.responses = 1: .*give 2 or more"):
        group_advantages(torch.tensor([[1.0], [0.0]]))


def test_token_covariance_is_numpys():
    rng = np.random.default_rng(1)
    logp, advantages = rng.normal(size=(2, 6, 9))
    mask = rng.random((6, 9)) < 0.6
    ours = token_covariance(*map(torch.from_numpy, (logp, advantages, mask))).numpy()
    assert (ours[~mask] == 0).all()
    expected = np.cov(logp[mask], advantages[mask], bias=True)[0, 1]
    assert ours[mask].mean() == pytest.approx(expected, rel=1e-12)


def test_one_sequence_has_no_covariance():
    mask = torch.ones(1, 50, dtype=torch.bool)
    logp, advantages = torch.randn(1, 50), torch.full((1, 50), 1.7)
    assert token_covariance(logp, advantages, mask).abs().max() < 1e-6


def test_group_covariance_is_numpys_per_prompt():
    rng = np.random.default_rng(2)
    mask = np.arange(7) < rng.integers(1, 8, size=(12, 1))
    logp = -rng.random((12, 7))
    row_advantage = rng.normal(size=12)
    advantages = np.where(mask, row_advantage[:, None], 0.0)
    ours = group_covariance(*map(torch.from_numpy, (logp, advantages, mask)), responses=4)
    mean_logp = np.array([row[m].mean() for row, m in zip(logp, mask, strict=True)])
    for prompt in range(3):
        rows = slice(4 * prompt, 4 * prompt + 4)
        x, a = mean_logp[rows], row_advantage[rows]
        for name, y in (("theorem1", np.exp(x) * a), ("theorem2", a)):
            expected = np.cov(x, y, bias=True)[0, 1]
            assert ours[name][prompt].item() == pytest.approx(expected, abs=1e-6)


def test_entropy_and_logprob_match_float64():
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(37, 16, generator=generator)
    head = torch.randn(500, 16, generator=generator)
    tokens = torch.randint(500, (37,), generator=generator)
    logp, entropy = logprobs_and_entropy(hidden, head, tokens, chunk_tokens=10)
    exact = torch.log_softmax((hidden @ head.T).double(), dim=-1)
    expected = exact.gather(1, tokens.unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(logp.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        entropy.double(), -(exact.exp() * exact).sum(-1), rtol=1e-5, atol=1e-5
    )


def test_temperature_moves_the_logprob_and_not_the_entropy():
    hidden, head = torch.randn(5, 8), torch.randn(11, 8)
    tokens = torch.tensor([0, 3, 5, 7, 10])
    logp, entropy = logprobs_and_entropy(hidden, head, tokens)
    cooler, same = logprobs_and_entropy(hidden, head, tokens, temperature=0.5)
    assert torch.equal(entropy, same)
    expected = torch.log_softmax(hidden @ head.T / 0.5, -1).gather(1, tokens[:, None])[:, 0]
    torch.testing.assert_close(cooler, expected)
    assert not torch.allclose(logp, cooler)


def test_entropy_survives_bfloat16_at_vocabulary_size():
    """The form logsumexp(l) - sum(p l) in bfloat16 errs by tenths of a nat here; ours does not."""
    logits = torch.zeros(151_936)
    logits[7] = 15.0
    p = torch.softmax(logits.double(), 0)
    exact = -(p * p.log()).sum().item()
    half = logits.bfloat16()
    careless = (half.logsumexp(0) - (half.softmax(0) * half).sum()).item()
    assert token_entropy(half).item() == pytest.approx(exact, abs=1e-3)
    assert abs(careless - exact) > 0.01


def test_entropy_of_impossible_tokens():
    logits = torch.tensor([0.0, 0.0, float("-inf")])
    assert token_entropy(logits).item() == pytest.approx(math.log(2))
