"""Tidy tables behind the notebooks on MDPs and on sampled updates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from entropy_mech.errors import count_list, real_number, unknown_name, whole_number
from entropy_mech.theory.dynamics import policy_gradient_step
from entropy_mech.theory.mdp import Mdp, mdp_entropy_change, mdp_policy_gradient, token_tree
from entropy_mech.theory.sampling import ESTIMATORS, enumerate_steps, group_scale
from entropy_mech.theory.theorems import theorem1


def visitation_by_horizon(
    *,
    horizons: Sequence[int] = (1, 2, 3, 4, 6, 8, 10, 12),
    families: Sequence[str] = ("mixing", "token_tree", "fork"),
    policies: int = 100,
    seed: int = 1,
) -> pd.DataFrame:
    """Return the two first-order terms of dH for policy-gradient steps on random problems.

    Families:

    - ``mixing``: 8 states, 4 actions, dense random transitions. A state is forgotten at once.
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
    rows = []
    for family in families:
        if family not in _FAMILIES:
            raise unknown_name("family", family, _FAMILIES)
        for horizon in horizons:
            for policy in range(policies):
                stream = np.random.default_rng([seed, horizon, policy])
                mdp, logits, rewards = _FAMILIES[family](stream, horizon)
                step = mdp_policy_gradient(mdp, logits, rewards)
                change = mdp_entropy_change(mdp, logits, step)
                rows.append(
                    {
                        "family": family,
                        "horizon": horizon,
                        "policy": policy,
                        "policy_term": change.policy_first_order,
                        "visitation_term": change.visitation_first_order,
                    }
                )
    return pd.DataFrame(rows)


def visitation_summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Return, by family and horizon, how much Lemma 1 leaves out.

    ``ratio`` is the root mean square of the visitation term over that of the policy term,
    ``wrong_sign_fraction`` the share of policies for which Lemma 1 has the sign of dH wrong.
    """
    groups = frame.assign(
        square_policy=frame["policy_term"] ** 2,
        square_visitation=frame["visitation_term"] ** 2,
        wrong_sign=frame["policy_term"] * (frame["policy_term"] + frame["visitation_term"]) < 0,
    ).groupby(["family", "horizon"], sort=False)
    means = groups[["square_policy", "square_visitation", "wrong_sign"]].mean()
    return pd.DataFrame(
        {
            "ratio": np.sqrt(means["square_visitation"] / means["square_policy"]),
            "wrong_sign_fraction": means["wrong_sign"],
        }
    ).reset_index()


def visitation_claims(summary: pd.DataFrame) -> pd.DataFrame:
    """Return, one row a family, whether Lemma 1 alone gives dH at the longest horizon.

    Columns: family, horizon, ratio, wrong_sign_fraction, growth (the slope of log ratio against
    the log of the number of later tokens, over the upper half of the horizons; 1 is linear growth)
    and lemma1_dominates: whether the visitation term is the smaller of the two.
    """
    rows = []
    for family, part in summary[summary["horizon"] > 1].groupby("family", sort=False):
        part = part.sort_values("horizon")
        upper = part[part["horizon"] >= part["horizon"].median()]
        last = part.iloc[-1]
        rows.append(
            {
                "family": family,
                "horizon": int(last["horizon"]),
                "ratio": last["ratio"],
                "wrong_sign_fraction": last["wrong_sign_fraction"],
                "growth": np.polyfit(np.log(upper["horizon"] - 1), np.log(upper["ratio"]), 1)[0]
                if len(upper) > 1
                else np.nan,
                "lemma1_dominates": bool(last["ratio"] < 1.0),
            }
        )
    return pd.DataFrame(rows)


def scale_by_success(
    group_sizes: Sequence[int] = (2, 4, 8, 64), points: int = 99, std_ddof: int = 0
) -> pd.DataFrame:
    """Return the factor that GRPO puts on Theorem 1's step: group_size, success_probability, scale.

    >>> scale_by_success((2,), points=1).values.tolist()
    [[2.0, 0.5, 1.0]]
    """
    success = np.arange(1, points + 1) / (points + 1)
    rows = [(k, p, group_scale(p, k, std_ddof=std_ddof)) for k in group_sizes for p in success]
    return pd.DataFrame(rows, columns=["group_size", "success_probability", "scale"])


def sampled_against_expected(
    *,
    eta: float = 0.3,
    actions: int = 4,
    group_sizes: Sequence[int] = (2, 4, 8, 16),
    seed: int = 1,
) -> pd.DataFrame:
    """Return E[dH] of sampled steps beside Theorem 1's, by estimator and group size, exactly.

    One random policy with normal logits, the rarest-but-one action right. Columns: estimator,
    group_size, expected_change (E[dH] over draws), theorem1 (Theorem 1 for the step that the
    estimator takes on average, nats), noise_change (their difference: the entropy spent or gained
    by the second order, mostly noise), no_signal_fraction.
    """
    eta, group_sizes = real_number("eta", eta), count_list("group_sizes", group_sizes)
    logits = np.random.default_rng(whole_number("seed", seed)).standard_normal(actions)
    rewards = np.zeros(actions)
    rewards[np.argsort(logits)[1]] = 1.0
    plain = policy_gradient_step(logits, rewards, eta)
    rows = []
    for estimator in ESTIMATORS:
        for size in group_sizes:
            step = enumerate_steps(logits, rewards, eta, estimator=estimator, group_size=size)
            scale = step.mean @ plain / (plain @ plain)
            predicted = float(theorem1(logits, rewards, eta)) * scale
            rows.append(
                {
                    "estimator": estimator,
                    "group_size": size,
                    "expected_change": step.entropy_change_nats,
                    "theorem1": predicted,
                    "noise_change": step.entropy_change_nats - predicted,
                    "no_signal_fraction": step.no_signal_fraction,
                }
            )
    return pd.DataFrame(rows)


def _mixing(stream: np.random.Generator, horizon: int):
    states, actions = 8, 4
    mdp = Mdp(
        stream.dirichlet(np.ones(states), size=(states, actions)),
        np.full(states, 1.0 / states),
        horizon,
    )
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
