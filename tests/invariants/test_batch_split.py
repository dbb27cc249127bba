"""How a batch is split may change speed and memory, never the result (architecture, rule 2)."""

import pytest
import torch

from tests.conftest import KL_COV
from tests.invariants.world import CASES, SELECTING, make_batch, make_model, train_once


def assert_same(whole, parts):
    """The same tokens; metrics and weights equal but for float32 rounding."""
    metrics, touched, weights = whole
    other_metrics, other_touched, other_weights = parts
    assert torch.equal(touched, other_touched)
    torch.testing.assert_close(weights, other_weights, rtol=1e-4, atol=2e-6)
    assert metrics.keys() == other_metrics.keys()
    for name, value in metrics.items():
        assert other_metrics[name] == pytest.approx(value, rel=1e-4, abs=1e-6), name


@pytest.mark.parametrize(
    "split", [{"micro_batch_size": 1}, {"micro_batch_size": 3}, {"micro_batch_tokens": 40}]
)
@pytest.mark.parametrize("case", CASES)
def test_micro_batches_do_not_change_the_result(case, split):
    whole = train_once(**CASES[case], update={"micro_batch_size": 16})
    assert_same(whole, train_once(**CASES[case], update=split))
    if "_cov" in case:
        assert whole[1].any()


@pytest.mark.parametrize("method", SELECTING)
def test_micro_batch_scope_is_another_method_at_each_size(method):
    loss = {**SELECTING[method], "covariance_scope": "micro_batch"}
    _, at_16, _ = train_once(loss=loss, update={"micro_batch_size": 16})
    _, at_1, _ = train_once(loss=loss, update={"micro_batch_size": 1})
    assert not torch.equal(at_16, at_1)
    if method == "clip_cov":
        assert not at_1.any()  # one sequence has covariance 0 everywhere


@pytest.mark.parametrize("method", SELECTING)
def test_scopes_differ(method):
    chosen = [
        train_once(
            loss={**SELECTING[method], "covariance_scope": scope}, update={"micro_batch_size": 4}
        )[1]
        for scope in ("rollout_batch", "mini_batch", "micro_batch")
    ]
    assert not torch.equal(chosen[0], chosen[1])
    assert not torch.equal(chosen[1], chosen[2])


def test_cases_are_different_trainings():
    """No two cases end at the same weights, so that none of them is another under its name."""
    ends = [train_once(**case)[2] for case in CASES.values()]
    for i, one in enumerate(ends):
        assert not any(torch.allclose(one, other, atol=1e-6) for other in ends[:i])


def test_rollout_scope_counts_over_the_whole_rollout():
    from entropy_mech.config import EngineConfig, UpdateConfig
    from entropy_mech.train.distributed import Ranks
    from entropy_mech.train.engine import Engine

    _, touched, _ = train_once(loss=KL_COV, update={"micro_batch_size": 4})
    engine = Engine(make_model(), EngineConfig(), UpdateConfig(), Ranks(), temperature=1.0)
    tokens = int(make_batch(engine).response_mask.sum())
    assert int(touched.sum()) == int(0.2 * tokens)
