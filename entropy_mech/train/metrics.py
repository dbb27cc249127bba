"""What is measured: at every step, on held-out problems (R of the law), and of Lemma 1."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from entropy_mech.config import TrainConfig
from entropy_mech.objectives import group_covariance, token_covariance
from entropy_mech.problems.benchmarks import BenchmarkSet
from entropy_mech.problems.grading import READINGS
from entropy_mech.sampling.sampler import (
    EvalRequest,
    EvalResult,
    Sampler,
    evaluate_together,
    powers_of_two,
)
from entropy_mech.theory.softmax import softmax_policy
from entropy_mech.theory.step import centred_step, entropy_change, taylor_terms
from entropy_mech.train.engine import Engine
from entropy_mech.train.rollouts import Rollout, RolloutBatch
from entropy_mech.train.tasks import Grader, Prompts

# -- Metrics of a step ---------------------------------------------------------------------------


def rollout_metrics(batch: RolloutBatch, rollout: Rollout) -> dict[str, Any]:
    """Measure a rollout before the update; entropy over ``batch``, the rest over all."""
    mask, sampled = batch.response_mask, rollout.batch
    length = mask.sum(dim=1)
    counts = Counter(verdict.name for verdict in rollout.verdicts)
    return {
        # Eq. 5 with each of the two denominators that text and code use.
        "entropy_nats": batch.entropy[mask].mean().item(),
        "entropy_response_mean_nats": (batch.entropy.sum(dim=1) / length).mean().item(),
        "reward_mean": sampled.rewards.mean().item(),
        "response_length_mean": sampled.response_mask.sum(dim=1).float().mean().item(),
        "unfinished_fraction": (~rollout.finished).float().mean().item(),
        "no_answer_fraction": counts["no_answer"] / len(rollout.verdicts),
        "grader_error_fraction": (counts["error"] + counts["timeout"]) / len(rollout.verdicts),
        "generation_rounds": rollout.rounds,
    }


def logp_gap(batch: RolloutBatch) -> dict[str, float]:
    """How far the sampler's log-probabilities are from the trainer's own, in nats."""
    gap = (batch.logp_sampler - batch.logp_old)[batch.response_mask].abs()
    return {"logp_gap_mean_nats": gap.mean().item(), "logp_gap_max_nats": gap.max().item()}


def covariance_metrics(batch: RolloutBatch, responses: int) -> dict[str, Any]:
    """Covariances of the sequences that are trained on; null where there are none."""
    names = [
        f"{name}_accuracy_{k}_of_{responses}" for name in _THEOREMS for k in range(1, responses)
    ]
    metrics: dict[str, Any] = dict.fromkeys(["token_covariance", *_THEOREMS, *names])
    if not len(batch):
        return metrics
    mask = batch.response_mask
    metrics["token_covariance"] = (
        token_covariance(batch.logp_old, batch.advantages, mask)[mask].mean().item()
    )
    right = batch.rewards.view(-1, responses).sum(dim=1)
    by_prompt = group_covariance(batch.logp_old, batch.advantages, mask, responses)
    for name, theorem in zip(_THEOREMS, ("theorem1", "theorem2"), strict=True):
        values = by_prompt[theorem]
        metrics[name] = values.mean().item()
        for k in range(1, responses):
            chosen = values[right == k]
            if len(chosen):
                metrics[f"{name}_accuracy_{k}_of_{responses}"] = chosen.mean().item()
    return metrics


_THEOREMS = ("group_covariance_theorem1", "group_covariance_theorem2")


def token_record(batch: RolloutBatch, touched: Tensor | None) -> dict[str, np.ndarray]:
    """Return what is recorded of a rollout's trained tokens."""
    covariance = token_covariance(batch.logp_old, batch.advantages, batch.response_mask)
    selected = torch.zeros_like(batch.response_mask) if touched is None else touched
    tensors = {
        "problem": batch.problem,
        "sample": batch.sample,
        "reward": batch.rewards,
        "tokens": batch.tokens,
        "response_mask": batch.response_mask,
        "logp": batch.logp_old,
        "entropy_nats": batch.entropy,
        "advantage": batch.advantages,
        "covariance": covariance,
        "selected_mask": selected,
    }
    return {name: tensor.numpy() for name, tensor in tensors.items()}


# -- Validation ----------------------------------------------------------------------------------


