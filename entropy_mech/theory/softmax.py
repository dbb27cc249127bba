"""Tabular softmax policies: probabilities, entropy, and moments that lose no digits.

Everything is written in the shifted logits s = z - max z. Then

    log pi_a = s_a - log(1 + sum of the other e^s)     and     H = log(1 + ...) + sum pi_a (-s_a)

are sums of terms of one sign, so a policy that puts 1 - 1e-30 on one action keeps all digits of its
entropy. The textbook forms (logsumexp(z) - sum pi z) lose them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from entropy_mech.errors import UserError, bad_value


class Policy(NamedTuple):
    """A softmax policy and what the dynamics need of it; shapes ``(..., A)`` or ``(...)``.

    ``centred_logp`` is log pi + H: the log-probability less its own mean, computed without
    subtracting two near-equal numbers. It is 0 where an action is masked (logit -inf).
    """

    probs: np.ndarray
    logp: np.ndarray
    centred_logp: np.ndarray
    entropy_nats: np.ndarray
    mode: np.ndarray  # index of the likeliest action, kept as (..., 1)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Return log pi(a) = z_a - log sum_b e^{z_b} over the last axis, as float64.

    A logit of -inf masks its action (log pi = -inf). Raises ``UserError`` for NaN, +inf, no action,
    or a row with every action masked.

    >>> log_softmax([0.0, np.log(3.0)]).round(6).tolist()  # log(1/4), log(3/4)
    [-1.386294, -0.287682]
    """
    return softmax_policy(logits).logp


def softmax_entropy(logits: np.ndarray) -> np.ndarray:
    """Return the entropy H(pi) = -sum_a pi_a log pi_a in nats (Eq. 5 for one state).

    ``logits`` is ``(..., A)``, of any magnitude; -inf masks an action. Returns ``(...)``. Raises
    ``UserError`` as ``log_softmax`` does.

    >>> round(float(softmax_entropy([0.0, 0.0])), 12)  # log 2
    0.69314718056
    >>> float(softmax_entropy([1e300, -1e300]))
    0.0
    >>> float(softmax_entropy([0.0, -70.0]) / (71 * np.exp(-70.0)))  # no digit lost far below 1e-16
    1.0
    """
    return softmax_policy(logits).entropy_nats


def softmax_policy(logits: np.ndarray) -> Policy:
    """Return probabilities, log-probabilities, centred log-probabilities and entropy at once.

    >>> policy = softmax_policy([0.0, np.log(3.0)])
    >>> policy.probs.round(6).tolist(), int(policy.mode[0])
    ([0.25, 0.75], 1)
    >>> abs(float((policy.probs * policy.centred_logp).sum())) < 1e-16  # its mean is 0
    True
    """
    logits = as_rows("logits", logits)
    mode = logits.argmax(axis=-1, keepdims=True)  # NaN counts as the largest, so it shows here
    top = np.take_along_axis(logits, mode, axis=-1)
    _refuse_unusable_rows(logits, top)
    with np.errstate(over="ignore"):
        shifted = logits - top  # 0 at the mode; may overflow to -inf, whose probability is 0
    weights = np.exp(shifted)
    np.put_along_axis(weights, mode, 0.0, axis=-1)
    rest = weights.sum(axis=-1, keepdims=True)
    log_normaliser = np.log1p(rest)
    np.put_along_axis(weights, mode, 1.0, axis=-1)
    probs = weights / (1.0 + rest)
    unmasked = shifted > -np.inf
    reachable = np.where(unmasked, shifted, 0.0)  # 0 log 0 = 0
    mean_gap = -_dot(probs, reachable)[..., None]  # mean of (max log pi - log pi), at least 0
    return Policy(
        probs=probs,
        logp=shifted - log_normaliser,
        centred_logp=np.where(unmasked, reachable + mean_gap, 0.0),
        entropy_nats=(log_normaliser + mean_gap)[..., 0],
        mode=mode,
    )


def centred(policy: Policy, values: np.ndarray) -> np.ndarray:
    """Return ``values`` less their mean under ``policy``, exact also where one action has it all.

    The value of the likeliest action is taken off first: what is left is averaged only over actions
    of small probability, so the centred value of the mode keeps its digits. Masked actions give 0.

    >>> centred(softmax_policy([0.0, np.log(3.0)]), np.array([4.0, 0.0])).tolist()
    [3.0, -1.0]
    """
    shape = np.broadcast_shapes(policy.probs.shape, values.shape)
    values, mode = np.broadcast_to(values, shape), np.broadcast_to(policy.mode, (*shape[:-1], 1))
    relative = values - np.take_along_axis(values, mode, axis=-1)
    deviation = relative - _dot(policy.probs, relative)[..., None]
    return np.where(policy.logp > -np.inf, deviation, 0.0)


def expectation(policy: Policy, *factors: np.ndarray) -> np.ndarray:
    """Return E_{a ~ pi}[product of the factors], over the last axis."""
    return np.einsum(",".join(["...a"] * (1 + len(factors))) + "->...", policy.probs, *factors)


def as_rows(field: str, values: np.ndarray) -> np.ndarray:
    """Return ``values`` as a float64 array with at least one action on its last axis."""
    try:
        rows = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{field}: not an array of numbers ({error}): give shape (..., A)"
        ) from None
    if rows.ndim == 0 or rows.shape[-1] == 0:
        raise bad_value(f"{field}.shape", rows.shape, "give (..., A) with at least one action")
    return rows


def _dot(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.einsum("...a,...a->...", left, right)


def _refuse_unusable_rows(logits: np.ndarray, top: np.ndarray) -> None:
    if np.isfinite(top).all():
        return
    row = np.argwhere(~np.isfinite(top[..., 0]))[0].tolist()
    value = top[..., 0][tuple(row)]
    where = f"logits{row}" if row else "logits"
    if value == -np.inf:
        raise bad_value(where, "all -inf", "leave at least one action unmasked")
    raise bad_value(where, float(value), "give finite logits, or -inf to mask an action")
