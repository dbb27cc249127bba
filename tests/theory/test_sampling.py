from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entropy_mech.errors import UserError
from entropy_mech.theory import policy_gradient_step, softmax_entropy
from entropy_mech.theory.beyond import enumerate_steps, group_scale, simulate_steps
from entropy_mech.theory.softmax import softmax_policy

SEEDS = st.integers(0, 2**32 - 1)


def random_bandit(seed, actions=3, binary=True):
    rng = np.random.default_rng(seed)
    rewards = rng.permutation([0.0, 1.0, *rng.integers(0, 2, actions - 2)])
    return rng.normal(size=actions), rewards if binary else rng.normal(size=actions)


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(1, 4), st.floats(-2, 2))
def test_reinforce_is_unbiased_for_any_baseline_and_its_variance_falls_as_one_over_k(seed, size, b):
    logits, rewards = random_bandit(seed, binary=False)
    kwargs = {"estimator": "reinforce", "baseline": b}
    step = enumerate_steps(logits, rewards, 0.3, group_size=size, **kwargs)
    assert step.mean == pytest.approx(policy_gradient_step(logits, rewards, 0.3), abs=1e-14)
    alone = enumerate_steps(logits, rewards, 0.3, group_size=1, **kwargs)
    assert step.variance * size == pytest.approx(alone.variance, abs=1e-14)


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(2, 5))
def test_the_group_mean_shrinks_the_step_by_k_minus_1_over_k(seed, size):
    logits, rewards = random_bandit(seed, binary=False)
    step = enumerate_steps(logits, rewards, 0.3, estimator="group_mean", group_size=size)
    expected = (size - 1) / size * policy_gradient_step(logits, rewards, 0.3)
    assert step.mean == pytest.approx(expected, abs=1e-14)


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(2, 6), st.sampled_from([0, 1]))
def test_grpo_on_right_or_wrong_rewards_only_rescales_the_step(seed, size, ddof):
    logits, rewards = random_bandit(seed)
    step = enumerate_steps(logits, rewards, 0.3, group_size=size, std_ddof=ddof)
    p = softmax_policy(logits).probs @ rewards
    scale = group_scale(p, size, std_ddof=ddof)
    assert step.mean == pytest.approx(scale * policy_gradient_step(logits, rewards, 0.3), abs=1e-13)
    assert step.no_signal_fraction == pytest.approx(p**size + (1 - p) ** size)


def test_grpo_on_graded_rewards_turns_the_step():
    logits, rewards = [1.0, 0.0, -1.0], [0.0, 0.2, 1.0]
    step = enumerate_steps(logits, rewards, 1.0, group_size=4).mean
    plain = policy_gradient_step(logits, rewards, 1.0)
    cosine = step @ plain / np.linalg.norm(step) / np.linalg.norm(plain)
    assert cosine < 0.99


def test_moments_agree_with_every_ordered_group_written_out():
    logits, rewards, eta = np.array([0.5, -0.3, 0.1]), np.array([1.0, 0.0, 0.4]), 0.7
    probs = softmax_policy(logits).probs
    mean, square, entropy = np.zeros(3), np.zeros(3), 0.0
    for group in product(range(3), repeat=3):
        drawn = rewards[list(group)]
        # Not std > 0: the mean of three 0.4 is not 0.4, and rounding over rounding is no advantage.
        same = np.ptp(drawn) == 0
        advantages = np.zeros(3) if same else (drawn - drawn.mean()) / drawn.std(ddof=1)
        step = np.zeros(3)
        for action, advantage in zip(group, advantages, strict=True):
            step += eta / 3 * advantage * (np.eye(3)[action] - probs)
        weight = probs[list(group)].prod()
        mean, square = mean + weight * step, square + weight * step**2
        entropy += weight * (softmax_entropy(logits + step) - softmax_entropy(logits))
    ours = enumerate_steps(logits, rewards, eta, group_size=3, std_ddof=1)
    assert ours.mean == pytest.approx(mean, abs=1e-14)
    assert ours.variance == pytest.approx(square - mean**2, abs=1e-14)
    assert ours.entropy_change_nats == pytest.approx(entropy, abs=1e-14)


@pytest.mark.parametrize("estimator", ["reinforce", "group_mean", "grpo"])
def test_monte_carlo_agrees_with_enumeration(estimator):
    logits, rewards = random_bandit(3, actions=4)
    kwargs = {"estimator": estimator, "group_size": 4}
    exact = enumerate_steps(logits, rewards, 0.5, **kwargs)
    draws = 20_000
    drawn = simulate_steps(logits, rewards, 0.5, samples=draws, **kwargs)
    assert (np.abs(drawn.mean - exact.mean) <= 5 * np.sqrt(exact.variance / draws)).all()
    assert drawn.variance == pytest.approx(exact.variance, rel=0.05)
    assert drawn.no_signal_fraction == pytest.approx(exact.no_signal_fraction, abs=0.02)


def test_noise_alone_spends_entropy_and_less_in_larger_groups():
    logits = np.zeros(4)  # uniform: no first-order change at all
    rewards = np.array([1.0, 0.0, 0.0, 0.0])
    drops = [
        -enumerate_steps(
            logits, rewards, 0.5, estimator="reinforce", group_size=k
        ).entropy_change_nats
        for k in (1, 4)
    ]
    assert 0 < drops[1] < drops[0]


def test_the_scale_tends_to_one_over_the_reward_s_standard_deviation():
    assert group_scale(0.2, 4000) == pytest.approx(1 / np.sqrt(0.16), rel=1e-3)
    rare = group_scale(1e-6, 8)  # bounded: sqrt((K - 1) / 1), the advantage of a lone right one
    assert rare == pytest.approx(np.sqrt(7.0), rel=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"group_size": 2.7}, "group_size = 2.7: give a whole number"),
        ({"baseline": "mean"}, "baseline = mean: give a number"),
        ({"group_size": 1}, "group_size = 1: give at least 2 for grpo"),
        ({"estimator": "gpro"}, "unknown estimator 'gpro': did you mean 'grpo'"),
        ({"group_size": 400}, "too many groups to enumerate: use simulate_steps"),
        ({"std_ddof": 2}, "std_ddof = 2: give 0"),
    ],
)
def test_unusable_settings_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        enumerate_steps(np.zeros(4), np.arange(4.0), 1.0, **change)
