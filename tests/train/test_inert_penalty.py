"""KL-Cov's warning is of a whole mini-batch, not of a micro-batch with few chosen tokens."""

import warnings
from dataclasses import replace

import pytest
import torch

from entropy_mech.objectives import InertPenaltyWarning
from entropy_mech.train.distributed import Ranks
from entropy_mech.train.pretrain import build_engine
from entropy_mech.train.update import update_policy
from tests.conftest import KL_COV, TINY
from tests.invariants.world import PROMPTS, RESPONSES, make_batch, make_model


def _update(learning_rate, unmoved_rows=0):
    """Two optimizer steps in micro-batches of one row; some rows' old values are the new ones."""
    from entropy_mech.config.files import make_config

    config = make_config(
        {
            **TINY,
            "rollout": {"prompts": PROMPTS, "responses": RESPONSES},
            "update": {
                "updates_per_rollout": 2,
                "optimizer": "sgd",
                "learning_rate": learning_rate,
                "micro_batch_size": 1,
            },
            "loss": KL_COV,
        }
    )
    engine = build_engine(make_model(), config.engine, config.update, Ranks())
    batch = make_batch(engine)
    generator = torch.Generator().manual_seed(0)
    advantages = torch.randn(len(batch), 1, generator=generator).expand(batch.tokens.shape)
    batch = replace(batch, advantages=advantages * batch.response_mask)
    forward = engine.forward
    if unmoved_rows:  # as if rounding had hidden the move of these rows

        def hiding(micro, **settings):
            logp, entropy = forward(micro, **settings)
            unmoved = (micro.problem < unmoved_rows).unsqueeze(1)
            return torch.where(unmoved, micro.logp_old + 0 * logp, logp), entropy

        engine.forward = hiding
    return update_policy(engine, batch, config, 7)


def test_rows_that_do_not_move_among_others_that_do_are_no_reason_to_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error", InertPenaltyWarning)
        _update(0.3, unmoved_rows=PROMPTS // 2)


def test_a_mini_batch_in_which_nothing_moved_is_named():
    message = r"KL-Cov did nothing in update 2 of step 7: .*learning_rate = 0.3 moves few"
    with pytest.warns(InertPenaltyWarning, match=message) as caught:
        _update(0.3, unmoved_rows=PROMPTS)
    assert len([one for one in caught if one.category is InertPenaltyWarning]) == 1
