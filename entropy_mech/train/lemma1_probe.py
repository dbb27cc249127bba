"""Lemma 1 on the transformer itself: what an update did to each prefix, and what a table would do.

The paper's theory is tabular. Here, at the very prefixes of a rollout, the change of entropy by an
update stands beside -Cov(log pi, dz) with the dz that happened (their gap is the Taylor
remainder) and beside the tabular predictions of Theorems 1 and 2 (their gap is function
approximation and the optimizer).
"""

from __future__ import annotations

import numpy as np
from torch import Tensor, from_numpy

from entropy_mech.objectives import token_entropy
from entropy_mech.objectives.tabular import lemma1_terms, tabular_terms
from entropy_mech.train.batch import RolloutBatch
from entropy_mech.train.engine_torch import TorchEngine


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
