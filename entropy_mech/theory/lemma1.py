"""Lemma 1 over many random policies: one tidy row a policy and step size, and its summary."""

from __future__ import annotations

import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from entropy_mech.errors import (
    UserError,
    bad_value,
    number_list,
    real_number,
    unknown_name,
    whole_number,
)
from entropy_mech.theory.softmax import as_rows, centred, softmax_policy
from entropy_mech.theory.step import UPDATES as GRADIENT_UPDATES
from entropy_mech.theory.step import bound_for_scales, exact_change, step_for, taylor_terms

# -- The check -----------------------------------------------------------------------------------

UPDATES = (*GRADIENT_UPDATES, "random")
# Of standard deviation 1.
LOGIT_DISTRIBUTIONS = {
    "normal": lambda stream, n: stream.standard_normal(n),
    "uniform": lambda stream, n: stream.uniform(-np.sqrt(3.0), np.sqrt(3.0), n),
    "laplace": lambda stream, n: stream.laplace(scale=np.sqrt(0.5), size=n),
}
# Two decades in which both log-log lines are straight. Below about 1e-4 the third-order error of a
# flat policy of 1,000 actions (its steps are eta / 1,000) is about 1e-16 of the first-order term,
# the rounding of the exact change; above about 0.3 the next power of eta is not small.
DEFAULT_ETAS = tuple(np.logspace(-3.0, -1.0, 7).tolist())
_TORN = (zipfile.BadZipFile, zlib.error)  # what NumPy raises for an .npz that is cut off
_CHUNK_ELEMENTS = 1 << 17  # a megabyte an array: stays in the cache


def verify_lemma1(
    *,
    policies: int = 1000,
    actions: tuple[int, int] = (2, 1000),
    etas: tuple[float, ...] = DEFAULT_ETAS,
    update: str = "policy_gradient",
    logit_scale: float = 1.0,
    logit_distribution: str = "normal",
    logits: np.ndarray | None = None,
    advantages: np.ndarray | None = None,
    policies_file: str | Path = "",
    seed: int = 1,
    threads: int = 1,
) -> pd.DataFrame:
    """Compare dH of one step with Lemma 1 on random policies, or on the policies given.

    Each policy has a number of actions drawn log-uniformly from ``actions`` (both ends included),
    logits of standard deviation ``logit_scale`` and normal advantages; policy i is a pure function
    of (seed, i). ``update`` is the step: ``policy_gradient`` (Prop. 1), ``natural_gradient``
    (Theorem 2) or ``random`` (the advantages are the change of the logits: Lemma 1 alone). With
    ``logits`` and ``advantages``, both ``(n, A)``, or a ``policies_file`` (``load_policies``),
    those are taken instead.

    Returns one row a policy and eta: policy, actions, entropy_nats, eta, exact, first_order,
    second_order (nats), first_order_bound and second_order_bound (``remainder_bound``),
    first_order_error and second_order_error (absolute). ``error_slopes`` and
    ``bound_violations`` summarise it. Raises ``UserError`` for a value out of range.

    >>> frame = verify_lemma1(policies=3, actions=(2, 5))
    >>> len(frame), bool(frame.first_order_error.gt(frame.second_order_error).all())
    (21, True)
    """
    whole_number("seed", seed)
    whole_number("threads", threads, least=1)
    etas = _check(policies, actions, etas, update, logit_scale, logit_distribution)
    if policies_file:
        logits, advantages = load_policies(policies_file)
    if logits is not None or advantages is not None:
        jobs = list(_given(logits, advantages))
    else:
        sizes = _sizes(seed, policies, actions)
        same_size = ((n, np.nonzero(sizes == n)[0]) for n in np.unique(sizes))
        jobs = [(chunk, int(n)) for n, index in same_size for chunk in _chunks(index, n)]

    def work(job):
        index, source = job
        if isinstance(source, int):
            source = _draw(seed, index, source, logit_scale, logit_distribution)
        return _measure(index, *source, etas, update)

    with ThreadPoolExecutor(threads) as pool:
        parts = list(pool.map(work, jobs))
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    frame = pd.DataFrame(columns).sort_values(["policy", "eta"], ignore_index=True, kind="stable")
    frame["first_order_error"] = (frame.exact - frame.first_order).abs()
    frame["second_order_error"] = (frame.exact - frame.second_order).abs()
    return frame


