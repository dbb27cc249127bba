"""The tabular predictions against the NumPy theory and against a table that is really trained."""

import numpy as np
import torch

from entropy_mech import theory
from entropy_mech.train.lemma1_probe import lemma1_terms, tabular_terms


def test_lemma1_terms_are_those_of_the_theory():
    rng = np.random.default_rng(0)
    logits, move = rng.normal(size=(2, 20, 12))
    ours = lemma1_terms(torch.from_numpy(logits), torch.from_numpy(logits + 0.1 * move))
    theirs = theory.entropy_change(logits, 0.1 * move)
    for name in ("exact", "first_order", "second_order"):
        np.testing.assert_allclose(ours[name].numpy(), getattr(theirs, name), atol=1e-12)


def test_tabular_terms_are_unbiased_for_theorems_1_and_2():
    """Over many samples of one state they become the expectations of the theorems."""
    rng = np.random.default_rng(1)
    logits, advantage = rng.normal(size=(2, 6))
    p = np.exp(logits) / np.exp(logits).sum()
    advantage -= p @ advantage
    n = 400_000
    actions = torch.from_numpy(rng.choice(6, size=n, p=p))
    terms = tabular_terms(
        torch.from_numpy(np.broadcast_to(logits, (n, 6)).copy()),
        actions,
        torch.from_numpy(advantage)[actions],
        torch.zeros(n, dtype=torch.long),
    )
    first_order = theory.entropy_change(
        logits, theory.policy_gradient_step(logits, advantage, 1.0)
    ).first_order
    assert abs(terms["theorem1"][0].item() - first_order) < 0.01
    natural = theory.entropy_change(
        logits, theory.natural_gradient_step(logits, advantage, 1.0)
    ).first_order
    assert abs(terms["theorem2"][0].item() - natural) < 0.03
    assert terms["visits"][0] == n


def test_theorem1_term_is_a_tables_own_gradient_step():
    """For a table, gradient ascent on sum A log pi / n moves the entropy as predicted."""
    torch.manual_seed(0)
    table = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    state = torch.tensor([0, 0, 1, 2, 2, 2])
    actions = torch.tensor([1, 4, 0, 2, 2, 3])
    advantages = torch.tensor([1.0, -0.5, 2.0, 1.0, 1.0, -1.0], dtype=torch.float64)
    visits = torch.bincount(state).double()
    logp = torch.log_softmax(table, -1)[state, actions]
    (gradient,) = torch.autograd.grad((advantages * logp / visits[state]).sum(), table)
    eta = 1e-5
    moved = (table + eta * gradient).detach()
    exact = lemma1_terms(table.detach()[state], moved[state])["exact"] / eta
    ours = tabular_terms(table.detach()[state], actions, advantages, state)["theorem1"]
    torch.testing.assert_close(ours, exact, rtol=1e-4, atol=1e-6)
