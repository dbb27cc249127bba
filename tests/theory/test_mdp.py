from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entropy_mech.errors import UserError
from entropy_mech.theory import entropy_change, policy_gradient_step
from entropy_mech.theory.beyond import (
    Mdp,
    mdp_entropy,
    mdp_entropy_change,
    mdp_policy_gradient,
    token_tree,
)
from entropy_mech.theory.softmax import softmax_policy

SEEDS = st.integers(0, 2**32 - 1)


def random_mdp(seed, horizon=None):
    rng = np.random.default_rng(seed)
    states, actions = rng.integers(2, 6, size=2)
    transitions = rng.dirichlet(np.full(states, 0.3), size=(states, actions))
    mdp = Mdp(transitions, rng.dirichlet(np.ones(states)), horizon or int(rng.integers(1, 7)))
    return mdp, rng.normal(size=(states, actions)) * 1.5, rng.normal(size=(states, actions))


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.floats(1e-3, 3))
def test_the_two_terms_add_up_to_the_true_change(seed, size):
    mdp, logits, direction = random_mdp(seed)
    change = mdp_entropy_change(mdp, logits, size * direction)
    true = mdp_entropy(mdp, logits + size * direction) - mdp_entropy(mdp, logits)
    assert change.exact == pytest.approx(true, abs=1e-13)


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_the_first_order_terms_are_the_derivatives(seed):
    mdp, logits, direction = random_mdp(seed)
    eta = 1e-5
    up = mdp_entropy_change(mdp, logits, eta * direction)
    down = mdp_entropy_change(mdp, logits, -eta * direction)
    for term, first in (
        ("policy_term", "policy_first_order"),
        ("visitation_term", "visitation_first_order"),
    ):
        derivative = (getattr(up, term) - getattr(down, term)) / 2
        assert getattr(up, first) == pytest.approx(derivative, abs=1e-9 * eta + 1e-14)


@settings(max_examples=15, deadline=None)
@given(SEEDS)
def test_a_token_tree_agrees_with_every_sequence_written_out(seed):
    vocabulary, length = 3, 3
    tree = token_tree(vocabulary, length)
    logits = np.random.default_rng(seed).normal(size=tree.shape)
    policy = softmax_policy(logits)
    entropy = tokens = 0.0
    for sequence in product(range(vocabulary), repeat=length):
        probability, state = 1.0, 0
        for token in sequence:
            entropy += (
                probability
                * policy.entropy_nats[state]
                / vocabulary ** (length - 1 - depth(state, vocabulary))
                / vocabulary
            )
            tokens += probability / vocabulary ** (length - depth(state, vocabulary))
            probability *= policy.probs[state, token]
            state = state * vocabulary + 1 + token
    assert mdp_entropy(tree, logits) == pytest.approx(entropy / tokens, abs=1e-12)


def depth(state, vocabulary):
    level = 0
    while state > 0:
        state, level = (state - 1) // vocabulary, level + 1
    return level


def test_a_bandit_has_no_visitation_term():
    tree = token_tree(vocabulary=5, length=1)
    rng = np.random.default_rng(0)
    logits, delta = rng.normal(size=(2, 1, 5))
    change = mdp_entropy_change(tree, logits, delta)
    assert change.visitation_term == 0.0
    assert change.visitation_first_order == 0.0
    assert change.exact == pytest.approx(float(entropy_change(logits[0], delta[0]).exact))


def test_no_visitation_term_where_actions_do_not_steer_or_states_are_alike():
    rng = np.random.default_rng(1)
    logits, delta = rng.normal(size=(2, 4, 3))
    where = np.broadcast_to(rng.dirichlet(np.ones(4), size=(4, 1)), (4, 3, 4))
    deaf = mdp_entropy_change(Mdp(where, np.full(4, 0.25), 6), logits, delta)
    assert deaf.visitation_term == pytest.approx(0.0, abs=1e-15)
    mdp = Mdp(rng.dirichlet(np.ones(4), size=(4, 3)), np.full(4, 0.25), 6)
    alike = mdp_entropy_change(mdp, np.tile(logits[0], (4, 1)), delta)
    assert alike.visitation_first_order == pytest.approx(0.0, abs=1e-15)


def test_a_deterministic_mdp_is_the_same_either_way_it_is_written():
    rng = np.random.default_rng(2)
    following = rng.integers(0, 4, size=(4, 3))
    start = np.full(4, 0.25)
    logits, delta = rng.normal(size=(2, 4, 3))
    indexed = mdp_entropy_change(Mdp(following, start, 5), logits, delta)
    dense = mdp_entropy_change(Mdp(np.eye(4)[following], start, 5), logits, delta)
    assert indexed == pytest.approx(dense, abs=1e-15)


@settings(max_examples=20, deadline=None)
@given(SEEDS)
def test_the_policy_gradient_is_the_derivative_of_the_expected_reward(seed):
    mdp, logits, rewards = random_mdp(seed)
    gradient = mdp_policy_gradient(mdp, logits, rewards)

    def expected_reward(z):
        probs = softmax_policy(z).probs
        return (mdp.visits(probs)[..., None] * probs * rewards).sum()

    direction = np.random.default_rng(seed).normal(size=logits.shape)
    slope = (
        expected_reward(logits + 1e-5 * direction) - expected_reward(logits - 1e-5 * direction)
    ) / 2e-5
    assert (gradient * direction).sum() == pytest.approx(slope, abs=1e-8)


def test_lists_are_arrays():
    same = [Mdp(kind([[1, 1], [0, 1]]), kind([0.5, 0.5]), 3) for kind in (list, np.array)]
    policy = np.array([[0.0, 1.0], [2.0, 0.0]])
    assert mdp_entropy(same[0], policy.tolist()) == mdp_entropy(same[1], policy)


def test_at_horizon_one_the_policy_gradient_is_proposition_1():
    mdp, logits, rewards = random_mdp(7, horizon=1)
    rows = policy_gradient_step(logits, rewards, 1.0) * mdp.start[:, None]
    assert mdp_policy_gradient(mdp, logits, rewards) == pytest.approx(rows, abs=1e-15)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: token_tree(1, 3), "vocabulary = 1: give 2 or more"),
        (lambda: token_tree(2, 2.5), "length = 2.5: give a whole number"),
        (lambda: token_tree(10, 9), "at most 10\\^6 prefixes"),
        (lambda: Mdp(np.ones((2, 2, 2)), np.array([1.0, 0.0]), 3), "transitions = rows do not sum"),
        (lambda: Mdp(np.zeros((2, 2), int), np.array([1.0, 1.0]), 3), "start = not a distribution"),
        (lambda: Mdp(np.zeros((2, 2), int), [2.0, -1.0], 2), "start = not a distribution"),
        (lambda: Mdp([[[2.0, -1.0]], [[0.0, 1.0]]], [1.0, 0.0], 2), "transitions = -1.0"),
        (lambda: Mdp([[0, 2], [1, 0]], [1.0, 0.0], 2), "transitions = no states: .* 0 to 1"),
        (lambda: Mdp([0, 1], [1.0, 0.0], 2), r"transitions.shape = \(2,\)"),
        (lambda: Mdp(np.zeros((2, 2), int), np.array([1.0, 0.0]), 0), "horizon = 0"),
        (
            lambda: mdp_policy_gradient(token_tree(2, 2), np.zeros((3, 2)), [1.0, 0.0]),
            r"rewards.shape = \(2,\)",
        ),
        (lambda: mdp_entropy(token_tree(2, 2), np.zeros((2, 2))), r"logits.shape = \(2, 2\)"),
    ],
)
def test_unusable_mdps_are_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()
