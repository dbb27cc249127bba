import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from entropy_mech.errors import UserError
from entropy_mech.theory.softmax import (
    centred,
    expectation,
    log_softmax,
    softmax_entropy,
    softmax_policy,
)

LOGITS = hnp.arrays(
    np.float64, hnp.array_shapes(max_dims=3, max_side=6), elements=st.floats(-800, 800)
)


def entropy_by_mpmath(logits, digits=400):
    with mpmath.workdps(digits):
        weights = [mpmath.exp(mpmath.mpf(float(z))) for z in logits]
        total = mpmath.fsum(weights)
        return -mpmath.fsum(w / total * mpmath.log(w / total) for w in weights)


@settings(max_examples=40, deadline=None)
@given(LOGITS)
def test_probabilities_sum_to_one_and_agree_with_their_logarithms(logits):
    policy = softmax_policy(logits)
    assert np.allclose(policy.probs.sum(axis=-1), 1.0, rtol=0, atol=1e-14)
    assert np.allclose(np.exp(policy.logp), policy.probs, rtol=1e-12, atol=1e-300)
    assert (
        (policy.entropy_nats >= 0) & (policy.entropy_nats <= np.log(logits.shape[-1]) + 1e-12)
    ).all()


@settings(max_examples=25, deadline=None)
@given(hnp.arrays(np.float64, st.integers(1, 6), elements=st.floats(-300, 300)))
def test_entropy_keeps_its_digits_against_mpmath(logits):
    want = entropy_by_mpmath(logits)
    # e^x of a rounded x errs by x times the rounding: no float64 formula can do better.
    assert abs(float(softmax_entropy(logits)) - want) <= (4e-15 + 2e-16 * np.ptp(logits)) * want


@settings(max_examples=25, deadline=None)
@given(LOGITS, st.floats(-1e6, 1e6))
def test_a_constant_added_to_the_logits_changes_nothing(logits, constant):
    assert np.allclose(softmax_entropy(logits + constant), softmax_entropy(logits), atol=1e-6)


def test_hand_checked_entropies():
    assert softmax_entropy([[0.0, 0.0, 0.0, 0.0], [5.0, -np.inf, 5.0, -np.inf]]) == pytest.approx(
        [np.log(4.0), np.log(2.0)], abs=1e-15
    )
    assert softmax_entropy([7.0]) == 0.0
    assert softmax_entropy([1e308, -1e308, -np.inf]) == 0.0
    assert log_softmax([0.0, -np.inf]).tolist() == [0.0, -np.inf]


def test_centred_values_have_mean_zero_and_keep_the_digits_of_a_certain_action():
    policy = softmax_policy(np.array([0.0, -80.0]))
    deviation = centred(policy, np.array([1.0, 2.0]))
    assert deviation[0] == pytest.approx(-np.exp(-80.0), rel=1e-13)  # 1 - mean, far below 1e-16
    assert expectation(policy, deviation) == pytest.approx(0.0, abs=1e-50)


@pytest.mark.parametrize(
    ("logits", "message"),
    [
        ([0.0, np.nan], "logits = nan: give finite logits, or -inf to mask an action"),
        ([0.0, np.inf], "logits = inf: give finite logits, or -inf to mask an action"),
        ([[0.0], [-np.inf]], "logits[1] = all -inf: leave at least one action unmasked"),
        ([], "logits.shape = (0,): give (..., A) with at least one action"),
        (3.0, "logits.shape = (): give (..., A) with at least one action"),
        (["a"], "logits: not an array of numbers"),
    ],
)
def test_unusable_logits_are_refused_in_one_line(logits, message):
    with pytest.raises(UserError) as caught:
        softmax_entropy(logits)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
