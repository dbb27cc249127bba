"""Theorems 1 and 2 as formulas, and the Fisher matrix behind the second."""

from __future__ import annotations

import numpy as np

from entropy_mech.theory.dynamics import natural_gradient_step, policy_gradient_step
from entropy_mech.theory.softmax import expectation, softmax_policy


def theorem1(
    logits: np.ndarray, advantages: np.ndarray, eta: float, *, centre_advantages: bool = True
) -> np.ndarray:
    """Return -eta Cov_{a ~ pi}(log pi(a), pi(a) A(a)), nats: Theorem 1, policy gradient.

    Proposition 1 needs E[A] = 0. By default A - E[A] stands for A (``policy_gradient_step`` says
    why). Taken literally for any A, the formula is -eta Cov(log pi, pi A') less
    eta E[A] Cov(log pi, pi), and Cov(log pi, pi) >= 0: a positive mean advantage would seem to
    spend entropy although the gradient of J does not contain it.

    >>> abs(float(theorem1([0.0, 0.0], [1.0, -1.0], eta=1.0)))  # log pi constant
    0.0
    >>> uneven = [0.0, np.log(3.0)]
    >>> abs(float(theorem1(uneven, [1.0, 1.0], eta=1.0)))  # nothing to learn
    0.0
    >>> float(theorem1(uneven, [1.0, 1.0], eta=1.0, centre_advantages=False)) < -0.1
    True
    """
    step = policy_gradient_step(logits, advantages, eta, centre_advantages=centre_advantages)
    policy = softmax_policy(logits)
    return -expectation(policy, policy.centred_logp, step)


def theorem2(logits: np.ndarray, advantages: np.ndarray, eta: float) -> np.ndarray:
    """Return -eta Cov_{a ~ pi}(log pi(a), A(a)), nats: Theorem 2, natural policy gradient.

    A constant in A has no covariance with anything, so E[A] != 0 needs no care here.

    >>> float(theorem2([0.0, np.log(3.0)], [0.0, 4.0], eta=1.0) / np.log(3.0))  # -pi_0 pi_1 4 log 3
    -0.75
    """
    policy = softmax_policy(logits)
    step = natural_gradient_step(logits, advantages, eta)
    return -expectation(policy, policy.centred_logp, step)


def fisher_matrix(logits: np.ndarray) -> np.ndarray:
    """Return F = E[score score^T] = diag(pi) - pi pi^T, ``(..., A, A)``.

    Its null vector is the constant. ``pinv(F) @ gradient of J`` is A less its plain mean.

    >>> fisher_matrix([0.0, 0.0]).tolist()
    [[0.25, -0.25], [-0.25, 0.25]]
    """
    probs = softmax_policy(logits).probs
    return probs[..., :, None] * np.eye(probs.shape[-1]) - probs[..., :, None] * probs[..., None, :]
