"""Sampled updates: what REINFORCE and GRPO groups do to the step of Proposition 1.

One state, rewards r(a). A group of K actions is drawn from pi, each gets an advantage A_i, and

    d = (eta / K) sum_i A_i (e_{a_i} - pi)

is the sampled change of the logits, e_a the unit vector. Estimators of the advantage:

- ``reinforce``: A_i = r_i - baseline. E[d] = eta pi (r - E[r]): Proposition 1, unbiased.
- ``group_mean``: A_i = r_i - mean of the group. E[d] is (K - 1) / K times that, since a sample's
  own reward is part of its baseline.
- ``grpo``: A_i = (r_i - mean) / std of the group (Eq. 3), 0 where all rewards are equal. For 0/1
  rewards the direction of E[d] is still that of Proposition 1, and its length changes by
  ``group_scale(p, K)``, about 1 / sqrt(p (1 - p)) with p the success probability: Theorem 1 holds
  with a step size of its own for each prompt. For other rewards the direction changes too.

Beyond the mean, the noise of d spends entropy at second order: E[dH] falls below Theorem 1 by
E[c^2 (1 + g)] / 2 over the draws, which is of order eta^2 / K.
"""

from __future__ import annotations

from itertools import combinations_with_replacement
from math import comb
from typing import NamedTuple

import numpy as np

from entropy_mech.errors import bad_value, unknown_name
from entropy_mech.theory.dynamics import entropy_change, finite_rows
from entropy_mech.theory.softmax import softmax_policy

ESTIMATORS = ("reinforce", "group_mean", "grpo")
_MOST_GROUPS = 200_000


class SampledStep(NamedTuple):
    """Moments over draws of a sampled step; ``mean`` and ``variance`` are ``(A,)``.

    ``entropy_change_nats`` is E[dH], ``no_signal_fraction`` the probability that d is exactly 0
    because all advantages are (a group of one reward).
    """

    mean: np.ndarray
    variance: np.ndarray
    entropy_change_nats: float
    no_signal_fraction: float


def enumerate_steps(
    logits: np.ndarray,
    rewards: np.ndarray,
    eta: float,
    *,
    estimator: str = "grpo",
    group_size: int = 8,
    baseline: float = 0.0,
    std_ddof: int = 0,
) -> SampledStep:
    """Return the exact moments, by enumerating every group with its multinomial probability.

    ``logits`` and ``rewards`` are ``(A,)``. The C(A + K - 1, K) groups must be at most 200,000;
    ``simulate_steps`` serves beyond. ``std_ddof`` is 0 for the population standard deviation, 1 for
    the sample one that trainers use. Raises ``UserError`` for an unknown estimator or a group of 1.

    >>> step = enumerate_steps([0.0, 0.0], [1.0, 0.0], 1.0, estimator="grpo", group_size=2)
    >>> step.mean.tolist(), step.no_signal_fraction  # half of the groups are (1, 0): A = 1 and -1
    ([0.25, -0.25], 0.5)
    """
    policy, rewards = _checked(logits, rewards, estimator, group_size, std_ddof)
    actions = len(rewards)
    if comb(actions + group_size - 1, group_size) > _MOST_GROUPS:
        raise bad_value(
            "group_size, actions",
            (group_size, actions),
            "too many groups to enumerate: use simulate_steps or fewer actions",
        )
    groups = np.array(list(combinations_with_replacement(range(actions), group_size)))
    counts = (groups[:, :, None] == np.arange(actions)).sum(axis=1)
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, group_size + 1)))])
    log_weight = log_factorial[-1] - log_factorial[counts].sum(axis=1)
    log_probs = np.where(counts > 0, policy.logp, 0.0)  # 0 log 0 = 0
    weights = np.exp(log_weight + (counts * log_probs).sum(axis=1))
    steps = _steps(policy, groups, rewards, eta, estimator, baseline, std_ddof)
    return _moments(logits, steps, weights / weights.sum())


