"""A run's token records, its tokenizer and its problems, for looking at."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, lru_cache

import numpy as np

from entropy_mech.figures.explore_tokens import colour_scale, responses_html
from entropy_mech.problems.problem import Problem
from entropy_mech.runs.store import Run

_SHOWN_AT_ONCE = 16


class TokenView:
    """One run's token records, read when they are first shown."""

    def __init__(self, run: Run):
        self.run, self.steps = run, run.token_steps()
        self.record = lru_cache(maxsize=4)(run.tokens)
        self.problems = lru_cache(maxsize=1)(lambda: _toy_problems(run))

    @cached_property
    def text_of(self) -> Callable[[int], str]:
        """What makes text of a token id: the exported policy's tokenizer, else the id itself."""
        return _texts(self.run)

    def page(self, name: str, step: int, colouring: str, prompt: int) -> str:
        """Return the responses to one prompt of the last kept step up to ``step``, as HTML.

        ``prompt`` counts the record's prompts in the order of the rollout; beyond them, the last.
        """
        kept = max((s for s in self.steps if s <= step), default=self.steps[0])
        record = self.record(kept)
        if not len(record["problem"]):
            return f"<p>{name}, step {kept}: no trained token</p>"
        _, places = np.unique(record["problem"], return_index=True)
        problems = record["problem"][np.sort(places)]
        problem = int(problems[min(prompt, len(problems) - 1)])
        rows = np.flatnonzero(record["problem"] == problem)[:_SHOWN_AT_ONCE]
        asked = self.problems()[problem].prompt if self.run.config.toy else ""
        return responses_html(
            record, rows, self.text_of, colouring=colouring, prompt=asked,
            scale=colour_scale(self.record(self.steps[0]), colouring),
            title=f"{name}, step {kept}, problem {problem} of the training set",
        )  # fmt: skip


def _toy_problems(run: Run) -> list[Problem]:
    from entropy_mech.train.tasks import load_tasks

    return load_tasks(run.config).training


def _texts(run: Run) -> Callable[[int], str]:
    model = run.newest_model()
    if model is None or not (model / "tokenizer.json").is_file():
        return lambda token: f"[{token}]"
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    return lru_cache(maxsize=None)(
        lambda token: tokenizer.decode([token], skip_special_tokens=False)
    )
