import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entropy_mech.errors import UserError
from entropy_mech.theory import (
    entropy_change,
    natural_gradient_step,
    policy_gradient_step,
    softmax_entropy,
)

SEEDS = st.integers(0, 2**32 - 1)


def random_case(seed, rows=3, scale=2.0):
    rng = np.random.default_rng(seed)
    actions = int(rng.integers(2, 40))
    return rng.normal(size=(rows, actions)) * scale, rng.normal(size=(rows, actions))


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.floats(0.01, 30), st.floats(1e-3, 200))
def test_exact_change_is_the_difference_of_the_entropies(seed, scale, size):
    logits, direction = random_case(seed, scale=scale)
    change = entropy_change(logits, size * direction).exact
    plain = softmax_entropy(logits + size * direction) - softmax_entropy(logits)
    assert np.allclose(change, plain, rtol=0, atol=1e-12)


@settings(max_examples=15, deadline=None)
@given(SEEDS, st.floats(0.1, 10), st.floats(1e-9, 1))
def test_exact_change_keeps_its_digits_where_a_difference_would_not(seed, scale, size):
    logits, direction = random_case(seed, rows=1, scale=scale)
    logits, direction = logits[0], size * direction[0]
    with mpmath.workdps(80):

        def entropy(z):
            weights = [mpmath.exp(x) for x in z]
            total = mpmath.fsum(weights)
            return -mpmath.fsum(w / total * mpmath.log(w / total) for w in weights)

        old = [mpmath.mpf(float(z)) for z in logits]
        new = [z + mpmath.mpf(float(d)) for z, d in zip(old, direction, strict=True)]
        want = float(entropy(new) - entropy(old))
    scale_of_terms = np.abs(direction).max() * (1 + np.ptp(logits))
    assert abs(entropy_change(logits, direction).exact - want) <= 2e-15 * scale_of_terms


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.floats(0.1, 5))
def test_errors_fall_as_the_square_and_the_cube_of_the_step(seed, scale):
    logits, direction = random_case(seed, rows=40, scale=scale)
    etas = np.array([1e-2, 1e-3])
    errors = []
    for eta in etas:
        change = entropy_change(logits, eta * direction)
        errors.append(
            [
                np.linalg.norm(change.exact - change.first_order),
                np.linalg.norm(change.exact - change.second_order),
            ]
        )
    slopes = np.log10(np.array(errors[0]) / errors[1])
    assert slopes == pytest.approx([2.0, 3.0], abs=0.05)


def test_first_and_second_order_by_hand():
    # pi = (1/4, 3/4), d = (4, 0) t: c = (3, -1) t, g = log pi - mean = (-3, 1) log(3) / 4.
    change = entropy_change([0.0, np.log(3.0)], [0.4, 0.0])
    first = 0.1 * 3.0 * np.log(3.0) / 4.0  # -E[c g] = (9/4 + 3/4) (t log 3) / 4, t = 0.1
    variance = 0.01 * 3.0
    third = 0.01 * (0.25 * 9 * -3 + 0.75 * 1) * np.log(3.0) / 4.0  # E[c^2 g]
    assert change.first_order == pytest.approx(first, rel=1e-14)
    assert change.second_order == pytest.approx(first - (variance + third) / 2, rel=1e-14)


def test_constant_shifts_masks_and_broadcasting():
    logits = np.array([[0.3, -1.0, 0.7], [2.0, 0.0, -np.inf]])
    delta = np.array([0.2, -0.1, 0.4])
    both = entropy_change(logits, delta)
    shifted = entropy_change(logits + 5.0, delta - 3.0)
    for left, right in zip(both, shifted, strict=True):
        assert left.shape == (2,)
        assert left == pytest.approx(right, abs=1e-14)
    # The masked action's change has no effect, whatever its size.
    masked = entropy_change(logits[1], [0.2, -0.1, 1e9])
    assert masked.exact == pytest.approx(both.exact[1], abs=1e-15)
    assert entropy_change(logits[:, None], delta * np.ones((4, 1))).exact.shape == (2, 4)


def test_an_action_too_rare_for_float64_can_still_be_raised_to_certainty():
    change = entropy_change([[0.0, -800.0], [0.0, 0.0]], [[0.0, 900.0], [0.0, 0.0]])
    assert change.exact == pytest.approx([101 * np.exp(-100.0), 0.0], rel=1e-12)
    evened = entropy_change([0.0, -800.0], [0.0, 800.0])
    assert evened.exact == pytest.approx(np.log(2.0), rel=1e-14)


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.floats(-50, 50))
def test_steps_do_not_depend_on_a_constant_in_the_advantage(seed, baseline):
    logits, advantages = random_case(seed)
    for step in (policy_gradient_step, natural_gradient_step):
        plain = step(logits, advantages, 0.1)
        assert np.allclose(plain, step(logits, advantages + baseline, 0.1), atol=1e-12)
    vanilla = policy_gradient_step(logits, advantages, 0.1)
    assert np.allclose(vanilla.sum(axis=-1), 0.0, atol=1e-14)  # sum_a pi (A - E[A]) = 0


def test_the_printed_formula_sharpens_a_policy_if_the_mean_advantage_is_positive():
    logits = np.array([1.0, 0.0])
    constant = np.array([1.0, 1.0])
    assert policy_gradient_step(logits, constant, 1.0) == pytest.approx([0.0, 0.0], abs=1e-16)
    printed = policy_gradient_step(logits, constant, 1.0, centre_advantages=False)
    assert entropy_change(logits, printed).exact < -0.05


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: entropy_change([0.0, 1.0], [0.0]), "delta_logits.shape = (1,): the policy has 2"),
        (lambda: entropy_change([0.0, 1.0], [0.0, np.nan]), "delta_logits = NaN, inf or above"),
        (lambda: natural_gradient_step([0.0], [np.inf], 1.0), "advantages = NaN, inf or above"),
        (lambda: policy_gradient_step([0.0], [1.0], np.nan), "eta = nan: give a finite step size"),
        (lambda: policy_gradient_step([0.0], [1.0], "big"), "eta: not an array of numbers"),
        (
            lambda: entropy_change(np.zeros((2, 3)), np.zeros((4, 3))),
            "delta_logits.shape = (4, 3): match the shape of the logits, (2, 3)",
        ),
    ],
)
def test_unusable_steps_are_refused_in_one_line(call, message):
    with pytest.raises(UserError) as caught:
        call()
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
