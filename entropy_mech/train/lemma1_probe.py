"""Lemma 1 on the transformer: what an update did to each prefix, and what a table would do."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, from_numpy

from entropy_mech.objectives.logprobs import token_entropy
from entropy_mech.train.engine import TorchEngine
from entropy_mech.train.rollouts import RolloutBatch

# -- Tabular predictions for the tokens of a real batch ------------------------------------------
# A state is a prefix, an action a token. A transformer shares its parameters between states, so
# its logits need not move as a table's would. These functions give, at each prefix, both sides of
# Lemma 1 for the move that happened, and the move that a table would have made.


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


# -- The probe -----------------------------------------------------------------------------------
# The paper's theory is tabular. Here, at the very prefixes of a rollout, the change of entropy by
# an update stands beside -Cov(log pi, dz) with the dz that happened (their gap is the Taylor
# remainder) and beside the tabular predictions of Theorems 1 and 2 (their gap is function
# approximation and the optimizer).


class Lemma1Probe:
    """Made before an update, asked after it."""

    def __init__(self, engine: TorchEngine, batch: RolloutBatch):
        self.engine, self.batch = engine, batch
        self.before = engine.logits(batch)

    def record(self) -> dict[str, np.ndarray]:
        """Return one row a distinct prefix: the terms in nats, its entropy, visits, position."""
        mask = self.batch.response_mask
        state = prefix_states(self.batch)
        terms = lemma1_terms(self.before, self.engine.logits(self.batch))
        terms |= tabular_terms(
            self.before, self.batch.tokens[mask], self.batch.advantages[mask], state
        )
        terms["entropy_nats"] = token_entropy(self.before)
        terms["position"] = mask.nonzero()[:, 1]
        _, first = np.unique(state.numpy(), return_index=True)
        return {name: values.numpy()[first] for name, values in terms.items()}


def prefix_states(batch: RolloutBatch) -> Tensor:
    """Number the prefixes of the N response tokens: equal numbers for equal prefixes."""
    numbers: dict[tuple[int, ...], int] = {}
    states = []
    for row, mask in enumerate(batch.response_mask.tolist()):
        start = int(batch.prompt_length[row])
        ids = batch.input_ids[row].tolist()
        for position in range(sum(mask)):
            prefix = tuple(ids[: start + position])
            states.append(numbers.setdefault(prefix, len(numbers)))
    return from_numpy(np.array(states, dtype=np.int64))
