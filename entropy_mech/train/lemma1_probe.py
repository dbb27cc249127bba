"""Lemma 1 on the transformer: what an update did to each prefix, and what a table would do.

The paper's theory is tabular: a state is a prefix, an action a token. A transformer shares its
parameters between states, so its logits need not move as a table's would. Here, at the very
prefixes of a rollout, the change of entropy by an update stands beside -Cov(log pi, dz) with the dz
that happened (their gap is the Taylor remainder) and beside the tabular predictions of Theorems 1
and 2 (their gap is function approximation and the optimizer).
"""

from __future__ import annotations

import numpy as np

from entropy_mech.theory.softmax import softmax_policy
from entropy_mech.theory.step import centred_step, entropy_change, taylor_terms
from entropy_mech.train.engine import TorchEngine
from entropy_mech.train.rollouts import RolloutBatch


class Lemma1Probe:
    """Made before an update, asked after it."""

    def __init__(self, engine: TorchEngine, batch: RolloutBatch):
        self.engine, self.batch = engine, batch
        self.before = self._logits()

    def record(self) -> dict[str, np.ndarray]:
        """Return one row a distinct prefix: the terms in nats, its entropy, visits, position."""
        mask = self.batch.response_mask
        state = prefix_states(self.batch)
        _, first = np.unique(state, return_index=True)
        before = self.before[first]
        terms = entropy_change(before, self._logits()[first] - before)._asdict()
        tokens, advantages = (x[mask].numpy() for x in (self.batch.tokens, self.batch.advantages))
        return {
            **terms,
            **tabular_terms(before, tokens, advantages, state),
            "entropy_nats": softmax_policy(before).entropy_nats,
            "position": mask.nonzero()[:, 1].numpy()[first],
        }

    def _logits(self) -> np.ndarray:
        return self.engine.logits(self.batch).double().cpu().numpy()


def tabular_terms(
    logits: np.ndarray, tokens: np.ndarray, advantages: np.ndarray, state: np.ndarray
) -> dict[str, np.ndarray]:
    """-Cov(log pi, dz) for the moves that a table would make, per unit of step size (eta = 1).

    From the n samples of one state: the policy gradient moves a table's logits by
    sum_i A_i (1[a_i = a] - pi(a)) / n, which is pi(a) (A(s, a) - E[A]) on average (Proposition 1
    with the E[A] that a group's advantages leave at a prefix); the natural gradient by
    sum_i A_i 1[a_i = a] / (n pi(a)), which is A(s, a) on average.

    Args:
        logits: S x V, of the states.
        tokens: N, those sampled.
        advantages: N.
        state: N, at which of the states each token was sampled.

    Returns:
        S values each, float64: ``theorem1`` and ``theorem2``; ``visits``, the state's n.

    """
    visits = np.bincount(state, minlength=len(logits)).astype(np.float64)
    summed = np.zeros(logits.shape)
    np.add.at(summed, (state, tokens), advantages)
    p, by_action = softmax_policy(logits).probs, summed / visits[:, None]
    moves = {
        "theorem1": by_action - p * by_action.sum(axis=-1, keepdims=True),
        "theorem2": by_action / p,
    }
    terms = {name: taylor_terms(*centred_step(logits, move))[0] for name, move in moves.items()}
    return {**terms, "visits": visits}


def prefix_states(batch: RolloutBatch) -> np.ndarray:
    """Number the prefixes of the N response tokens: equal numbers for equal prefixes."""
    numbers: dict[tuple[int, ...], int] = {}
    states = []
    for row, mask in enumerate(batch.response_mask.tolist()):
        start = int(batch.prompt_length[row])
        ids = batch.input_ids[row].tolist()
        for position in range(sum(mask)):
            prefix = tuple(ids[: start + position])
            states.append(numbers.setdefault(prefix, len(numbers)))
    return np.array(states, dtype=np.int64)
