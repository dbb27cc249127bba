"""One step of a tabular softmax policy: what the entropy does, exactly and to two orders.

Notation: z logits, pi = softmax(z), d = z' - z the change of logits, c = d - E[d] and
g = log pi - E[log pi] = log pi + H the centred change and the centred log-probability, all means
under the old policy. A constant added to d changes nothing: softmax does not see it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from entropy_mech.errors import bad_value, unknown_name
from entropy_mech.theory.softmax import (
    Policy,
    as_rows,
    centred,
    expectation,
    softmax_entropy,
    softmax_policy,
)

_LARGEST_INPUT = 1e150  # its square is still a float64
# Beyond this |c| the policy is another one altogether, and H' - H has nothing left to cancel.
_LARGEST_CENTRED_CHANGE = 30.0
# Up to this |c|, e^c - 1 - c is summed as a series: 15 terms reach the last bit of float64.
_SERIES_REACH = 0.5
_SERIES = [1.0]
for _k in range(17, 2, -1):
    _SERIES.append(_SERIES[-1] * _k)
_SERIES = np.array(_SERIES) / (_SERIES[-1] * 2.0)  # 1/17!, ..., 1/3!, 1/2!


class EntropyChange(NamedTuple):
    """The change of entropy in nats, dH = H(softmax(z + d)) - H(softmax(z)), and two estimates.

    ``first_order`` is Lemma 1. ``second_order`` is Lemma 1 plus the exact quadratic term, so both
    are estimates of dH: for d = eta v, |exact - first_order| falls as eta^2 and
    |exact - second_order| as eta^3.
    """

    exact: np.ndarray
    first_order: np.ndarray
    second_order: np.ndarray


def entropy_change(logits: np.ndarray, delta_logits: np.ndarray) -> EntropyChange:
    """Return dH of a step ``delta_logits``: exact, to first order (Lemma 1), to second order.

        first_order  = -E[c g] = -Cov_{a ~ pi}(log pi(a), d(a))                          (Lemma 1)
        second_order = first_order - (E[c^2] + E[c^2 g]) / 2

    The quadratic term is the second derivative of t -> H(softmax(z + t d)) at 0, which is
    -Var(d) - Cov3(log pi, d, d): along the line, dH/dt = -Cov_t(log pi_t, d), and the derivative of
    a covariance under exponential tilting is the third joint central moment.

    The exact change is not the difference of two entropies, which for small steps is all rounding.
    With psi = log E[e^c] and phi(c) = e^c - 1 - c >= 0,

        dH = -E[c g] - e^{-psi} E[phi g] + (1 - e^{-psi}) E[c g] - KL(pi' || pi)
        psi = log(1 + E[phi]),   KL(pi' || pi) = e^{-psi} E[c (e^c - 1)] - psi

    so its error is about 1e-16 of the first-order term, not of H.

    Shapes ``(..., A)`` broadcast against each other; results ``(...)``, nats. -inf logits mask an
    action, whatever its change. Raises ``UserError`` for a change that is not finite, or logits
    that ``log_softmax`` refuses.

    Two equal actions moved by x and -x: log pi is constant, so the first order is 0, E[c^2] = x^2,
    and pi' = sigmoid(2x) gives dH = -x^2/2 + x^4/4 - ...

    >>> change = entropy_change([0.0, 0.0], [0.1, -0.1])
    >>> [round(float(v), 9) + 0.0 for v in (change.first_order, change.second_order)]
    [0.0, -0.005]
    >>> round(float(change.exact), 9)
    -0.004975111
    """
    policy, c = centred_step(logits, delta_logits)
    first, quadratic = taylor_terms(policy, c)
    return EntropyChange(
        exact=exact_change(policy, c, first), first_order=first, second_order=first + quadratic
    )


def centred_step(logits: np.ndarray, delta_logits: np.ndarray) -> tuple[Policy, np.ndarray]:
    """Return the old policy and the centred change c ``(..., A)``, both checked."""
    policy = softmax_policy(logits)
    return policy, centred(policy, finite_rows("delta_logits", delta_logits, policy))


def taylor_terms(policy: Policy, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first- and the second-order term of dH; for eta c they scale by eta, eta^2."""
    g = policy.centred_logp
    return (
        -expectation(policy, c, g),
        -(expectation(policy, c, c) + expectation(policy, c, c, g)) / 2.0,
    )


def exact_change(policy: Policy, c: np.ndarray, first_order: np.ndarray) -> np.ndarray:
    """Return dH for the centred change ``c`` ``(..., A)``, given its first-order term ``(...)``."""
    shape = np.broadcast_shapes(policy.probs.shape, c.shape)
    largest = np.abs(c).max(axis=-1)
    if (largest <= _LARGEST_CENTRED_CHANGE).all():
        return first_order + _remainder(policy, c, first_order, largest)
    # Some rows jump: compute them as a plain difference of entropies, the others as above.
    rows = [np.broadcast_to(part, shape).reshape(-1, shape[-1]) for part in (policy.logp, c)]
    jumps = np.abs(rows[1]).max(axis=-1) > _LARGEST_CENTRED_CHANGE
    result = np.empty(jumps.shape)
    with np.errstate(over="ignore", invalid="ignore"):
        moved = np.where(rows[0][jumps] > -np.inf, rows[0][jumps] + rows[1][jumps], -np.inf)
    result[jumps] = softmax_entropy(moved) - softmax_entropy(rows[0][jumps])
    if not jumps.all():
        result[~jumps] = entropy_change(rows[0][~jumps], rows[1][~jumps]).exact
    return result.reshape(shape[:-1])


def policy_gradient_step(
    logits: np.ndarray, advantages: np.ndarray, eta: float, *, centre_advantages: bool = True
) -> np.ndarray:
    """Return delta_logits = eta pi(a) A'(a), one exact vanilla policy-gradient step (Prop. 1).

    The gradient of J = E_{a ~ pi}[A(a)] is dJ/dz_a = pi(a) (A(a) - E[A]). The proposition is
    written for advantages with E[A] = 0, where that is pi(a) A(a). For any other A the gradient
    itself subtracts the mean, so A' = A - E_pi[A] here; a constant baseline changes nothing.
    ``centre_advantages=False`` takes the printed formula literally, eta pi A: with E[A] != 0 that
    adds eta E[A] pi to the step, which is no gradient of J (it sharpens the policy if E[A] > 0).

    Shapes ``(..., A)`` broadcast; ``eta`` is a number or broadcasts against ``(..., A)``. Ascent.

    >>> policy_gradient_step([0.0, 0.0], [1.0, -1.0], eta=0.2).tolist()
    [0.1, -0.1]
    >>> policy_gradient_step([0.0, 0.0], [3.0, 1.0], eta=0.2).tolist()  # the same, E[A] = 2
    [0.1, -0.1]
    """
    policy = softmax_policy(logits)
    return _eta(eta) * policy.probs * _advantages(policy, advantages, centre_advantages)


def natural_gradient_step(
    logits: np.ndarray, advantages: np.ndarray, eta: float, *, centre_advantages: bool = True
) -> np.ndarray:
    """Return delta_logits = eta A'(a), one natural policy-gradient step (Theorem 2).

    The Fisher matrix F = diag(pi) - pi pi^T maps A + constant to pi (A - E[A]), the gradient of J.
    Its pseudo-inverse picks the constant that makes the *plain* mean of the step 0; here the mean
    under pi is 0, A' = A - E_pi[A]. The two differ by a constant that softmax does not see, and so
    does ``centre_advantages=False`` (eta A): policy and entropy change are the same for all three.

    Shapes and ``eta`` as in ``policy_gradient_step``.

    >>> natural_gradient_step([0.0, np.log(3.0)], [4.0, 0.0], eta=0.5).tolist()
    [1.5, -0.5]
    """
    policy = softmax_policy(logits)
    return _eta(eta) * _advantages(policy, advantages, centre_advantages)


UPDATES = {"policy_gradient": policy_gradient_step, "natural_gradient": natural_gradient_step}


def step_for(update: str):
    """Return the step function of an update's name."""
    if update not in UPDATES:
        raise unknown_name("update", update, UPDATES)
    return UPDATES[update]


def _remainder(policy: Policy, c: np.ndarray, first_order: np.ndarray, largest) -> np.ndarray:
    """Return dH less its first-order term; every part a sum of terms of one sign but E[phi g]."""
    phi = _exp_less_line(c, largest)
    psi = np.log1p(expectation(policy, phi))
    shrink = np.exp(-psi)
    kl = shrink * expectation(policy, c, c + phi) - psi
    tilt = shrink * expectation(policy, phi, policy.centred_logp)
    return np.expm1(-psi) * first_order - tilt - kl


def _exp_less_line(c: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """Return e^c - 1 - c, by series where |c| is small and the difference would cancel."""
    if largest.size and largest.max() > _SERIES_REACH:
        by_series = _horner(np.clip(c, -_SERIES_REACH, _SERIES_REACH))
        return np.where(np.abs(c) <= _SERIES_REACH, by_series, np.expm1(c) - c)
    return _horner(c)


def _horner(c: np.ndarray) -> np.ndarray:
    total = np.full_like(c, _SERIES[0])
    for coefficient in _SERIES[1:]:
        total *= c
        total += coefficient
    return total * c * c


def _advantages(policy: Policy, advantages: np.ndarray, centre: bool) -> np.ndarray:
    values = finite_rows("advantages", advantages, policy)
    return centred(policy, values) if centre else np.where(policy.logp > -np.inf, values, 0.0)


def finite_rows(field: str, values: np.ndarray, policy: Policy) -> np.ndarray:
    """Return ``values`` as float64 ``(..., A)`` for the policy's A, or raise ``UserError``."""
    rows, actions = as_rows(field, values), policy.probs.shape[-1]
    if rows.shape[-1] != actions:
        raise bad_value(f"{field}.shape", rows.shape, f"the policy has {actions} actions: match it")
    if rows.size and not np.abs(rows).max() <= _LARGEST_INPUT:  # NaN fails the comparison too
        raise bad_value(field, "NaN, inf or above 1e150 in size", "give finite numbers")
    return rows


def _eta(eta: float) -> np.ndarray:
    value = np.asarray(eta, dtype=np.float64)
    if not np.isfinite(value).all():
        raise bad_value("eta", eta, "give a finite step size")
    return value
