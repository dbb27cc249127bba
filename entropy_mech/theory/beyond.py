"""Beyond Lemma 1: MDPs and token trees, sampled updates, and their tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement, product
from math import comb
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse, stats

from entropy_mech.errors import bad_value, count_list, real_number, unknown_name, whole_number
from entropy_mech.theory.softmax import Policy, as_rows, expectation, softmax_policy
from entropy_mech.theory.step import (
    centred_step,
    entropy_change,
    finite_rows,
    policy_gradient_step,
    theorem1,
)

# -- MDPs and token trees ------------------------------------------------------------------------
# The entropy of a policy over responses is a mean over the tokens visited,
#
#     H(pi) = sum_s w(s) h(s) / sum_s w(s),   w(s) = sum_{t<T} Pr(s_t = s), h(s) = H(pi(.|s)),
#
# the released code's mean over all response tokens, here of responses of one length T. A step
# changes h, which is Lemma 1 averaged over states, and it changes w, which Lemma 1 holds fixed:
#
#     dH = sum_s w(s) (h'(s) - h(s)) / W   +   the rest, through w                     (exactly)
#        ~ -E_{s ~ w} Cov(log pi, d)       +   E_{s ~ w} Cov(Q, d)                     (first order)
#
# with Q(s, a) the entropy still to come after a, counted from the mean H: the policy-gradient
# theorem with h(s) - H as the reward of a state. So the second term is 0 for a bandit (T = 1),
# where actions do not steer the state, and where all states have the same entropy. It grows with
# the number of later tokens whose entropy an action decides.


class Mdp:
    """A finite-horizon MDP of S states, A actions and ``horizon`` steps.

    ``transitions`` holds either probabilities ``(S, A, S)`` or, for a deterministic MDP, the index
    of the next state ``(S, A)``. ``start`` is the distribution of the first state.
    """

    def __init__(self, transitions: np.ndarray, start: np.ndarray, horizon: int):
        whole_number("horizon", horizon, least=1)
        transitions, start = as_rows("transitions", transitions), as_rows("start", start)
        states, actions = (*transitions.shape, 0)[:2]
        if transitions.shape not in ((states, actions), (states, actions, states)):
            raise bad_value("transitions.shape", transitions.shape, "give (S, A, S) or (S, A)")
        if start.shape != (states,) or not np.isclose(start.sum(), 1.0) or start.min() < 0.0:
            raise bad_value("start", "not a distribution", f"give {states} numbers that sum to 1")
        if transitions.ndim == 3:
            if not transitions.min() >= 0.0:
                raise bad_value("transitions", float(transitions.min()), "give probabilities")
            following = sparse.csr_array(transitions.reshape(-1, states))
        elif not np.isin(transitions, np.arange(states)).all():
            raise bad_value("transitions", "no states", f"give whole numbers, 0 to {states - 1}")
        else:
            pairs = np.arange(states * actions), transitions.astype(np.int64).ravel()
            following = sparse.csr_array((np.ones(states * actions), pairs))
        if not np.allclose(following.sum(axis=1), 1.0):
            raise bad_value("transitions", "rows do not sum to 1", "normalise over the next state")
        self.shape, self.horizon = (states, actions), horizon
        self.start, self.following = start, following

    def visits(self, probs: np.ndarray) -> np.ndarray:
        """Return Pr(s_t = s) under the policy ``probs`` ``(S, A)``, as ``(T, S)``.

        >>> token_tree(vocabulary=2, length=2).visits(np.full((3, 2), 0.5)).tolist()
        [[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]]
        """
        by_time = [self.start]
        for _ in range(self.horizon - 1):
            by_time.append((by_time[-1][:, None] * probs).ravel() @ self.following)
        return np.array(by_time)

    def to_come(self, probs: np.ndarray, state_rewards: np.ndarray) -> np.ndarray:
        """Return E[sum of the rewards of the states after t], for each t, s, a: ``(T, S, A)``."""
        ahead = np.zeros((self.horizon, *self.shape))
        for t in range(self.horizon - 2, -1, -1):
            value = state_rewards + np.einsum("sa,sa->s", probs, ahead[t + 1])
            ahead[t] = (self.following @ value).reshape(self.shape)
        return ahead


class MdpEntropyChange(NamedTuple):
    """dH in nats over the tokens of a response: ``exact = policy_term + visitation_term``.

    ``policy_term`` is the change at the old visitation (what Lemma 1 approximates),
    ``visitation_term`` the rest. The other two are their first-order terms.
    """

    policy_term: float
    visitation_term: float
    policy_first_order: float
    visitation_first_order: float

    @property
    def exact(self) -> float:
        """The whole change."""
        return self.policy_term + self.visitation_term


def mdp_entropy(mdp: Mdp, logits: np.ndarray) -> float:
    """Return the mean token entropy H(pi) in nats of the policy with ``logits`` ``(S, A)``.

    >>> round(mdp_entropy(token_tree(vocabulary=2, length=3), np.zeros((7, 2))), 6)  # log 2
    0.693147
    """
    policy = _policy(mdp, logits)
    return float(mdp.visits(policy.probs).sum(axis=0) @ policy.entropy_nats / mdp.horizon)


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
    old, c = centred_step(logits, delta_logits)
    new = _policy(mdp, np.asarray(logits, dtype=np.float64) + delta_logits)
    by_time, length = mdp.visits(old.probs), mdp.horizon
    weight, weight_new = by_time.sum(axis=0), mdp.visits(new.probs).sum(axis=0)
    state_change = entropy_change(logits, delta_logits)
    to_come = mdp.to_come(old.probs, old.entropy_nats - weight @ old.entropy_nats / length)
    steering = sum(by_time[t] @ expectation(old, c, to_come[t]) for t in range(length))
    terms = (
        weight @ state_change.exact,
        (weight_new - weight) @ new.entropy_nats,
        weight @ state_change.first_order,
        steering,
    )
    return MdpEntropyChange(*(float(term / length) for term in terms))


def mdp_policy_gradient(mdp: Mdp, logits: np.ndarray, rewards: np.ndarray) -> np.ndarray:
    """Return the exact gradient of J = E[sum_t r(s_t, a_t)] by the logits, ``(S, A)``.

    dJ/dz(s, a) = sum_t Pr(s_t = s) pi(a|s) A_t(s, a); ``rewards`` is ``(S, A)``.

    >>> gradient = mdp_policy_gradient(token_tree(2, 1), [[0.0, 0.0]], [[1.0, 0.0]])
    >>> gradient.tolist()  # pi (r - E[r])
    [[0.25, -0.25]]
    """
    policy = _policy(mdp, logits)
    rewards = finite_rows("rewards", rewards, policy)
    if rewards.shape != mdp.shape:
        raise bad_value("rewards.shape", rewards.shape, f"give (S, A) = {mdp.shape}")
    q = rewards + mdp.to_come(policy.probs, expectation(policy, rewards))
    advantages = q - np.einsum("sa,tsa->ts", policy.probs, q)[..., None]
    return policy.probs * np.einsum("ts,tsa->sa", mdp.visits(policy.probs), advantages)


def token_tree(vocabulary: int, length: int) -> Mdp:
    """Return the MDP whose states are all prefixes of fewer than ``length`` tokens, root first.

    Prefixes are in breadth-first order, so token v after prefix s is state s V + 1 + v.

    >>> token_tree(vocabulary=2, length=2).shape  # the leaves are not states
    (3, 2)
    """
    whole_number("vocabulary", vocabulary, least=2)
    whole_number("length", length, least=1)
    states = sum(vocabulary**depth for depth in range(length))
    if states > 1_000_000:
        raise bad_value("vocabulary, length", (vocabulary, length), "give at most 10^6 prefixes")
    following = np.arange(states)[:, None] * vocabulary + 1 + np.arange(vocabulary)
    following[following >= states] = 0  # never entered: the horizon ends there
    return Mdp(following, np.eye(1, states)[0], length)


def _policy(mdp: Mdp, logits: np.ndarray) -> Policy:
    policy = softmax_policy(logits)
    if policy.probs.shape != mdp.shape:
        raise bad_value("logits.shape", policy.probs.shape, f"give (S, A) = {mdp.shape}")
    return policy


# -- Sampled updates: REINFORCE and GRPO groups --------------------------------------------------
# One state, rewards r(a). A group of K actions is drawn from pi, each gets an advantage A_i, and
#
#     d = (eta / K) sum_i A_i (e_{a_i} - pi)
#
# is the sampled change of the logits, e_a the unit vector. Estimators of the advantage:
#
# - ``reinforce``: A_i = r_i - baseline. E[d] = eta pi (r - E[r]): Proposition 1, unbiased.
# - ``group_mean``: A_i = r_i - mean of the group. E[d] is (K - 1) / K times that, since a sample's
#   own reward is part of its baseline.
# - ``grpo``: A_i = (r_i - mean) / std of the group (Eq. 3), 0 where all rewards are equal. For 0/1
#   rewards the direction of E[d] is still that of Proposition 1, and its length changes by
#   ``group_scale(p, K)``, about 1 / sqrt(p (1 - p)) with p the success probability: Theorem 1 holds
#   with a step size of its own for each prompt. For other rewards the direction changes too.
#
# Beyond the mean, the noise of d spends entropy at second order: E[dH] falls below Theorem 1 by
# E[c^2 (1 + g)] / 2 over the draws, which is of order eta^2 / K.

ESTIMATORS = ("reinforce", "group_mean", "grpo")
_MOST_GROUPS = 200_000


class SampledStep(NamedTuple):
    """Moments over draws of a sampled step; ``mean`` and ``variance`` are ``(A,)``.

    ``entropy_change_nats`` is E[dH], ``no_signal_fraction`` the probability that d is exactly 0
    because all advantages are (a group of one reward).
    """

    mean: np.ndarray
    variance: np.ndarray
    entropy_change_nats: float
    no_signal_fraction: float


def enumerate_steps(
    logits: np.ndarray, rewards: np.ndarray, eta: float, **settings: Any
) -> SampledStep:
    """Return the exact moments, by enumerating every group with its multinomial probability.

    ``logits`` and ``rewards`` are ``(A,)``; settings are those of ``SampledUpdate``. There may be
    at most 200,000 groups, C(A + K - 1, K); with more use ``simulate_steps``.

    >>> step = enumerate_steps([0.0, 0.0], [1.0, 0.0], 1.0, estimator="grpo", group_size=2)
    >>> step.mean.round(12).tolist()  # half of the groups are (1, 0): A = 1 and -1
    [0.25, -0.25]
    """
    update = SampledUpdate(logits, rewards, eta, **settings)
    actions, size = len(update.rewards), update.group_size
    if comb(actions + size - 1, size) > _MOST_GROUPS:
        fix = "too many groups to enumerate: use simulate_steps or fewer actions"
        raise bad_value("group_size, actions", (size, actions), fix)
    groups = np.array(list(combinations_with_replacement(range(actions), size)))
    counts = (groups[:, :, None] == np.arange(actions)).sum(axis=1)
    return update.moments(groups, stats.multinomial.pmf(counts, size, update.policy.probs))


def simulate_steps(
    logits: np.ndarray,
    rewards: np.ndarray,
    eta: float,
    *,
    samples: int = 10_000,
    seed: int = 1,
    **settings: Any,
) -> SampledStep:
    """Return the same moments by Monte Carlo over ``samples`` groups.

    >>> step = simulate_steps([0.0, 0.0], [1.0, 0.0], 1.0, group_size=2, samples=20_000)
    >>> abs(step.mean[0] - 0.25) < 4 * (step.variance[0] / 20_000) ** 0.5
    np.True_
    """
    update = SampledUpdate(logits, rewards, eta, **settings)
    shape = whole_number("samples", samples, least=1), update.group_size
    rng = np.random.default_rng(whole_number("seed", seed))
    groups = rng.choice(len(update.rewards), shape, p=update.policy.probs)
    return update.moments(groups, np.full(samples, 1.0 / samples))


def group_scale(success_probability: float, group_size: int, *, std_ddof: int = 0) -> float:
    """Return s with E[d] = s eta pi (r - E[r]) for GRPO groups of 0/1 rewards.

    Given one right response among m of K, its advantage is sqrt((K - m) / m). Averaging over the
    other K - 1 responses, m - 1 ~ Binomial(K - 1, p), and dividing by 1 - p gives s. It tends to
    1 / sqrt(p (1 - p)) as K grows; for p near 0 or 1 it stays finite, as groups without both
    outcomes give no signal.

    >>> round(group_scale(0.5, 2), 12)  # half have a signal, 1 = 0.5 / 0.5 (r - p)
    1.0
    >>> round(group_scale(0.5, 100_000), 3)  # 1 / sqrt(p (1 - p)) = 2
    2.0
    """
    p, size = real_number("success_probability", success_probability), group_size
    if not 0.0 < p < 1.0:
        raise bad_value("success_probability", p, "give a probability strictly between 0 and 1")
    _check_group("grpo", size, std_ddof)
    right = np.arange(1, size)  # right responses in a group with both outcomes, this one included
    weight = stats.binom.pmf(right - 1, size - 1, p)
    advantage = np.sqrt((size - right) / right) * np.sqrt((size - std_ddof) / size)
    return float(weight @ advantage / (1.0 - p))


@dataclass
class SampledUpdate:
    """The sampled step at one state; the ``baseline`` is that of ``reinforce``.

    ``std_ddof`` is 0 for the population standard deviation, 1 for the sample one that trainers use.
    Raises ``UserError`` for an unknown estimator or a group of 1.
    """

    logits: np.ndarray
    rewards: np.ndarray
    eta: float
    estimator: str = "grpo"
    group_size: int = 8
    baseline: float = 0.0
    std_ddof: int = 0

    def __post_init__(self):
        self.policy = softmax_policy(self.logits)
        self.rewards = finite_rows("rewards", self.rewards, self.policy)
        real_number("eta", self.eta)
        real_number("baseline", self.baseline)
        if self.policy.probs.ndim != 1 or self.rewards.ndim != 1:
            raise bad_value("logits.shape", self.policy.probs.shape, "give one policy, (A,)")
        if self.estimator not in ESTIMATORS:
            raise unknown_name("estimator", self.estimator, ESTIMATORS)
        _check_group(self.estimator, self.group_size, self.std_ddof)

    def moments(self, groups: np.ndarray, weights: np.ndarray) -> SampledStep:
        """Return the moments over groups ``(n, K)`` of probabilities ``(n,)``."""
        steps = self._steps(groups)
        mean = weights @ steps
        return SampledStep(
            mean=mean,
            variance=weights @ (steps - mean) ** 2,
            entropy_change_nats=float(weights @ entropy_change(self.logits, steps).exact),
            no_signal_fraction=float(weights[~steps.any(axis=1)].sum()),
        )

    def _steps(self, groups: np.ndarray) -> np.ndarray:
        """Return one step a group, ``(n, A)``."""
        drawn = self.rewards[groups]
        reinforce = self.estimator == "reinforce"
        advantages = drawn - (self.baseline if reinforce else drawn.mean(1, keepdims=True))
        if self.estimator == "grpo":
            equal = np.ptp(drawn, axis=1, keepdims=True) == 0.0
            spread = np.where(equal, 1.0, drawn.std(axis=1, ddof=self.std_ddof, keepdims=True))
            advantages = np.where(equal, 0.0, advantages / spread)
        steps = np.zeros((len(groups), len(self.rewards)))
        np.add.at(steps, (np.arange(len(groups))[:, None], groups), advantages)
        mean = advantages.sum(axis=1, keepdims=True) * self.policy.probs
        return self.eta / groups.shape[1] * (steps - mean)


def _check_group(estimator, group_size, std_ddof) -> None:
    least = 1 if estimator == "reinforce" else 2
    if whole_number("group_size", group_size) < least:
        raise bad_value("group_size", group_size, f"give at least {least} for {estimator}")
    if std_ddof not in (0, 1):
        raise bad_value("std_ddof", std_ddof, "give 0 (population) or 1 (sample)")


# -- Tables of the notebooks ---------------------------------------------------------------------


def visitation_by_horizon(
    *,
    horizons: Sequence[int] = (1, 2, 3, 4, 6, 8, 10, 12),
    families: Sequence[str] = ("mixing", "token_tree", "fork"),
    policies: int = 100,
    seed: int = 1,
) -> pd.DataFrame:
    """Return the two first-order terms of dH for policy-gradient steps on random problems.

    Families:

    - ``mixing``: 8 states, 4 actions, dense random transitions: a state says little of the next.
    - ``token_tree``: two tokens, each prefix with logits of its own, 0/1 reward at the leaves.
    - ``fork``: the first token decides between a nearly certain and an undecided continuation,
      which then goes on to the end; 0/1 reward for the branch. The worst case for Lemma 1.

    One row a policy: family, horizon, policy, policy_term, visitation_term (nats per unit of eta).

    >>> frame = visitation_by_horizon(horizons=(1, 2), families=("fork",), policies=2)
    >>> frame["visitation_term"].abs().gt(0).tolist()  # a single token has no later one
    [False, False, True, True]
    """
    horizons = count_list("horizons", horizons)
    whole_number("policies", policies, least=1)
    whole_number("seed", seed)
    if unknown := [family for family in families if family not in _FAMILIES]:
        raise unknown_name("family", unknown[0], _FAMILIES)
    rows = []
    for family, horizon, policy in product(families, horizons, range(policies)):
        stream = np.random.default_rng([seed, horizon, policy])
        mdp, logits, rewards = _FAMILIES[family](stream, horizon)
        change = mdp_entropy_change(mdp, logits, mdp_policy_gradient(mdp, logits, rewards))
        terms = change.policy_first_order, change.visitation_first_order
        rows.append((family, horizon, policy, *terms))
    columns = ["family", "horizon", "policy", "policy_term", "visitation_term"]
    return pd.DataFrame(rows, columns=columns)


def visitation_summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Return, by family and horizon, how much Lemma 1 leaves out.

    ``ratio`` is the root mean square of the visitation term over that of the policy term,
    ``wrong_sign_fraction`` the share of policies for which Lemma 1 has the sign of dH wrong.
    """
    policy, visitation = frame["policy_term"], frame["visitation_term"]
    squares = frame[["family", "horizon"]].assign(
        policy=policy**2,
        visitation=visitation**2,
        wrong_sign_fraction=policy * (policy + visitation) < 0,
    )
    means = squares.groupby(["family", "horizon"], sort=False).mean()
    means.insert(0, "ratio", np.sqrt(means.pop("visitation") / means.pop("policy")))
    return means.reset_index()


