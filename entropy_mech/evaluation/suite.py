"""Evaluate one model on benchmarks, sample by sample, so that a killed evaluation goes on."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from entropy_mech.errors import UserError, bad_value
from entropy_mech.evaluation.load import newest_policy, open_sampler
from entropy_mech.grading import GradingPool, Verdict
from entropy_mech.grading.alarm import ErrorAlarm
from entropy_mech.problems import Problem
from entropy_mech.problems.benchmarks import Protocol, load_sets
from entropy_mech.problems.grading import grade_many
from entropy_mech.problems.tripwire import Tripwire
from entropy_mech.random_streams import stream_key
from entropy_mech.runs.evaluations import evaluation_folder, scored
from entropy_mech.runs.store import MetricsFile, Run, environment, folder_lock, now, write_json
from entropy_mech.sampling.sampler import Sampler, SamplingRequest, response_texts

# -- The evaluation ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Score:
    """A benchmark's result: avg@k over the problems, with its standard error."""

    benchmark: str
    problems: int
    samples: int
    accuracy: float
    standard_error: float
    verdicts: dict[str, int]
    protocol: dict[str, Any]
    # Answers of this benchmark, and of those measured before it, that tripped the wire here.
    answers_right_for_different_references: int = 0


class Evaluation:
    """A folder with one JSONL file a benchmark; a line is one graded sample.

    The random numbers of a sample are named by (seed, benchmark, problem, sample), so that it
    matters neither in which batch it is drawn nor whether the evaluation was stopped before it.
    ``sampled_by`` says whose random numbers they are: ``torch`` or ``vllm`` draw differently, and
    a file holds samples of one of them.
    """

    def __init__(
        self,
        folder: Path,
        sampler: Sampler,
        tokenizer: PreTrainedTokenizerBase,
        *,
        seed: int = 1,
        batch_size: int = 64,
        pool: GradingPool | None = None,
        sampled_by: str = "torch",
    ):
        self.folder, self.sampler, self.tokenizer = folder, sampler, tokenizer
        self.seed, self.batch_size, self.pool = seed, batch_size, pool
        self.sampled_by = sampled_by
        self.tripwire = Tripwire()
        folder.mkdir(parents=True, exist_ok=True)

    def run(
        self,
        name: str,
        problems: Sequence[Problem],
        protocol: Protocol,
        report: Callable[[int, int], None] = lambda done, total: None,
    ) -> Score:
        """Sample and grade what is missing of a benchmark, and return its score.

        ``report`` is called with the samples done and their total after each batch.
        """
        file = MetricsFile(self.folder / f"{name}.jsonl")
        self._check_same(name, file, problems, protocol)
        self._drop_unjudged(file)
        done = {(row["problem"], row["sample"]) for row in self._rows(file)}
        wanted = [(p, s) for p in range(len(problems)) for s in range(protocol.samples)]
        missing = [pair for pair in wanted if pair not in done]
        for start in range(0, len(missing), self.batch_size):
            batch = missing[start : start + self.batch_size]
            for row in self._sample(name, problems, protocol, batch):
                file.append(row)
            file.sync()
            report(len(wanted) - len(missing) + start + len(batch), len(wanted))
        rows = sorted(self._rows(file), key=lambda row: (row["problem"], row["sample"]))
        tripped = self._watch(problems, rows)
        return replace(_score(name, rows, protocol), answers_right_for_different_references=tripped)

    def _watch(self, problems: Sequence[Problem], rows: Sequence[dict[str, Any]]) -> int:
        """Show all graded samples to alarm and tripwire; return how many answers tripped it.

        Raises:
            GraderAlarm: a share of the samples above the bound could not be judged.

        """
        verdicts = [Verdict(row["verdict"], row["reason"]) for row in rows]
        ErrorAlarm(window=max(len(rows), 20)).watch(verdicts)
        before = self.tripwire.answers
        asked = [problems[row["problem"]] for row in rows]
        self.tripwire.watch(asked, [row["response"] for row in rows], verdicts)
        return self.tripwire.answers - before

    def _drop_unjudged(self, file: MetricsFile) -> None:
        """Drop a line cut off by a kill, and what no grader could judge: they are drawn again."""
        rows = self._rows(file)
        judged = [row for row in rows if row["verdict"] != "error"]
        file.truncate(len(rows) if len(judged) == len(rows) else 0)
        if len(judged) < len(rows):
            for row in judged:
                file.append(row)

    def _sample(self, name, problems, protocol: Protocol, batch) -> list[dict[str, Any]]:
        problem, sample = np.array(batch).T
        benchmark = zlib.crc32(name.encode())
        keys = stream_key("benchmark", self.seed, benchmark, problem, sample)
        prompts = self.tokenizer([problems[p].prompt for p in problem])["input_ids"]
        out = self.sampler.sample(
            [SamplingRequest(tuple(p), int(key)) for p, key in zip(prompts, keys, strict=True)],
            temperature=protocol.temperature,
            max_new_tokens=protocol.max_new_tokens,
        )
        texts = response_texts(self.tokenizer, out.tokens, out.response_mask)
        verdicts = grade_many([problems[p] for p in problem], texts, self.pool)
        return [
            {
                "problem": int(p),
                "sample": int(s),
                "verdict": verdict.name,
                "reason": verdict.reason,
                "tokens": int(mask.sum()),
                "response": text,
            }
            for p, s, verdict, mask, text in zip(
                problem, sample, verdicts, out.response_mask, texts, strict=True
            )
        ]

    def _check_same(self, name, file: MetricsFile, problems, protocol: Protocol) -> None:
        """Refuse to add to samples of other problems or of another protocol."""
        texts = "\n".join(f"{p.prompt}\t{p.reference}" for p in problems)
        # torch is not named: it was the only one when the first of these files were written.
        other = {} if self.sampled_by == "torch" else {"sampled_by": self.sampled_by}
        asked = {"problems": zlib.crc32(texts.encode()), "seed": self.seed, **other}
        description = json.dumps({**asked, **_as_table(protocol)}, sort_keys=True)
        note = self.folder / f"{name}.protocol.json"
        if note.exists() and note.read_text() != description:
            raise UserError(
                f"evaluation = {file.path}: holds samples of other problems or settings; "
                "remove it or give another --out"
            )
        temporary = note.with_name(f"tmp-{os.getpid()}-{note.name}")
        temporary.write_text(description)
        os.replace(temporary, note)

    @staticmethod
    def _rows(file: MetricsFile) -> list[dict[str, Any]]:
        return [json.loads(line) for line in file.lines()]


