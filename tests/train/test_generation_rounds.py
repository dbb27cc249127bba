"""Rounds of a rollout: each draws what is missing over the share that was kept before."""

import pytest
import torch
from pydantic import TypeAdapter

from entropy_mech.grading.verdict import Verdict
from entropy_mech.train.checkpoint import LoopState
from entropy_mech.train.distributed import Ranks
from entropy_mech.train.loop import train
from entropy_mech.train.pretrain import base_model
from entropy_mech.train.rollouts import RolloutBatch, RolloutMaker
from entropy_mech.train.tasks import Prompts, load_tasks
from tests.conftest import tiny

PROMPTS, RESPONSES = 8, 4


class Drawn(RolloutMaker):
    """Draws nothing: prompts at places that ``keeps`` names are mixed, the others all right."""

    def _sample(self, step, cursor, count, number):
        self.sizes.append(count)
        places = torch.arange(cursor, cursor + count).repeat_interleave(RESPONSES)
        sample = torch.arange(RESPONSES).repeat(count)
        kept = torch.tensor([self.keeps(int(place)) for place in places], dtype=torch.bool)
        rewards = torch.where(kept & (sample == 0), 0.0, 1.0)
        one = torch.ones(len(places), 1, dtype=torch.long)
        batch = RolloutBatch(one, one[:, 0], one, one.bool(), places, sample, rewards)
        return batch, torch.ones(len(places), dtype=torch.bool), [Verdict("correct")] * len(places)


@pytest.fixture
def drawn(store):
    def make(keeps, rounds, **state):
        config = tiny(
            rollout={
                "prompts": PROMPTS,
                "responses": RESPONSES,
                "max_generation_rounds": rounds,
            }
        )
        _, tokenizer = base_model(store.root, config)
        tasks = Prompts(tokenizer, config).of_tasks(load_tasks(config), Ranks())
        maker = Drawn(config, tasks, tokenizer, None, None)
        maker.sizes, maker.keeps = [], keeps
        return maker.sizes, maker.make(3, 100, **state)

    return make


def every(n):
    return lambda place: place % n == 0


@pytest.mark.parametrize(
    ("keeps", "rounds", "state", "sizes"),
    [
        # 2 of 8 are kept (places 100 and 104); 6 are missing, over a quarter.
        (every(4), 10, {}, [8, 24]),
        # The rollout before kept a quarter: one round draws all.
        (every(4), 10, {"kept_fraction": 0.25}, [32]),
        (every(1), 10, {}, [8]),
        # One round is one rollout, whatever is left of it and whatever was before.
        (every(4), 1, {"kept_fraction": 0.25}, [8]),
        # No more in all than the rounds times the rollout.
        (every(4), 3, {"kept_fraction": 0.01}, [24]),
        (lambda place: False, 3, {}, [8, 16]),
    ],
)
def test_a_round_draws_what_is_missing(drawn, keeps, rounds, state, sizes):
    found, rollout = drawn(keeps, rounds, **state)
    assert found == sizes
    assert rollout.rounds == len(sizes)
    assert rollout.cursor == 100 + sum(sizes)
    assert len(rollout.batch) == sum(sizes) * RESPONSES
    kept = [keeps(place) for place in range(100, 100 + sum(sizes))]
    assert rollout.trained.sum() == min(sum(kept), PROMPTS) * RESPONSES
    assert rollout.kept_fraction == max(sum(kept), 1) / sum(sizes)


def test_those_trained_on_are_the_first_that_were_kept(drawn):
    """Not those of the last round, of which there may be too many."""
    _, rollout = drawn(every(3), 10, kept_fraction=0.1)
    trained = rollout.batch.problem[rollout.trained].unique().tolist()
    assert trained == [place for place in range(100, 200) if place % 3 == 0][:PROMPTS]


def test_the_share_outlives_a_stop(store):
    """A resumed run draws its next rollout by the same share, and so the same problems."""
    changes = {"rollout": {"max_generation_rounds": 3}, "seed": 77}
    whole = train(tiny(steps=4, **changes), store, say=lambda text: None)
    other = type(store)(store.root / "again")
    other.root.mkdir()
    (other.root / "base_models").symlink_to(store.root / "base_models")
    train(tiny(steps=2, **changes), other, say=lambda text: None)
    resumed = train(tiny(steps=4, **changes), other, say=lambda text: None)
    assert resumed.metrics_file.lines() == whole.metrics_file.lines()
    assert len(set(whole.metrics("trained_fraction").to_numpy().ravel())) > 1


def test_a_checkpoint_without_the_share_is_read():
    assert TypeAdapter(LoopState).validate_python({"cursor": 5, "control": None}) == LoopState(
        5, None, 1.0
    )