def scale_by_success(
    group_sizes: Sequence[int] = (2, 4, 8, 64), points: int = 99, std_ddof: int = 0
) -> pd.DataFrame:
    """Return the factor that GRPO puts on Theorem 1's step: group_size, success_probability, scale.

    >>> scale_by_success((2,), points=1).round(12).values.tolist()
    [[2.0, 0.5, 1.0]]
    """
    group_sizes, points = count_list("group_sizes", group_sizes), whole_number("points", points)
    success = np.arange(1, points + 1) / (points + 1)
    rows = [(k, p, group_scale(p, k, std_ddof=std_ddof)) for k in group_sizes for p in success]
    return pd.DataFrame(rows, columns=["group_size", "success_probability", "scale"])


def sampled_against_expected(
    *, eta: float = 0.3, actions: int = 4, group_sizes: Sequence[int] = (2, 4, 8, 16), seed: int = 1
) -> pd.DataFrame:
    """Return E[dH] of sampled steps beside Theorem 1's, by estimator and group size, exactly.

    One random policy with normal logits, whose second-rarest action is the right one. Columns:
    estimator, group_size, expected_change (E[dH] over draws), theorem1 (Theorem 1 for the step that
    the estimator takes on average, nats), noise_change (their difference: the entropy spent or
    gained by the second order, mostly noise), no_signal_fraction.
    """
    eta, group_sizes = real_number("eta", eta), count_list("group_sizes", group_sizes)
    if eta == 0.0:
        raise bad_value("eta", eta, "give a step that moves the policy")
    whole_number("actions", actions, least=2)
    logits = np.random.default_rng(whole_number("seed", seed)).standard_normal(actions)
    rewards = np.zeros(actions)
    rewards[np.argsort(logits)[1]] = 1.0
    plain = policy_gradient_step(logits, rewards, eta)
    whole_step = float(theorem1(logits, rewards, eta))
    rows = []
    for estimator, size in product(ESTIMATORS, group_sizes):
        step = enumerate_steps(logits, rewards, eta, estimator=estimator, group_size=size)
        predicted = whole_step * (step.mean @ plain / (plain @ plain))
        change = step.entropy_change_nats
        noise = change - predicted
        rows.append((estimator, size, change, predicted, noise, step.no_signal_fraction))
    columns = ["estimator", "group_size", "expected_change", "theorem1", "noise_change"]
    return pd.DataFrame(rows, columns=[*columns, "no_signal_fraction"])


