import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from entropy_mech.errors import UserError
from entropy_mech.theory import (
    entropy_change,
    fisher_matrix,
    natural_gradient_step,
    policy_gradient_step,
    quadrant_rule,
    softmax_entropy,
    theorem1,
    theorem2,
)
from entropy_mech.theory.softmax import softmax_policy

SEEDS = st.integers(0, 2**32 - 1)


def random_case(seed, scale=1.5, most_actions=30):
    rng = np.random.default_rng(seed)
    actions = int(rng.integers(2, most_actions))
    return rng.normal(size=actions) * scale, rng.normal(size=actions) + rng.normal()


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.floats(0.01, 20))
def test_proposition_1_is_the_gradient_that_autograd_finds(seed, scale):
    logits, advantages = random_case(seed, scale)
    z = torch.tensor(logits, requires_grad=True)
    (torch.softmax(z, -1) @ torch.tensor(advantages)).backward()
    ours = policy_gradient_step(logits, advantages, 1.0)
    assert np.abs(ours - z.grad.numpy()).max() <= 1e-12


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.floats(0.01, 5))
def test_lemma_1_is_the_directional_derivative_that_autograd_finds(seed, scale):
    logits, direction = random_case(seed, scale)
    z, v = torch.tensor(logits), torch.tensor(direction)

    def entropy(x):
        logp = torch.log_softmax(x, -1)
        return -(logp.exp() * logp).sum()

    _, first = torch.autograd.functional.jvp(entropy, z, v)
    curvature = v @ torch.autograd.functional.hessian(entropy, z) @ v
    change = entropy_change(logits, direction)
    assert change.first_order == pytest.approx(first.item(), abs=1e-12)
    quadratic = change.second_order - change.first_order
    assert quadratic == pytest.approx(curvature.item() / 2, abs=1e-10)


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_the_natural_gradient_is_the_fisher_pseudo_inverse_times_the_gradient(seed):
    logits, advantages = random_case(seed, scale=1.0, most_actions=12)
    gradient = policy_gradient_step(logits, advantages, 1.0)
    by_pseudo_inverse = np.linalg.pinv(fisher_matrix(logits), rcond=1e-14) @ gradient
    assert by_pseudo_inverse.mean() == pytest.approx(0.0, abs=1e-9)
    natural = natural_gradient_step(logits, advantages, 1.0)
    assert np.abs(natural - natural.mean() - by_pseudo_inverse).max() <= 1e-9
    # The constant between them is invisible to the policy, and so to the entropy.
    steps = (natural, by_pseudo_inverse, np.asarray(advantages))
    changes = [float(entropy_change(logits, step).exact) for step in steps]
    assert np.ptp(changes) <= 1e-9


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.floats(-3, 3))
def test_theorems_are_lemma_1_with_the_steps_put_in(seed, baseline):
    logits, advantages = random_case(seed)
    for theorem, step in ((theorem1, policy_gradient_step), (theorem2, natural_gradient_step)):
        predicted = theorem(logits, advantages, 0.1)
        change = entropy_change(logits, step(logits, advantages, 0.1))
        assert predicted == pytest.approx(float(change.first_order), abs=1e-13)
        assert predicted == pytest.approx(
            float(theorem(logits, advantages + baseline, 0.1)), abs=1e-12
        )


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.floats(0.1, 3))
def test_theorems_are_minus_eta_times_the_plain_covariance(seed, eta):
    logits, advantages = random_case(seed)
    probs = np.exp(logits) / np.exp(logits).sum()
    advantages = advantages - probs @ advantages  # the theorems' own assumption

    def covariance(values):
        return probs @ (np.log(probs) * values) - (probs @ np.log(probs)) * (probs @ values)

    assert theorem1(logits, advantages, eta) == pytest.approx(-eta * covariance(probs * advantages))
    assert theorem2(logits, advantages, eta) == pytest.approx(-eta * covariance(advantages))


def test_a_mean_advantage_taken_literally_adds_a_covariance_that_is_not_in_the_gradient():
    logits, advantages = random_case(5)
    probs = softmax_policy(logits).probs
    mean = probs @ advantages
    extra = theorem1(logits, advantages, 1.0, centre_advantages=False) - theorem1(
        logits, advantages, 1.0
    )
    spread = probs @ (np.log(probs) * probs) - (probs @ np.log(probs)) * (probs @ probs)
    assert spread > 0
    assert extra == pytest.approx(-mean * spread)


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.floats(0.05, 10), st.sampled_from(["policy_gradient", "natural_gradient"]))
def test_the_quadrant_rule_has_fixed_signs_and_adds_up_to_lemma_1(seed, scale, update):
    logits, advantages = random_case(seed, scale)
    rule = quadrant_rule(logits, advantages, 1.0, update=update)
    assert rule.likely_positive <= 0
    assert rule.rare_negative <= 0
    assert rule.likely_negative >= 0
    assert rule.rare_positive >= 0
    theorem = theorem1 if update == "policy_gradient" else theorem2
    assert sum(rule) == pytest.approx(float(theorem(logits, advantages, 1.0)), abs=1e-12)


def test_the_quadrant_rule_names_the_nearest_update():
    with pytest.raises(UserError, match="did you mean 'natural_gradient'"):
        quadrant_rule([0.0, 1.0], [1.0, 0.0], 1.0, update="natural_gradent")


@pytest.mark.parametrize(
    ("vocabulary", "gap"), [(151_936, 40.0), (3000, 3.0), (3000, 15.0), (3000, 80.0)]
)
def test_at_vocabulary_scale_no_digit_is_lost_on_a_nearly_certain_policy(vocabulary, gap):
    rng = np.random.default_rng(1)
    logits = rng.normal(size=vocabulary)
    logits[123] = logits.max() + gap
    delta = 1e-3 * rng.normal(size=vocabulary)
    with mpmath.workdps(50):

        def entropy(z):
            shift = max(z)
            relative = [x - shift for x in z]
            weights = [mpmath.exp(x) for x in relative]
            total = mpmath.fsum(weights)
            return mpmath.log(total) - mpmath.fdot(weights, relative) / total

        old = [mpmath.mpf(x) for x in logits.tolist()]
        new = [z + mpmath.mpf(d) for z, d in zip(old, delta.tolist(), strict=True)]
        before = entropy(old)
        change = float(entropy(new) - before)
        before = float(before)
    assert float(softmax_entropy(logits)) == pytest.approx(before, rel=1e-13)
    assert float(entropy_change(logits, delta).exact) == pytest.approx(change, rel=1e-12)
