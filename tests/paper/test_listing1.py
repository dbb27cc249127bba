"""Listing 1 and the trainer's losses are one method; scopes choose as counted by hand."""

import numpy as np
import pandas as pd
import pytest
import torch

from entropy_mech.errors import UserError
from entropy_mech.paper import listing1
from entropy_mech.paper.listing1 import (
    Settings,
    TokenBatch,
    comparison,
    listing_facts,
    scopes,
    token_batches,
)

TOY = Settings(0.1, 1.0, 20.0, 0.2, 1.0)


def tokens(seeds=(1, 2), rows=64, length=6):
    """A frame like ``Report.tokens()``: responses of 3 to ``length`` tokens, constant advantage."""
    frames = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        row, position = (rng.integers(3, length + 1, rows)[:, None] > np.arange(length)).nonzero()
        frames.append(
            pd.DataFrame(
                {
                    "seed": seed,
                    "row": row,
                    "position": position,
                    "logp": -rng.exponential(size=len(row)),
                    "advantage": rng.choice([-1.5, 0.5, 1.0], rows)[row],
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def test_covariances_by_hand():
    logp, advantages = torch.tensor([-1.0, -2.0, -3.0]), torch.tensor([1.0, 1.0, -2.0])
    assert listing1.token_covariances(logp, advantages).tolist() == [1.0, 0.0, 2.0]


def test_kl_cov_by_hand():
    logp_old = torch.tensor([-1.0, -2.0, -3.0])
    logp_new = (logp_old + torch.tensor([0.0, 0.0, 0.1])).requires_grad_()
    loss, touched = listing1.kl_cov(
        logp_new, logp_old, torch.tensor([1.0, 1.0, -2.0]), penalty_fraction=0.4,
        penalty_coefficient=0.5,
    )  # fmt: skip
    assert touched.tolist() == [2]
    assert loss.item() == pytest.approx((-1 - 1 + 2 * np.exp(0.1) + 0.05) / 3)
    loss.backward()
    # -w A + beta sign(log w), over N
    expected = [-1 / 3, -1 / 3, (2 * np.exp(0.1) + 0.5) / 3]
    assert logp_new.grad.tolist() == pytest.approx(expected)


def test_clip_cov_takes_the_lowest_lots_of_the_band_and_their_gradient():
    logp_old = torch.tensor([-1.0, -2.0, -3.0, -6.0])
    advantages = torch.tensor([1.0, 1.0, -1.0, -1.0])
    # Covariances 2, 1, 0, 3: with the band (0.5, 2.5) the first two may be drawn.
    logp_new = logp_old.clone().requires_grad_()
    loss, touched = listing1.clip_cov(
        logp_new, logp_old, advantages, torch.tensor([0.9, 0.4, 0.0, 0.1]), clip_fraction=0.25,
        cov_low=0.5, cov_high=2.5,
    )  # fmt: skip
    assert touched.tolist() == [1]
    assert loss.item() == pytest.approx(0.0)  # the value stays, as in the paper's listing
    loss.backward()
    assert logp_new.grad.tolist() == pytest.approx([-0.25, 0.0, 0.25, 0.25])


def test_the_listing_and_the_library_are_one_method():
    table = comparison(token_batches(tokens()), TOY)
    assert len(table) == 4
    assert (table["touched"] == table["touched_by_both"]).all()
    assert (table["touched"] > 0).all()
    assert table["gradient_gap"].max() < 1e-7
    gap = table["loss_listing"] - table["loss_library"] - table["loss_of_touched"]
    assert gap.abs().max() < 1e-6
    assert (table["loss_of_touched"] != 0).tolist() == [True, False, True, False]


def test_tokens_keep_their_places():
    frame = tokens(seeds=(3,))
    (batch,) = token_batches(frame.sample(frac=1, random_state=0))
    assert int(batch.response_mask.sum()) == len(frame)
    row, position, logp = frame.loc[10, ["row", "position", "logp"]]
    assert batch.logp_old[int(row), int(position)].item() == pytest.approx(logp)
    moved = (batch.logp_new - batch.logp_old)[batch.response_mask]
    assert 0.08 < moved.std().item() < 0.12


def test_scopes_count_each_batch_by_itself():
    # 64 responses of 4 tokens: 8 mini-batches of 8 responses; a quarter of any batch is whole.
    rng = torch.Generator().manual_seed(0)
    logp = -torch.rand(64, 4, generator=rng)
    advantages = torch.tensor([1.0, -1.0]).repeat(32)[:, None].expand(64, 4)
    mask = torch.ones(64, 4, dtype=torch.bool)
    batch = TokenBatch("", logp, logp, advantages, mask, torch.rand(64, 4, generator=rng))
    found = scopes([batch], Settings(0.25, -9, 9, 0.25, 1.0)).set_index(["method", "scope"])
    assert (found["touched"] == 64).all()
    assert found.loc[("KL-Cov", "rollout_batch"), "overlap"] == 1.0
    assert found.loc[("KL-Cov", "micro_batch of 1"), "overlap"] < 0.5
    # 32 sequences are more than a mini-batch has: the same batches.
    assert (
        found.loc[("KL-Cov", "micro_batch of 32"), "overlap"]
        == found.loc[("KL-Cov", "mini_batch"), "overlap"]
    )
    tiny = Settings(1e-3, -9, 9, 1e-3, 1.0)
    least = scopes([batch], tiny, least=1).set_index(["method", "scope"])["touched"]
    assert least["KL-Cov"].tolist() == [64, 32, 8, 8, 8, 1]
    assert (scopes([batch], tiny)["touched"] == 0).all()


@pytest.mark.parametrize("frame", [tokens(), pd.DataFrame()], ids=["rollouts", "no runs"])
def test_facts(frame):
    batches = token_batches(frame)
    facts = listing_facts(batches, TOY, comparison(batches, TOY), scopes(batches, TOY))
    assert [fact.holds for fact in facts] == [True, True, False, False, True, True]
    assert facts[2].ours.startswith("0%")  # Clip-Cov with one sequence a micro-batch


def test_a_fraction_that_is_none_is_refused():
    with pytest.raises(UserError, match="penalty_fraction = 20"):
        Settings(0.1, 1.0, 20.0, 20, 1.0)