def _mixing(stream: np.random.Generator, horizon: int):
    states, actions = 8, 4
    transitions = stream.dirichlet(np.ones(states), size=(states, actions))
    mdp = Mdp(transitions, np.full(states, 1.0 / states), horizon)
    sharpness = stream.uniform(0.0, 4.0, size=(states, 1))
    logits = sharpness * stream.standard_normal((states, actions))
    return mdp, logits, stream.standard_normal((states, actions))


def _token_tree(stream: np.random.Generator, horizon: int):
    mdp = token_tree(vocabulary=2, length=horizon)
    states = len(mdp.start)
    rewards = np.zeros((states, 2))
    first_leaf = 2 ** (horizon - 1) - 1
    rewards[first_leaf:] = stream.integers(0, 2, size=(states - first_leaf, 2))
    return mdp, 1.5 * stream.standard_normal((states, 2)), rewards


def _fork(stream: np.random.Generator, horizon: int):
    mdp = Mdp(np.array([[1, 2], [1, 1], [2, 2]]), np.array([1.0, 0.0, 0.0]), horizon)
    logits = np.array([[0.0, 0.0], [6.0, 0.0], [0.0, 0.0]]) + stream.standard_normal((3, 2))
    rewards = np.zeros((3, 2))
    rewards[0, stream.integers(2)] = 1.0
    return mdp, logits, rewards


_FAMILIES = {"mixing": _mixing, "token_tree": _token_tree, "fork": _fork}
