"""Rank 0 alone loads, filters and encodes the problems; the others get what they need of them."""

import pickle

import numpy as np
import pytest

from entropy_mech.errors import UserError
from entropy_mech.train.distributed import Ranks
from entropy_mech.train.pretrain import base_model
from entropy_mech.train.tasks import Prompts, Tasks, load_tasks
from tests.conftest import tiny


class First(Ranks):
    """Rank 0, which keeps what it tells the others."""

    told = None

    def from_first(self, value):
        self.told = pickle.loads(pickle.dumps(value))
        return value


class Second(Ranks):
    """Rank 1, which is told what rank 0 had to say."""

    first = False

    def __init__(self, told):
        super().__init__()
        self.told = told

    def from_first(self, value):
        assert value is None
        return self.told


def _rows(encoded):
    return [tuple(row.tolist()) for row in encoded.prompts]


@pytest.fixture
def prompts(store):
    return Prompts(base_model(store.root, tiny())[1], tiny())


def test_the_others_load_nothing_and_hold_prompts_without_problems(prompts, monkeypatch):
    tasks, first = load_tasks(tiny()), First()
    here = prompts.of_tasks(tasks, first)
    assert _rows(here) == prompts.encode(tasks.training)
    assert here.training == list(tasks.training)
    monkeypatch.setattr(prompts, "encode", None)
    second = Second(first.told)
    there = prompts.of_tasks(None, second)
    assert _rows(there) == _rows(here)
    assert there.training == [None] * len(here.training)
    assert there.longest == here.longest
    assert there.validation == here.validation
    second.told = None
    assert second.on_first(lambda: pytest.fail("rank 0 alone loads")) is None


def test_prompts_that_are_too_long_go_with_their_problems(prompts):
    tasks = load_tasks(tiny())
    lengths = [len(row) for row in prompts.encode(tasks.training)]
    prompts.longest = int(np.median(lengths))
    here = prompts.of_tasks(tasks, Ranks())
    kept = [p for p, n in zip(tasks.training, lengths, strict=True) if n <= prompts.longest]
    assert 0 < len(kept) < len(lengths)
    assert here.training == kept
    assert _rows(here) == prompts.encode(kept)


def test_no_prompt_short_enough_is_said_on_every_rank(prompts):
    prompts.longest = 1
    first = First()
    for ranks in (first, Second(None)):
        ranks.told = first.told
        with pytest.raises(UserError, match=r"max_prompt_tokens = 1: no training prompt is so"):
            prompts.of_tasks(load_tasks(tiny()), ranks)


def test_a_toy_has_its_problems_in_order(prompts):
    tasks = Tasks(load_tasks(tiny()).training[:3], ())
    assert prompts.of_tasks(tasks, Ranks()).training == list(tasks.training)
