"""RLOO, REINFORCE++ and PRIME by hand, and against loops written from their definitions."""

import math

import pytest
import torch

from entropy_mech.config.objective import GRPO, PRIME, RLOO, ReinforcePP
from entropy_mech.errors import UserError
from entropy_mech.objectives import (
    group_advantages,
    prime_advantages,
    reinforce_pp_advantages,
    rloo_advantages,
    token_advantages,
)

# Two prompts of two responses: 3, 1, 2 and 2 tokens.
MASK = torch.tensor([[1, 1, 1], [1, 0, 0], [1, 1, 0], [1, 1, 0]], dtype=torch.bool)
REWARDS = torch.tensor([[1.0, 0.0], [1.0, 1.0]], dtype=torch.float64)


def test_rloo_is_the_reward_less_the_others_mean():
    rewards = torch.rand(7, 5, dtype=torch.float64)
    ours = rloo_advantages(rewards)
    for row, out in zip(rewards.tolist(), ours.tolist(), strict=True):
        for i, value in enumerate(out):
            others = row[:i] + row[i + 1 :]
            assert value == pytest.approx(row[i] - sum(others) / 4, abs=1e-12)


def test_rloo_without_spread_is_exactly_zero():
    assert rloo_advantages(torch.full((2, 3), 0.1)).tolist() == [[0.0] * 3] * 2
    with pytest.raises(UserError, match=r"rollout.responses = 1"):
        rloo_advantages(torch.ones(4, 1))


def test_reinforce_pp_over_tokens_and_over_sequences_by_hand():
    # Tokens: 1 1 1 0 1 1 1 1, mean 7/8, variance (7/64 + 49/64) / 7 = 1/8.
    ours = reinforce_pp_advantages(REWARDS, MASK)
    assert ours[0].tolist() == pytest.approx([(1 / 8) * math.sqrt(8)] * 3)
    assert ours[1].tolist() == pytest.approx([-(7 / 8) * math.sqrt(8), 0, 0])
    assert ours[MASK].sum().item() == pytest.approx(0, abs=1e-12)
    # Sequences: 1 0 1 1, mean 3/4, variance (3/16 + 9/16) / 3 = 1/4.
    ours = reinforce_pp_advantages(REWARDS, MASK, normalise_over="sequences")
    assert ours[:, 0].tolist() == pytest.approx([0.5, -1.5, 0.5, 0.5])
    assert (ours[~MASK] == 0).all()


def test_reinforce_pp_keeps_groups_that_all_fare_alike_and_the_baseline_drops_them():
    assert (reinforce_pp_advantages(REWARDS, MASK)[2] > 0).any()
    # Less the group's mean: 1/2, -1/2, 0, 0; over sequences the variance is (1/2) / 3.
    ours = reinforce_pp_advantages(REWARDS, MASK, baseline="group_mean", normalise_over="sequences")
    assert ours[:, 0].tolist() == pytest.approx([math.sqrt(1.5), -math.sqrt(1.5), 0, 0])


def test_reinforce_pp_of_a_batch_without_spread_is_zero():
    for over in ("tokens", "sequences"):
        ours = reinforce_pp_advantages(torch.full((2, 2), 0.1), MASK, normalise_over=over)
        assert (ours == 0).all()


def prime_by_loops(rewards, process, mask, *, released):
    """PRIME's equation with coefficients 2 (outcome) and 3 (process), response by response."""
    prompts, responses = rewards.shape
    out = torch.zeros_like(process)
    for p in range(prompts):
        rows = range(p * responses, (p + 1) * responses)
        means = {i: process[i][mask[i]].mean().item() for i in rows}
        for i in rows:
            others = [j for j in rows if j != i]
            outcome = rewards.flatten()[i] - sum(rewards.flatten()[j] for j in others) / len(others)
            for t in mask[i].nonzero().flatten().tolist():
                later = [s for s in mask[i].nonzero().flatten().tolist() if s >= t]
                if released:
                    terms = [
                        (responses * process[i, s] - sum(means.values())) / (responses - 1)
                        for s in later
                    ]
                else:
                    baseline = sum(means[j] for j in others) / len(others)
                    terms = [process[i, s] - baseline for s in later]
                out[i, t] = 2 * outcome + 3 * sum(terms)
    return out


