"""The quadrant rule: which actions, pushed which way, make entropy fall or rise."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from entropy_mech.theory.dynamics import natural_gradient_step, step_for
from entropy_mech.theory.softmax import softmax_policy


class Quadrants(NamedTuple):
    """First-order entropy change in nats by kind of action; the four add up to Lemma 1.

    Likely means log pi(a) above its mean, i.e. log pi(a) > -H; positive means A(a) > E[A].
    ``likely_positive`` and ``rare_negative`` are never above 0 (entropy falls), ``likely_negative``
    and ``rare_positive`` never below 0 (entropy rises).
    """

    likely_positive: np.ndarray
    likely_negative: np.ndarray
    rare_positive: np.ndarray
    rare_negative: np.ndarray


def action_contributions(
    logits: np.ndarray, advantages: np.ndarray, eta: float, *, update: str = "natural_gradient"
) -> np.ndarray:
    """Return what each action adds to Lemma 1, -pi(a) (log pi(a) + H) d(a), ``(..., A)``, nats.

    d is the step of ``update``: eta A' (Theorem 2) or eta pi A' (Theorem 1), with A' = A - E[A].
    As E[log pi + H] = 0 the actions sum to -Cov(log pi, d). The sign of an action's share is that
    of -(log pi(a) + H) A'(a), for both updates.

    >>> shares = action_contributions([0.0, np.log(3.0)], [0.0, 1.0], eta=1.0)
    >>> (shares / np.log(3.0)).round(6).tolist()  # g = (-3, 1) log(3)/4, A' = (-3, 1)/4
    [-0.140625, -0.046875]
    """
    policy = softmax_policy(logits)
    return -policy.probs * policy.centred_logp * step_for(update)(logits, advantages, eta)


def quadrant_rule(
    logits: np.ndarray, advantages: np.ndarray, eta: float, *, update: str = "natural_gradient"
) -> Quadrants:
    """Sum the first-order entropy change over the four kinds of action (section 3.2).

    Reinforcing what is likely, or suppressing what is rare, lowers entropy; reinforcing what is
    rare, or suppressing what is likely, raises it. Shapes ``(..., A)`` broadcast; each field
    ``(...)``, nats.

    >>> rule = quadrant_rule([0.0, np.log(3.0)], [1.0, 0.0], eta=1.0)  # the rare action is better
    >>> (np.array(rule) / np.log(3.0)).round(6).tolist()
    [0.0, 0.046875, 0.140625, 0.0]
    """
    shares = action_contributions(logits, advantages, eta, update=update)
    likely = np.broadcast_to(softmax_policy(logits).centred_logp > 0.0, shares.shape)
    positive = natural_gradient_step(logits, advantages, 1.0) > 0.0

    def total(mask):
        return np.where(mask, shares, 0.0).sum(axis=-1)

    return Quadrants(
        likely_positive=total(likely & positive),
        likely_negative=total(likely & ~positive),
        rare_positive=total(~likely & positive),
        rare_negative=total(~likely & ~positive),
    )


def sample_actions(
    *,
    policies: int = 40,
    actions: int = 30,
    logit_scale: float = 2.0,
    seed: int = 1,
    update: str = "natural_gradient",
) -> pd.DataFrame:
    """Return one row an action of random policies, for the picture of the quadrant rule.

    Columns: policy, centred_logp (log pi + H, nats), advantage (less its mean), contribution (to
    dH, nats per unit of eta). Normal logits and advantages.

    >>> frame = sample_actions(policies=2, actions=3)
    >>> (frame.contribution * frame.centred_logp * frame.advantage <= 0).all().item(), len(frame)
    (True, 6)
    """
    rng = np.random.default_rng(seed)
    logits = logit_scale * rng.standard_normal((policies, actions))
    advantages = rng.standard_normal((policies, actions))
    frame = pd.DataFrame(
        {
            "policy": np.repeat(np.arange(policies), actions),
            "centred_logp": softmax_policy(logits).centred_logp.ravel(),
            "advantage": natural_gradient_step(logits, advantages, 1.0).ravel(),
            "contribution": action_contributions(logits, advantages, 1.0, update=update).ravel(),
        }
    )
    frame.attrs["policies"] = policies
    return frame
