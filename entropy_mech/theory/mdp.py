"""Finite-horizon MDPs and token trees: the part of dH that Lemma 1 leaves out.

The entropy of a policy over responses is a mean over the tokens visited,

    H(pi) = sum_s w(s) h(s) / sum_s w(s),   w(s) = sum_{t<T} Pr(s_t = s), h(s) = H(pi(.|s)),

over states that are not terminal (the released code's mean over all response tokens). A step
changes h, which is Lemma 1 averaged over states, and it changes w, which Lemma 1 holds fixed:

    dH = sum_s w(s) (h'(s) - h(s)) / W   +   the rest, through w                     (exactly)
       ~ -E_{s ~ w} Cov(log pi, d)       +   E_{s ~ w} Cov(Q, d)                     (first order)

with Q(s, a) the entropy still to come after a, counted from the mean H: the policy-gradient
theorem with h(s) - H as the reward of a state. So the second term is 0 for a bandit (T = 1), where
actions do not steer the state, and where all states have the same entropy. It grows with the
number of later tokens whose entropy an action decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from entropy_mech.errors import bad_value
from entropy_mech.theory.dynamics import centred_step, entropy_change, finite_rows
from entropy_mech.theory.softmax import as_rows, expectation, softmax_policy


@dataclass(frozen=True)
class Mdp:
    """A finite-horizon MDP of S states, A actions and at most ``horizon`` steps.

    ``transitions`` holds either probabilities ``(S, A, S)`` or, for a deterministic MDP, the index
    of the next state ``(S, A)``. ``start`` is the distribution of the first state, ``terminal``
    marks states ``(S,)`` where the response has ended (none by default).
    """

    transitions: np.ndarray
    start: np.ndarray
    horizon: int
    terminal: np.ndarray | None = None

    def __post_init__(self):
        if self.horizon < 1:
            raise bad_value("horizon", self.horizon, "give at least 1 step")
        states = len(self.transitions)
        if np.shape(self.start) != (states,) or not np.isclose(np.sum(self.start), 1.0):
            raise bad_value("start", "not a distribution", f"give {states} numbers that sum to 1")
        if self.transitions.ndim == 3 and not np.allclose(self.transitions.sum(axis=-1), 1.0):
            raise bad_value("transitions", "rows do not sum to 1", "normalise over the next state")
        if self.terminal is not None and np.asarray(self.start) @ self.terminal > 0.0:
            raise bad_value("start", "has weight on a terminal state", "start where tokens follow")

    @property
    def alive(self) -> np.ndarray:
        """Which states produce a token, ``(S,)``."""
        if self.terminal is None:
            return np.ones(len(self.start), dtype=bool)
        return ~np.asarray(self.terminal, dtype=bool)

    def forward(self, weight: np.ndarray, probs: np.ndarray) -> np.ndarray:
        """Return the distribution over states one step after ``weight`` ``(S,)``."""
        flow = (weight * self.alive)[:, None] * probs
        if self.transitions.ndim == 3:
            return np.einsum("sa,san->n", flow, self.transitions)
        return np.bincount(self.transitions.ravel(), flow.ravel(), minlength=len(weight))

    def backward(self, value: np.ndarray) -> np.ndarray:
        """Return E[value of the next state] for each state and action, ``(S, A)``."""
        ahead = self.transitions @ value if self.transitions.ndim == 3 else value[self.transitions]
        return np.where(self.alive[:, None], ahead, 0.0)


class MdpEntropyChange(NamedTuple):
    """dH in nats over the tokens of a response: ``exact = policy_term + visitation_term``.

    ``policy_term`` is the change at the old visitation (what Lemma 1 approximates),
    ``visitation_term`` the rest. The other two are their first-order terms.
    """

    exact: float
    policy_term: float
    visitation_term: float
    policy_first_order: float
    visitation_first_order: float


def mdp_entropy(mdp: Mdp, logits: np.ndarray) -> float:
    """Return the mean token entropy H(pi) in nats of the policy with ``logits`` ``(S, A)``.

    >>> round(mdp_entropy(token_tree(vocabulary=2, length=3), np.zeros((7, 2))), 6)  # log 2
    0.693147
    """
    policy = softmax_policy(_logits(mdp, logits))
    weight = visitation(mdp, policy.probs).sum(axis=0) * mdp.alive
    return float(weight @ policy.entropy_nats / weight.sum())


def mdp_entropy_change(mdp: Mdp, logits: np.ndarray, delta_logits: np.ndarray) -> MdpEntropyChange:
    """Split dH of a step ``delta_logits`` ``(S, A)`` into its policy and its visitation term.

    A tree of two tokens, uniform but for a second state that is nearly certain: moving towards it
    leaves every h(s) unchanged to first order, yet H falls, as more tokens are drawn there: by
    0.05 log 2 at the second of two tokens.

    >>> tree = token_tree(vocabulary=2, length=2)  # states: root, after 0, after 1
    >>> change = mdp_entropy_change(tree, [[0, 0], [50, 0], [0, 0]], [[0.1, -0.1], [0, 0], [0, 0]])
    >>> round(change.policy_first_order, 6) + 0.0, round(change.visitation_first_order, 6)
    (0.0, -0.017329)
    """
    old, c = centred_step(_logits(mdp, logits), delta_logits)
    new = softmax_policy(_logits(mdp, logits) + finite_rows("delta_logits", delta_logits, old))
    by_time = visitation(mdp, old.probs)
    weight = by_time.sum(axis=0) * mdp.alive
    weight_new = visitation(mdp, new.probs).sum(axis=0) * mdp.alive
    total, total_new = weight.sum(), weight_new.sum()
    state_change = entropy_change(logits, delta_logits)
    entropy = weight @ old.entropy_nats / total
    to_come = _value_to_come(mdp, old.probs, mdp.alive * (old.entropy_nats - entropy))
    steering = sum(
        by_time[t] * mdp.alive @ expectation(old, c, to_come[t]) for t in range(mdp.horizon)
    )
    policy_term = float(weight @ state_change.exact / total)
    visitation_term = float((weight_new / total_new - weight / total) @ new.entropy_nats)
    return MdpEntropyChange(
        exact=policy_term + visitation_term,
        policy_term=policy_term,
        visitation_term=visitation_term,
        policy_first_order=float(weight @ state_change.first_order / total),
        visitation_first_order=float(steering / total),
    )


def visitation(mdp: Mdp, probs: np.ndarray) -> np.ndarray:
    """Return Pr(s_t = s) under the policy ``probs`` ``(S, A)``, as ``(T, S)``.

    >>> visitation(token_tree(vocabulary=2, length=2), np.full((3, 2), 0.5)).tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]]
    """
    weights = [np.asarray(mdp.start, dtype=np.float64)]
    for _ in range(mdp.horizon - 1):
        weights.append(mdp.forward(weights[-1], probs))
    return np.array(weights)


def mdp_policy_gradient(mdp: Mdp, logits: np.ndarray, rewards: np.ndarray) -> np.ndarray:
    """Return the exact gradient of J = E[sum_t r(s_t, a_t)] by the logits, ``(S, A)``.

    dJ/dz(s, a) = sum_t Pr(s_t = s) pi(a|s) A_t(s, a); ``rewards`` is ``(S, A)``.

    >>> gradient = mdp_policy_gradient(token_tree(2, 1), [[0.0, 0.0]], [[1.0, 0.0]])
    >>> gradient.tolist()  # pi (r - E[r])
    [[0.25, -0.25]]
    """
    policy = softmax_policy(_logits(mdp, logits))
    rewards = np.where(mdp.alive[:, None], finite_rows("rewards", rewards, policy), 0.0)
    by_time = visitation(mdp, policy.probs)
    state_rewards = expectation(policy, rewards)
    to_come = _value_to_come(mdp, policy.probs, state_rewards)
    gradient = np.zeros_like(policy.probs)
    for weight, ahead in zip(by_time, to_come, strict=True):
        q = rewards + ahead
        advantage = q - expectation(policy, q)[:, None]
        gradient += (weight * mdp.alive)[:, None] * policy.probs * advantage
    return gradient


def token_tree(vocabulary: int, length: int, *, end_token: bool = False) -> Mdp:
    """Return the MDP whose states are all prefixes of at most ``length`` tokens, root first.

    Prefixes are in breadth-first order, so token v after prefix s is state s V + 1 + v. With
    ``end_token`` token 0 ends the response: one terminal state more, the last.

    >>> token_tree(vocabulary=2, length=2).transitions.tolist()  # the leaves are not states
    [[1, 2], [0, 0], [0, 0]]
    """
    if vocabulary < 2 or length < 1:
        raise bad_value("vocabulary, length", (vocabulary, length), "give at least 2 and 1")
    states = sum(vocabulary**depth for depth in range(length))
    if states > 1_000_000:
        raise bad_value("vocabulary, length", (vocabulary, length), "give at most 10^6 prefixes")
    following = np.arange(states)[:, None] * vocabulary + 1 + np.arange(vocabulary)
    following[following >= states] = 0  # never entered: the horizon ends there
    start = np.zeros(states + end_token)
    start[0] = 1.0
    if not end_token:
        return Mdp(following, start, length)
    following[:, 0] = states
    following = np.vstack([following, np.full((1, vocabulary), states)])
    return Mdp(following, start, length, terminal=np.arange(states + 1) == states)


def _value_to_come(mdp: Mdp, probs: np.ndarray, state_rewards: np.ndarray) -> np.ndarray:
    """Return E[sum of the rewards of the states after t], for each t, s, a: ``(T, S, A)``."""
    ahead = np.zeros((mdp.horizon, *probs.shape))
    value = np.zeros(len(state_rewards))
    for t in range(mdp.horizon - 2, -1, -1):
        value = state_rewards + np.einsum("sa,sa->s", probs, ahead[t + 1])
        ahead[t] = mdp.backward(value)
    return ahead


def _logits(mdp: Mdp, logits: np.ndarray) -> np.ndarray:
    rows, shape = as_rows("logits", logits), mdp.transitions.shape[:2]
    if rows.shape != shape:
        raise bad_value("logits.shape", rows.shape, f"give (S, A) = {shape}")
    return rows
