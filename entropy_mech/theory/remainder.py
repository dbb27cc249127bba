"""How wrong Lemma 1 can be: bounds that need only the old policy and the step."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from entropy_mech.theory.dynamics import centred_step
from entropy_mech.theory.softmax import Policy, expectation


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
    policy, c = centred_step(logits, delta_logits)
    return bound_for_scales(policy, c, np.array([1.0]), squeeze=True)


def bound_for_scales(
    policy: Policy, c: np.ndarray, scales: np.ndarray, *, squeeze: bool = False
) -> RemainderBound:
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
    first, second = (np.where(np.isnan(bound), np.inf, bound) for bound in (first, second))
    return (
        RemainderBound(first[..., 0], second[..., 0]) if squeeze else RemainderBound(first, second)
    )
