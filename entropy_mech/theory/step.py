"""One step of a tabular softmax policy: Lemma 1, Proposition 1, Theorems 1 and 2.

The entropy change exactly and to two orders, its bounds, and the quadrant rule.
"""

from __future__ import annotations

from math import factorial
from typing import NamedTuple

import numpy as np
import pandas as pd

from entropy_mech.errors import bad_value, unknown_name, whole_number
from entropy_mech.theory.softmax import (
    Policy,
    as_rows,
    centred,
    expectation,
    softmax_entropy,
    softmax_policy,
)

# -- Lemma 1 and Proposition 1 -------------------------------------------------------------------

_LARGEST_INPUT = 1e150  # its square is still a float64
# Beyond this |c| the policy is another one altogether, and H' - H has nothing left to cancel.
_LARGEST_CENTRED_CHANGE = 30.0
# Up to this |c|, e^c - 1 - c is summed as a series: 15 terms reach the last bit of float64.
_SERIES_REACH = 0.5
_SERIES = 1.0 / np.array([float(factorial(k)) for k in range(17, 1, -1)])  # 1/17!, ..., 1/2!


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
    return EntropyChange(exact_change(policy, c, first), first, first + quadratic)


def centred_step(logits: np.ndarray, delta_logits: np.ndarray) -> tuple[Policy, np.ndarray]:
    """Return the old policy and the centred change c ``(..., A)``, both checked."""
    policy = softmax_policy(logits)
    return policy, centred(policy, finite_rows("delta_logits", delta_logits, policy))


