"""Training problems, validation sets, prompts as token ids, and the grader of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from entropy_mech.config import ProblemsConfig, TrainConfig
from entropy_mech.errors import UserError
from entropy_mech.grading import GradingPool, Verdict
from entropy_mech.grading.verdict import ErrorAlarm
from entropy_mech.problems import Problem
from entropy_mech.problems.benchmarks import BenchmarkSet, load_benchmark, protocol
from entropy_mech.problems.grading import grade_many, has_readings, needs_pool, readings
from entropy_mech.problems.sources import load_training_sets, overlaps
from entropy_mech.problems.toy import SEEDED
from entropy_mech.problems.tripwire import Tripwire
from entropy_mech.train.distributed import Ranks


@dataclass(frozen=True)
class Tasks:
    """The problems of a run; a validation set has no protocol where the run says how."""

    training: Sequence[Problem]
    validation: Sequence[BenchmarkSet]


@dataclass(frozen=True)
class EncodedTasks:
    """The problems of a run whose prompts are short enough, and those prompts as token ids.

    Attributes:
        training: on rank 0, which grades; elsewhere None stands for each problem.
        prompts: of the training problems; arrays, since half a million lists take gigabytes.
        validation: the held-out problems.
        longest: tokens of the longest prompt, those of validation included.

    """

    training: Sequence[Problem | None]
    prompts: Sequence[NDArray[np.int32]]
    validation: Sequence[BenchmarkSet]
    longest: int


def load_tasks(config: TrainConfig, say: Callable[[str], None] = print) -> Tasks:
    """Return a run's problems: toys made from the seed, or data sets.

    Raises:
        UserError: an impossible problem set, or data that cannot be loaded.

    """
    asked = config.problems
    if isinstance(asked, ProblemsConfig):
        kind = SEEDED[asked.domain]
        training = kind.training_set(config.seed, asked.train_size, asked.level_shares)
        # The same held-out problems for every seed, so that seeds compare like with like.
        held_out = kind.validation_set(0, asked.validation_counts)
        return Tasks(training, (BenchmarkSet(asked.domain, held_out, None),))
    folder = asked.data_dir or None
    loaded = load_training_sets(asked.training_sets, folder)
    say(
        f"{loaded.name}: {len(loaded)} problems of {loaded.rows} rows from {loaded.origin} "
        f"({loaded.repeats} repeats, {loaded.contradictions} with contradicting answers)"
    )
    benchmarks = [load_benchmark(name, folder) for name in asked.validation]
    copies: set[str] = set()
    for benchmark, found in zip(benchmarks, overlaps(loaded, benchmarks), strict=True):
        copies |= {o.training_id for o in found}
        say(f"{benchmark.name}: {len(found)} of {len(benchmark)} problems stand in {loaded.name}")
    dropped = copies if asked.drop_benchmark_problems else set()
    limit = asked.validation_limit
    return Tasks(
        [problem for problem in loaded.problems if problem.id not in dropped],
        [  # by the benchmark's own name: its rows may be a part of a set of another
            BenchmarkSet(name, benchmark.problems[:limit], protocol(name))
            for name, benchmark in zip(asked.validation, benchmarks, strict=True)
        ],
    )


class Prompts:
    """How problems become token ids: as they are, or wrapped by the tokenizer's chat template."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, config: TrainConfig):
        self.tokenizer = tokenizer
        self.chat = getattr(config.problems, "chat_template", False)
        self.longest = getattr(config.problems, "max_prompt_tokens", None)
        if self.chat and not getattr(tokenizer, "chat_template", None):
            raise UserError(
                "problems.chat_template = true: this tokenizer has no chat template; give false"
            )
        if self.chat:
            self._check_template()

    def _check_template(self) -> None:
        """Refuse a template that cannot be rendered or loses the problem; templates raise anything.

        Raises:
            UserError: such a template.

        """
        try:
            lost = "17 + 4" not in self._wrapped("17 + 4")
            why = "it loses the user's message"
        except Exception as error:
            lost, why = True, " ".join(f"{type(error).__name__}: {error}".split())[:300]
        if lost:
            raise UserError(
                f"problems.chat_template = true: this tokenizer's chat template cannot be used "
                f"({why}); mend it in the model's folder, or give false"
            )

    def _wrapped(self, text: str) -> str:
        return self.tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
        )

    def encode(self, problems: Sequence[Problem]) -> list[tuple[int, ...]]:
        """Return the prompts' token ids."""
        texts = [problem.prompt for problem in problems]
        if self.chat:
            texts = [self._wrapped(text) for text in texts]
        ids = self.tokenizer(texts, add_special_tokens=not self.chat)["input_ids"]
        return [tuple(row) for row in ids]

    def of_tasks(self, tasks: Tasks | None, ranks: Ranks) -> EncodedTasks:
        """Encode the prompts of a run's problems on rank 0, and give them to all ranks.

        Raises:
            UserError: on all ranks, where no training prompt is short enough.

        """
        problems: list[Problem] = []

        def encode() -> EncodedTasks:
            pairs = list(zip(tasks.training, self.encode(tasks.training), strict=True))
            if self.longest is not None:
                pairs = [(problem, ids) for problem, ids in pairs if len(ids) <= self.longest]
                if not pairs:
                    raise UserError(
                        f"problems.max_prompt_tokens = {self.longest}: no training prompt is so "
                        "short"
                    )
            problems.extend(problem for problem, _ in pairs)
            prompts = [np.array(ids, dtype=np.int32) for _, ids in pairs]
            held_out = [ids for v in tasks.validation for ids in self.encode(v.problems)]
            longest = max(map(len, [*(ids for _, ids in pairs), *held_out]))
            return EncodedTasks([None] * len(prompts), prompts, tasks.validation, longest)

        encoded = ranks.of_first(encode)
        return replace(encoded, training=problems) if ranks.first else encoded


class Grader:
    """Grades on rank 0, by the problems' own graders or a pool of warm ones, for all ranks.

    Its tripwire watches all graded answers, in training and validation, on rank 0 alone.
    """

    def __init__(self, ranks: Ranks):
        self.ranks = ranks
        self.pool: GradingPool | None = None
        self.alarm, self.tripwire = ErrorAlarm(), Tripwire()

    def __call__(self, problems: Sequence[Problem], texts: Sequence[str]) -> list[Verdict]:
        """Return one verdict a response, in order, on every rank.

        Raises:
            GraderAlarm: on every rank, where too many verdicts are ``error``.

        """
        graded = self.ranks.from_first(self._grade(problems, texts) if self.ranks.first else None)
        self.alarm.watch(graded)
        if self.ranks.first:
            self.tripwire.watch(problems, texts, graded)
        return graded

    def readings(
        self, problems: Sequence[Problem], texts: Sequence[str], verdicts: Sequence[Verdict]
    ) -> dict[str, NDArray[np.bool_]]:
        """Read graded responses in further ways (``problems.grading.readings``), on every rank.

        Empty for problems that have one reading. The texts are rank 0's.
        """
        return self.ranks.of_first(
            lambda: (
                readings(problems, texts, verdicts, self._grade) if has_readings(problems) else {}
            )
        )

    def _grade(self, problems: Sequence[Problem], texts: Sequence[str]) -> list[Verdict]:
        if needs_pool(problems):
            # The pool's own alarm would raise on rank 0 alone, and the other ranks would wait.
            self.pool = self.pool or GradingPool(error_limit_fraction=1.0)
        return grade_many(problems, texts, self.pool)

    def close(self) -> None:
        """End the pool's processes."""
        if self.pool is not None:
            self.pool.close()