_GREEDY = "a toy, greedily"  # no benchmark's name


class Validation:
    """Measures the policy on each validation set, as the run or the benchmark's protocol says."""

    def __init__(
        self,
        config: TrainConfig,
        sets: Sequence[BenchmarkSet],
        prompts: Prompts,
        sampler: Sampler,
        grader: Grader,
    ):
        self.config, self.sets, self.prompts = config, sets, prompts
        self.sampler, self.grader = sampler, grader

    def metrics(self, step: int) -> dict[str, Any]:
        """Return the accuracies of a step; nothing where none is due."""
        if step % self.config.validation.every:
            return {}
        graded = self._evaluate(step)
        greedy = graded.pop(_GREEDY, None)
        details, results = self._details(graded)
        errors = [result.standard_error for result in results.values()]
        metrics = {
            # The unweighted mean over benchmarks, as in the paper's tables.
            "validation_accuracy": float(np.mean([r.accuracy for r in results.values()])),
            "validation_standard_error": float(np.sqrt(np.sum(np.square(errors))) / len(errors)),
        }
        parts = {name: result.accuracy for name, result in results.items()}
        if greedy is not None:  # a toy: its levels in place of benchmarks
            (result,) = results.values()
            metrics["validation_greedy_accuracy"] = greedy.accuracy
            parts = {level.replace(" ", "_"): value for level, value in result.by_level.items()}
        parts = {f"validation_accuracy_{name}": value for name, value in parts.items()}
        return metrics | parts | details

    def _details(
        self, graded: dict[str, EvalResult]
    ) -> tuple[dict[str, float], dict[str, EvalResult]]:
        """Return what is kept beside the accuracy, as the run asks for, and the results behind R.

        Means over the sets that the question applies to; pass@k of the reading that R has.
        """
        asked, details = self.config.validation, {}
        if not asked.details and asked.reading == "graded":
            return {}, graded
        every = {name: self._readings(one) for name, one in graded.items()}
        read, results = {name: one for name, one in every.items() if one}, dict(graded)
        if asked.reading != "graded":
            for name, one in read.items():
                results[name] = graded[name].read_as(one[asked.reading])
        if asked.details:
            for name in READINGS if read else ():
                label = "form_fraction" if name == "form" else f"{name}_accuracy"
                details[label] = [one[name].mean() for one in read.values()]
            details["graded_accuracy"] = [one.accuracy for one in graded.values()]
            for k in powers_of_two(min(one.samples_per_problem for one in results.values())):
                details[f"pass_at_{k}"] = [one.pass_at(k) for one in results.values()]
        means = {f"validation_{name}": float(np.mean(each)) for name, each in details.items()}
        return means, results

    def _readings(self, result: EvalResult) -> dict[str, NDArray[np.bool_]]:
        rows = [(sample.problem, sample.response, sample.verdict) for sample in result.samples]
        return self.grader.readings(*zip(*rows, strict=True))

    def _evaluate(self, step: int) -> dict[str, EvalResult]:
        """Answer all sets in one sampling call; a toy's problems also greedily."""
        asked = {}
        for one in self.sets:
            how = one.protocol or self.config.validation
            asked[one.name] = EvalRequest(one.problems, how.temperature, how.samples)
            if one.protocol is None:
                asked[_GREEDY] = EvalRequest(one.problems, 0.0, 1)
        results = evaluate_together(
            self.sampler,
            self.prompts.tokenizer,
            list(asked.values()),
            max_new_tokens=self.config.rollout.max_new_tokens,
            stream=(self.config.seed, step),
            encode=self.prompts.encode,
            grade=self.grader,
        )
        return dict(zip(asked, results, strict=True))


# -- Lemma 1 on the transformer ------------------------------------------------------------------
# The paper's theory is tabular: a state is a prefix, an action a token. A transformer shares its
# parameters between states, so its logits need not move as a table's would. Here, at the prefixes
# of a rollout, the change of entropy by an update is compared with -Cov(log pi, dz) for the dz that
# happened (their gap is the Taylor remainder) and with the tabular predictions of Theorems 1 and 2
# (their gap is function approximation and the optimizer).


class Lemma1Probe:
    """Takes the logits before an update; ``record`` compares them with those after it."""

    def __init__(self, engine: Engine, batch: RolloutBatch):
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