def step_sizes(eta_min: float, eta_max: float, count: int) -> tuple[float, ...]:
    """Return ``count`` step sizes from ``eta_min`` to ``eta_max``, evenly spaced in log eta.

    >>> [round(eta, 6) for eta in step_sizes(0.001, 0.1, 3)]
    [0.001, 0.01, 0.1]
    """
    real_number("eta_min", eta_min)
    real_number("eta_max", eta_max)
    if not 0.0 < eta_min < eta_max < np.inf:
        raise bad_value("eta_min, eta_max", (eta_min, eta_max), "give 0 < eta_min < eta_max")
    if whole_number("eta_count", count) < 2:
        raise bad_value("eta_count", count, "give at least 2: a slope needs two points")
    return tuple(np.geomspace(eta_min, eta_max, count).tolist())


def load_policies(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Read ``logits`` and ``advantages``, both ``(n, A)``, from an .npz file.

    Write one with ``numpy.savez("mine.npz", logits=..., advantages=...)``. A single policy may be
    one-dimensional. Raises ``UserError`` if the file or one of the two arrays is missing.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            missing = {"logits", "advantages"} - set(arrays)
            if missing:
                fix = f"save {min(missing)}= in it too (.npz)"
                raise bad_value("policies_file", str(path), fix)
            return arrays["logits"], arrays["advantages"]
    except (OSError, ValueError, AttributeError, TypeError, EOFError, *_TORN) as error:
        fix = f"give an .npz with logits and advantages ({error})"
        raise bad_value("policies_file", str(path), fix) from None


def _measure(index, logits, advantages, etas, update) -> dict[str, np.ndarray]:
    policy = softmax_policy(logits)
    direction = advantages if update == "random" else step_for(update)(logits, advantages, 1.0)
    c = centred(policy, direction)
    first, quadratic = taylor_terms(policy, c)
    bounds = bound_for_scales(policy, c, etas)
    exact = np.stack([exact_change(policy, eta * c, eta * first) for eta in etas], axis=-1)
    first_order = etas * first[:, None]
    shape = exact.shape
    return {
        "policy": np.repeat(index, len(etas)),
        "actions": np.full(exact.size, logits.shape[-1]),
        "entropy_nats": np.repeat(policy.entropy_nats, len(etas)),
        "eta": np.broadcast_to(etas, shape).ravel(),
        "exact": exact.ravel(),
        "first_order": first_order.ravel(),
        "second_order": (first_order + etas**2 * quadratic[:, None]).ravel(),
        "first_order_bound": bounds.first_order.ravel(),
        "second_order_bound": bounds.second_order.ravel(),
    }


def _sizes(seed, policies, actions) -> np.ndarray:
    low, high = actions
    u = np.random.default_rng([seed, 0]).random(policies)
    return np.floor(np.exp(np.log(low) + u * np.log((high + 1) / low))).astype(int).clip(low, high)


def _draw(seed, index, actions, scale, distribution) -> tuple[np.ndarray, np.ndarray]:
    logits, advantages = np.empty((2, len(index), actions))
    for row, policy in enumerate(index):
        stream = np.random.default_rng([seed, 1, policy])
        logits[row] = LOGIT_DISTRIBUTIONS[distribution](stream, actions)
        advantages[row] = stream.standard_normal(actions)
    return logits * scale, advantages


def _given(logits, advantages):
    if logits is None or advantages is None:
        raise bad_value("logits, advantages", "only one of them", "give both, each (n, A)")
    logits = np.atleast_2d(as_rows("logits", logits))
    advantages = np.atleast_2d(as_rows("advantages", advantages))
    if logits.shape != advantages.shape or logits.ndim != 2 or not len(logits):
        fix = f"give the shape of the logits, {logits.shape}"
        raise bad_value("advantages.shape", advantages.shape, fix)
    for index in _chunks(np.arange(len(logits)), logits.shape[1]):
        yield index, (logits[index], advantages[index])


def _chunks(index: np.ndarray, actions: int) -> list[np.ndarray]:
    rows = max(1, _CHUNK_ELEMENTS // int(actions))
    return [index[start : start + rows] for start in range(0, len(index), rows)]


def _check(policies, actions, etas, update, logit_scale, logit_distribution) -> np.ndarray:
    if whole_number("policies", policies) < 1:
        raise bad_value("policies", policies, "give at least 1")
    sizes = number_list("actions", actions)
    if len(sizes) != 2 or not 2 <= sizes[0] <= sizes[1] or any(size % 1 for size in sizes):
        raise bad_value("actions", tuple(actions), "give (least, most) with 2 <= least <= most")
    if update not in UPDATES:
        raise unknown_name("update", update, UPDATES)
    if logit_distribution not in LOGIT_DISTRIBUTIONS:
        raise unknown_name("logit_distribution", logit_distribution, LOGIT_DISTRIBUTIONS)
    if not 0.0 < real_number("logit_scale", logit_scale) < np.inf:
        raise bad_value("logit_scale", logit_scale, "give a positive standard deviation")
    etas = np.asarray(number_list("etas", etas))
    if etas.ndim != 1 or not len(etas) or not ((etas > 0) & (etas < np.inf)).all():
        raise bad_value("etas", etas.tolist(), "give positive step sizes")
    return np.unique(etas)


# -- Its summary ---------------------------------------------------------------------------------


def error_slopes(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the log-log slopes of the errors of ``verify_lemma1`` against eta.

    One row an estimate, indexed ``first_order`` and ``second_order``: ``expected`` slope (2, 3),
    ``slope`` (the mean over policies of each policy's least-squares slope, which is the slope of
    the mean log error), its standard error, the 2.5 % and 97.5 % points over policies, and the
    number of policies with no error of exactly 0. A policy whose quadratic coefficient happens to
    be near 0 has a slope of its own: hence quantiles, not extremes.

    >>> frame = pd.DataFrame({"policy": 0, "eta": [0.1, 0.2], "first_order_error": [1.0, 4.0]})
    >>> error_slopes(frame.assign(second_order_error=[1.0, 8.0]))["slope"].round(9).tolist()
    [2.0, 3.0]
    """
    log_eta = np.log(np.sort(frame["eta"].unique()))
    if len(log_eta) < 2:
        raise bad_value("etas", len(log_eta), "give at least two step sizes for a slope")
    rows = {}
    for name, expected in (("first_order", 2.0), ("second_order", 3.0)):
        table = frame.pivot(index="policy", columns="eta", values=f"{name}_error").to_numpy()
        table = np.log(table[(table > 0.0).all(axis=1)])
        x = log_eta - log_eta.mean()
        slopes = table @ x / (x @ x)
        if not len(slopes):
            raise UserError(f"{name}_error = 0 for every policy: give policies of unequal actions")
        n = len(slopes)
        standard_error = slopes.std(ddof=1) / np.sqrt(n) if n > 1 else np.nan
        quantiles = np.quantile(slopes, [0.025, 0.975])
        rows[name] = expected, slopes.mean(), standard_error, *quantiles, n
    columns = ["expected", "slope", "standard_error", "policy_low", "policy_high", "policies"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("estimate")


def bound_violations(frame: pd.DataFrame) -> pd.Series:
    """Count the rows of ``verify_lemma1`` whose error exceeds its a-priori bound.

    1e-15 of the first-order term is allowed for: that is the rounding of the exact change, which
    for tiny steps is more than the bound itself.
    """
    allowed = 1e-15 * frame["first_order"].abs()
    counts = {
        name: int((frame[f"{name}_error"] > frame[f"{name}_bound"] + allowed).sum())
        for name in ("first_order", "second_order")
    }
    return pd.Series(counts, name="violations")