def simulate_steps(
    logits: np.ndarray,
    rewards: np.ndarray,
    eta: float,
    *,
    estimator: str = "grpo",
    group_size: int = 8,
    baseline: float = 0.0,
    std_ddof: int = 0,
    samples: int = 10_000,
    seed: int = 1,
) -> SampledStep:
    """Return the same moments by Monte Carlo over ``samples`` groups.

    >>> step = simulate_steps([0.0, 0.0], [1.0, 0.0], 1.0, group_size=2, samples=20_000)
    >>> abs(step.mean[0] - 0.25) < 4 * (step.variance[0] / 20_000) ** 0.5
    np.True_
    """
    policy, rewards = _checked(logits, rewards, estimator, group_size, std_ddof)
    if samples < 1:
        raise bad_value("samples", samples, "give at least 1")
    draws = np.random.default_rng(seed).random((samples, group_size))
    groups = np.searchsorted(np.cumsum(policy.probs)[:-1], draws, side="right")
    steps = _steps(policy, groups, rewards, eta, estimator, baseline, std_ddof)
    return _moments(logits, steps, np.full(samples, 1.0 / samples))


def group_scale(success_probability: float, group_size: int, *, std_ddof: int = 0) -> float:
    """Return s with E[d] = s eta pi (r - E[r]) for GRPO groups of 0/1 rewards.

    Given one right response among m of K, its advantage is sqrt((K - m) / m). Averaging over the
    other K - 1 responses, m - 1 ~ Binomial(K - 1, p), and dividing by 1 - p gives s. It tends to
    1 / sqrt(p (1 - p)) as K grows; for p near 0 or 1 it stays finite, as groups without both
    outcomes give no signal.

    >>> group_scale(0.5, 2)  # half of the groups have a signal, of size 1 = 0.5 / 0.5 (r - p)
    1.0
    >>> round(group_scale(0.5, 100_000), 3)  # 1 / sqrt(p (1 - p)) = 2
    2.0
    """
    p, size = float(success_probability), int(group_size)
    if not 0.0 < p < 1.0:
        raise bad_value("success_probability", p, "give a probability strictly between 0 and 1")
    _check_group("grpo", size, std_ddof)
    right = np.arange(1, size)  # right responses in a group with both outcomes, this one included
    log_comb = np.concatenate([[0.0], np.cumsum(np.log((size - right) / right))])[:-1]
    weight = np.exp(log_comb + (right - 1) * np.log(p) + (size - right) * np.log1p(-p))
    advantage = np.sqrt((size - right) / right) * np.sqrt((size - std_ddof) / size)
    return float(weight @ advantage / (1.0 - p))


def _steps(policy, groups, rewards, eta, estimator, baseline, std_ddof) -> np.ndarray:
    """Return one step a group, ``(n, A)``."""
    size = groups.shape[1]
    drawn = rewards[groups]
    advantages = drawn - (baseline if estimator == "reinforce" else drawn.mean(1, keepdims=True))
    if estimator == "grpo":
        equal = np.ptp(drawn, axis=1, keepdims=True) == 0.0
        spread = np.where(equal, 1.0, drawn.std(axis=1, ddof=std_ddof, keepdims=True))
        advantages = np.where(equal, 0.0, advantages / spread)
    rows = np.arange(len(groups))[:, None]
    steps = np.zeros((len(groups), len(rewards)))
    np.add.at(steps, (rows, groups), advantages)
    return eta / size * (steps - advantages.sum(axis=1, keepdims=True) * policy.probs)


def _moments(logits, steps, weights) -> SampledStep:
    mean = weights @ steps
    return SampledStep(
        mean=mean,
        variance=weights @ (steps - mean) ** 2,
        entropy_change_nats=float(weights @ entropy_change(logits, steps).exact),
        no_signal_fraction=float(weights[~steps.any(axis=1)].sum()),
    )


def _checked(logits, rewards, estimator, group_size, std_ddof):
    policy = softmax_policy(logits)
    rewards = finite_rows("rewards", rewards, policy)
    if policy.probs.ndim != 1 or rewards.ndim != 1:
        raise bad_value("logits.shape", policy.probs.shape, "give one policy, (A,)")
    if estimator not in ESTIMATORS:
        raise unknown_name("estimator", estimator, ESTIMATORS)
    _check_group(estimator, group_size, std_ddof)
    return policy, rewards


def _check_group(estimator, group_size, std_ddof) -> None:
    least = 1 if estimator == "reinforce" else 2
    if group_size < least:
        raise bad_value("group_size", group_size, f"give at least {least} for {estimator}")
    if std_ddof not in (0, 1):
        raise bad_value("std_ddof", std_ddof, "give 0 (population) or 1 (sample)")
