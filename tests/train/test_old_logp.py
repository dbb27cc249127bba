"""Old log-probabilities from the sampler are the trainer's own, without the trainer's pass."""

import pandas as pd
import pytest

from entropy_mech.train import loop
from entropy_mech.train.loop import train
from tests.conftest import CLIP_COV, KL_COV, tiny


@pytest.mark.parametrize("loss", [CLIP_COV, KL_COV], ids=["clip_cov", "kl_cov"])
def test_the_samplers_give_the_same_training(store, monkeypatch, loss):
    """The same first step but for rounding; and the pass that is saved is really not made."""
    config = tiny(loss=loss, rollout={"old_logp": "recomputed"}, steps=2)
    recomputed = pd.read_json(train(config, store).metrics_file.path, lines=True)

    def measure(*_):
        raise AssertionError("the trainer measured the rollout all the same")

    monkeypatch.setattr(loop, "measure", measure)
    config = tiny(loss=loss, rollout={"old_logp": "sampler"}, steps=2)
    sampled = pd.read_json(train(config, store).metrics_file.path, lines=True)
    left_out = set(recomputed) - set(sampled)
    assert left_out == {"logp_gap_mean_nats", "logp_gap_max_nats"}
    # Later steps may draw another token for a rounding's sake; the first has the same weights.
    recomputed = recomputed.drop(columns=sorted(left_out))
    pd.testing.assert_frame_equal(sampled[:1], recomputed[:1], rtol=1e-3, atol=1e-4)
    assert len(sampled) == len(recomputed)