@pytest.mark.parametrize("baseline", ["leave_one_out", "released"])
def test_prime_is_its_definition(baseline):
    generator = torch.Generator().manual_seed(0)
    rewards = torch.randint(2, (2, 3), generator=generator).double()
    process = torch.randn(6, 5, generator=generator, dtype=torch.float64)
    lengths = torch.randint(1, 6, (6, 1), generator=generator)
    mask = torch.arange(5) < lengths
    process[~mask] = 1234.5
    ours = prime_advantages(
        rewards,
        process,
        mask,
        outcome_coefficient=2,
        process_coefficient=3,
        process_baseline=baseline,
    )
    expected = prime_by_loops(rewards, process, mask, released=baseline == "released")
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)


def test_prime_baselines_agree_on_a_response_and_differ_within_it():
    process = torch.tensor([[0.4, 0.1, 0.2], [0.3, 0, 0], [1, 0, 0], [0, 1, 0]]).double()
    ours, released = (
        prime_advantages(REWARDS, process, MASK, process_baseline=b)
        for b in ("leave_one_out", "released")
    )
    torch.testing.assert_close(ours[:, 0], released[:, 0])  # the return from the first token on
    assert not torch.allclose(ours[0, 1:], released[0, 1:])


def test_prime_norm_last_token_and_whitening_by_hand():
    # Process rewards 3 and 1 against 0 and 0; only the outcome differs in the second prompt.
    rewards = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    process = torch.tensor([[3.0, 1.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    mask = torch.ones(4, 2, dtype=torch.bool)
    plain = prime_advantages(rewards, process, mask)
    # Baselines: 0 for row 0; 2, the mean of row 0, for row 1.
    assert plain.tolist() == [[4, 1], [-4, -2], [1, 1], [-1, -1]]
    by_max = prime_advantages(rewards, process, mask, process_norm="batch_max")  # returns 4, 1
    assert by_max.tolist() == [[1, 0.25], [-1, -0.5], [1, 1], [-1, -1]]
    no_last = prime_advantages(rewards, process, mask, last_token_reward=False)
    assert no_last.tolist() == [[3, 0], [-3, -1.5], [1, 1], [-1, -1]]
    white = prime_advantages(rewards, process, mask, whiten=True)
    assert white.mean().item() == pytest.approx(0, abs=1e-6)
    assert white.std().item() == pytest.approx(1)
    torch.testing.assert_close(white, (plain - plain.mean()) / plain.std())


def test_prime_of_nothing_is_zero_everywhere():
    nothing = prime_advantages(
        torch.zeros(2, 2), torch.zeros(4, 3), MASK, whiten=True, process_norm="batch_max"
    )
    assert (nothing == 0).all()


def test_one_door_to_all_algorithms():
    process = torch.rand(4, 3, dtype=torch.float64)
    expected = {
        GRPO(std_correction=0): group_advantages(REWARDS, correction=0).view(4, 1) * MASK,
        RLOO(): rloo_advantages(REWARDS).view(4, 1) * MASK,
        ReinforcePP(baseline="group_mean"): reinforce_pp_advantages(
            REWARDS, MASK, baseline="group_mean"
        ),
        PRIME(whiten=True, last_token_reward=False): prime_advantages(
            REWARDS, process, MASK, whiten=True, last_token_reward=False
        ),
    }
    for settings, values in expected.items():
        ours = token_advantages(settings, REWARDS, MASK, process)
        assert torch.equal(ours, values), settings
        assert (ours[~MASK] == 0).all()
        assert not ours.requires_grad
    with pytest.raises(ValueError, match="PRIME needs process_rewards"):
        token_advantages(PRIME(), REWARDS, MASK)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: group_advantages(REWARDS, correction=2), "std_correction = 2"),
        (lambda: rloo_advantages(torch.tensor([[1.0, math.nan]])), "rewards = NaN or inf"),
        (lambda: rloo_advantages([[1.0, 0.0]]), "rewards are of type list: give a tensor"),
        (lambda: reinforce_pp_advantages(REWARDS, MASK.long()), "response_mask is torch.int64"),
        (
            lambda: reinforce_pp_advantages(torch.ones(4, 1), MASK, baseline="group_mean"),
            "rollout.responses = 1",
        ),
    ],
)
def test_what_would_give_no_advantage_is_refused(call, message):
    with pytest.raises((UserError, ValueError), match=message):
        call()


def test_unknown_settings_name_the_nearest():
    with pytest.raises(UserError, match=r"did you mean 'tokens'\?"):
        reinforce_pp_advantages(REWARDS, MASK, normalise_over="token")
    with pytest.raises(UserError, match=r"did you mean 'leave_one_out'\?"):
        prime_advantages(REWARDS, torch.zeros(4, 3), MASK, process_baseline="leave_1_out")
    with pytest.raises(ValueError, match="4 rewards, 3 rows of the mask"):
        reinforce_pp_advantages(REWARDS, MASK[:3])