def taylor_terms(policy: Policy, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first- and the second-order term of dH; for eta c they scale by eta, eta^2."""
    g = policy.centred_logp
    quadratic = -(expectation(policy, c, c) + expectation(policy, c, c, g)) / 2.0
    return -expectation(policy, c, g), quadratic


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
    try:
        np.broadcast_shapes(rows.shape, policy.probs.shape)
    except ValueError:
        fix = f"match the shape of the logits, {policy.probs.shape}"
        raise bad_value(f"{field}.shape", rows.shape, fix) from None
    if rows.size and not np.abs(rows).max() <= _LARGEST_INPUT:  # NaN fails the comparison too
        raise bad_value(field, "NaN, inf or above 1e150 in size", "give finite numbers")
    return rows


def _eta(eta: float) -> np.ndarray:
    value = as_rows("eta", [eta])[0]
    if not np.isfinite(value).all():
        raise bad_value("eta", eta, "give a finite step size")
    return value


# -- Theorems 1 and 2 ----------------------------------------------------------------------------


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


# -- Bounds on the error of Lemma 1 --------------------------------------------------------------


class RemainderBound(NamedTuple):
    """Upper bounds, in nats, on |exact - first_order| and |exact - second_order|."""

    first_order: np.ndarray
    second_order: np.ndarray


def remainder_bound(logits: np.ndarray, delta_logits: np.ndarray) -> RemainderBound:
    """Bound the errors of ``entropy_change`` before the new policy is known.

    With c, g as there, V = E[c^2], M = max_a c(a) over unmasked actions, F = E[c g]:

        |dH + F|                        <=  e^M (E[c^2 |g|] + V + V |F|) / 2
        |dH + F + (V + E[c^2 g]) / 2|   <=  e^M (E|c|^3 |g| / 6 + 2 E|c|^3 / 3
                                                 + V |E[c^2 g]| / 4 + V |F| / 2 + V^2 / 2)
                                            + e^{2M} V^2 / 8

    For d = eta v the first falls as eta^2 and the second as eta^3, as the errors do.

    Proof. Write phi = e^c - 1 - c, psi = log E[e^c], K = KL(pi' || pi). As pi' = pi e^{c - psi} and
    E[g] = 0, H' - H = -E[(e^{c-psi} - 1) g] - K, that is (see ``entropy_change``)

        dH = -F - e^{-psi} E[phi g] + (1 - e^{-psi}) F - K.                                    (1)

    Taylor with Lagrange's remainder gives 0 <= phi <= c^2 e^M / 2 for every c <= M (M >= 0, as
    E[c] = 0). Jensen gives psi >= 0, and psi = log(1 + E[phi]) <= E[phi] <= e^M V / 2. So
    1 - e^{-psi} <= psi <= e^M V / 2. K is a Bregman divergence of t -> log E[e^{tc}], hence
    K = int_0^1 t Var_t(c) dt, and Var_t(c) <= E_t[c^2] = E[c^2 e^{tc}] / E[e^{tc}] <= e^M V, so
    0 <= K <= e^M V / 2. Putting the three into (1) gives the first line.

    For the second, take the quadratic term out of (1). |phi - c^2/2| <= |c|^3 e^M / 6 bounds the
    part with g by e^M E|c|^3|g| / 6 + (1 - e^{-psi}) |E[c^2 g]| / 2, whose last factor is bounded
    above; (1 - e^{-psi}) |F| <= e^M V |F| / 2 as before. For K = e^{-psi} E[c e^c] - psi put
    E[c e^c] = V + h, |h| <= e^M E|c|^3 / 2, and x = E[phi], |x - V/2| <= e^M E|c|^3 / 6,
    |psi - x| <= x^2 / 2 <= e^{2M} V^2 / 8. Then K - V/2 = (V/2 - psi) - (1 - e^{-psi}) V +
    e^{-psi} h is at most e^M E|c|^3 / 6 + e^{2M} V^2 / 8 + e^M V^2 / 2 + e^M E|c|^3 / 2. QED

    Shapes and errors as in ``entropy_change``; a step so large that e^M overflows gets inf.

    >>> bound = remainder_bound([0.0, 0.0], [0.1, -0.1])  # g = 0, V = 0.01: error was 0.004975
    >>> round(float(bound.first_order), 9)  # e^0.1 0.01 / 2
    0.005525855
    """
    bounds = bound_for_scales(*centred_step(logits, delta_logits), np.array([1.0]))
    return RemainderBound(*(bound[..., 0] for bound in bounds))


def bound_for_scales(policy: Policy, c: np.ndarray, scales: np.ndarray) -> RemainderBound:
    """Return the bounds for each step ``scale * c``, scales last: the moments are taken once."""
    g = policy.centred_logp
    size, gap = np.abs(c), np.abs(g)
    square, cube = size * size, size * size * size

    def moment(*factors):
        return expectation(policy, *factors)[..., None]

    covariance, variance = np.abs(moment(c, g)), moment(square)
    tilt, absolute_tilt = np.abs(moment(square, g)), moment(square, gap)
    third, third_tilt = moment(cube), moment(cube, gap)
    s, largest = scales, c.max(axis=-1, keepdims=True)
    with np.errstate(over="ignore", invalid="ignore"):
        growth = np.exp(s * largest)
        first = s**2 * growth * (absolute_tilt + variance + s * variance * covariance) / 2.0
        second = s**3 * growth * (third_tilt / 6.0 + 2.0 * third / 3.0 + variance * covariance / 2)
        second = second + s**4 * growth * (variance * tilt / 4.0 + variance**2 / 2.0)
        second = second + s**4 * growth**2 * variance**2 / 8.0
    return RemainderBound(*(np.where(np.isnan(b), np.inf, b) for b in (first, second)))


# -- The quadrant rule ---------------------------------------------------------------------------


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

    kinds = (likely & positive, likely & ~positive, ~likely & positive, ~likely & ~positive)
    return Quadrants(*(np.where(kind, shares, 0.0).sum(axis=-1) for kind in kinds))


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
    whole_number("policies", policies, least=1)
    whole_number("actions", actions, least=1)
    rng = np.random.default_rng(whole_number("seed", seed))
    logits = logit_scale * rng.standard_normal((policies, actions))
    advantages = rng.standard_normal((policies, actions))
    columns = {
        "policy": np.repeat(np.arange(policies), actions),
        "centred_logp": softmax_policy(logits).centred_logp.ravel(),
        "advantage": natural_gradient_step(logits, advantages, 1.0).ravel(),
        "contribution": action_contributions(logits, advantages, 1.0, update=update).ravel(),
    }
    frame = pd.DataFrame(columns)
    frame.attrs["policies"] = policies
    return frame
