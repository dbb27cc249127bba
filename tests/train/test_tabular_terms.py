"""The tabular predictions against the theory and against a table that is really trained."""

import numpy as np
import torch

from entropy_mech import theory
from entropy_mech.train.metrics import tabular_terms


def test_tabular_terms_are_unbiased_for_theorems_1_and_2():
    """Over many samples of one state they become the expectations of the theorems."""
    rng = np.random.default_rng(1)
    logits, advantage = rng.normal(size=(2, 6))
    p = np.exp(logits) / np.exp(logits).sum()
    advantage -= p @ advantage
    n = 400_000
    actions = rng.choice(6, size=n, p=p)
    terms = tabular_terms(logits[None], actions, advantage[actions], np.zeros(n, dtype=int))
    for name, step, bound in (
        ("theorem1", theory.policy_gradient_step, 0.01),
        ("theorem2", theory.natural_gradient_step, 0.03),
    ):
        expected = theory.entropy_change(logits, step(logits, advantage, 1.0)).first_order
        assert abs(terms[name][0] - expected) < bound
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
    logits = table.detach().numpy()
    exact = theory.entropy_change(logits, eta * gradient.numpy()).exact / eta
    ours = tabular_terms(logits, actions.numpy(), advantages.numpy(), state.numpy())["theorem1"]
    np.testing.assert_allclose(ours, exact, rtol=1e-4, atol=1e-6)