def _score(name: str, rows: Sequence[dict[str, Any]], protocol: Protocol) -> Score:
    count = max(row["problem"] for row in rows) + 1
    rewards = np.zeros((count, protocol.samples))
    verdicts: dict[str, int] = {}
    for row in rows:
        rewards[row["problem"], row["sample"]] = row["verdict"] == "correct"
        verdicts[row["verdict"]] = verdicts.get(row["verdict"], 0) + 1
    by_problem = rewards.mean(axis=1)
    error = by_problem.std(ddof=1) / np.sqrt(count) if count > 1 else float("nan")
    return Score(
        benchmark=name,
        problems=count,
        samples=protocol.samples,
        accuracy=float(by_problem.mean()),
        standard_error=float(error),
        verdicts=verdicts,
        protocol=_as_table(protocol),
    )


def _as_table(protocol: Protocol) -> dict[str, Any]:
    return asdict(protocol)


# -- A run's final policy ------------------------------------------------------------------------

_LEAST_BATCH = 256  # a toy's sequences are short


def evaluate_run(run: Run, group: str) -> Path:
    """Measure a run's newest policy and return its ``scores.json``; what is there is kept.

    Raises:
        UserError: the run has no policy yet, or a benchmark cannot be loaded.

    """
    folder = evaluation_folder(run, group)
    if folder is None:
        raise bad_value("run", run.path.name, "has no policy yet: train it first")
    result = folder / "scores.json"
    with folder_lock(folder.with_suffix(".lock")):
        if not scored(folder):
            scores = _measure(run, folder, group)
            step = int(run.newest_model().name.removeprefix("step_"))
            written = {"group": group, "step": step, "scores": scores, "made": now()}
            write_json(result, {**written, **environment()})
    return result


def _measure(run: Run, folder: Path, group: str) -> list[dict]:
    sets, _ = load_sets([group])
    total = sum(len(one.problems) * one.protocol.samples for one in sets)
    scores, behind = [], 0
    with open_sampler(newest_policy(run), sets) as opened, GradingPool(workers=1) as pool:
        evaluation = Evaluation(
            folder,
            opened.sampler,
            opened.tokenizer,
            batch_size=max(opened.batch_size, _LEAST_BATCH),
            pool=pool,
            sampled_by=opened.kind,
        )
        for one in sets:
            score = evaluation.run(one.name, one.problems, one.protocol)
            scores.append(asdict(score))
            behind += len(one.problems) * one.protocol.samples
            write_json(folder / "status.json", {"done": behind, "total": total})
    return scores
