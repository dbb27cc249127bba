"""What the tabular theory predicts for the tokens of a real batch (section 3), state by state.

A state is a prefix, an action a token. A transformer shares its parameters between states, so its
logits need not move as a table's would. These functions give, at each prefix, both sides of
Lemma 1 for the move that happened, and the move that a table would have made.
"""

from __future__ import annotations

import torch
from torch import Tensor

from entropy_mech.objectives.logprobs import token_entropy


def lemma1_terms(logits_before: Tensor, logits_after: Tensor) -> dict[str, Tensor]:
    """Both sides of Lemma 1 for the logit change that happened, at N prefixes.

    Args:
        logits_before: N x V.
        logits_after: N x V.

    Returns:
        N values each, float64, nats: ``exact``, H(after) - H(before); ``first_order``,
        -Cov(log pi, dz) under pi before; ``second_order``, that plus the exact quadratic term
        -(E[c^2] + E[c^2 (log pi + H)]) / 2 with c = dz - E[dz].

    """
    before, after = logits_before.double(), logits_after.double()
    logp = torch.log_softmax(before, dim=-1)
    p = logp.exp()
    move = after - before
    centred = move - (p * move).sum(-1, keepdim=True)
    surprise = logp + token_entropy(before).unsqueeze(-1)
    first = _minus_covariance(logp, move)
    quadratic = -0.5 * (p * centred.square() * (1 + surprise)).sum(-1)
    return {
        "exact": token_entropy(after) - token_entropy(before),
        "first_order": first,
        "second_order": first + quadratic,
    }


def tabular_terms(
    logits_before: Tensor, tokens: Tensor, advantages: Tensor, state: Tensor
) -> dict[str, Tensor]:
    """-Cov(log pi, dz) for the moves that a table would make, per unit of step size (eta = 1).

    From the n samples of one state: the policy gradient moves a table's logits by
    sum_i A_i (1[a_i = a] - pi(a)) / n, which is pi(a) (A(s, a) - E[A]) on average (Proposition 1
    with the E[A] that a group's advantages leave at a prefix); the natural gradient by
    sum_i A_i 1[a_i = a] / (n pi(a)), which is A(s, a) on average.

    Args:
        logits_before: N x V, for N sampled tokens.
        tokens: N, the tokens sampled.
        advantages: N.
        state: N, an integer for each prefix: equal for equal prefixes, from 0 on.

    Returns:
        N values each, float64, equal within a state: ``theorem1`` and ``theorem2``; ``visits``,
        the state's n.

    """
    logp = torch.log_softmax(logits_before.double(), dim=-1)
    states = int(state.max()) + 1 if len(state) else 0
    visits = torch.bincount(state, minlength=states).double()
    first = torch.zeros(states, dtype=torch.long).scatter_(0, state, torch.arange(len(state)))
    logp = logp[first]  # any one sample of the state serves: they share their prefix
    summed = torch.zeros_like(logp)
    summed.index_put_((state, tokens), advantages.double(), accumulate=True)
    p, by_action = logp.exp(), summed / visits.unsqueeze(-1)
    terms = {
        "theorem1": by_action - p * by_action.sum(-1, keepdim=True),
        "theorem2": by_action / p,
    }
    out = {name: _minus_covariance(logp, move)[state] for name, move in terms.items()}
    return {**out, "visits": visits[state]}


def _minus_covariance(logp: Tensor, move: Tensor) -> Tensor:
    p = logp.exp()
    surprise = logp + token_entropy(logp).unsqueeze(-1)
    return -(p * surprise * move).sum(-1)
