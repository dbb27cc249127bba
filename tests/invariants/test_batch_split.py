"""How a batch is split may change speed and memory, never the result (architecture, rule 2)."""

import pytest
import torch

from tests.conftest import KL_COV
from tests.invariants.world import METHODS, SELECTING, make_batch, make_model, train_once


def assert_same(whole, parts):
    """The same tokens; metrics and weights equal but for float32 rounding."""
    metrics, touched, weights = whole
    other_metrics, other_touched, other_weights = parts
    assert torch.equal(touched, other_touched)
    # Adam divides by the gradient's size, so rounding of tiny gradients shows most: 1e-2 * 1e-3.
    torch.testing.assert_close(weights, other_weights, rtol=1e-4, atol=1e-5)
    for name, value in metrics.items():
        assert other_metrics[name] == pytest.approx(value, rel=1e-4, abs=1e-6), name


def at_scope(method, scope):
    """The method's loss; those without a scope are the same at each."""
    return METHODS[method] | ({"covariance_scope": scope} if method in SELECTING else {})


@pytest.mark.parametrize(
    "split", [{"micro_batch_size": 1}, {"micro_batch_size": 3}, {"micro_batch_tokens": 40}]
)
@pytest.mark.parametrize("scope", ["rollout_batch", "mini_batch"])
@pytest.mark.parametrize("method", METHODS)
def test_micro_batches_do_not_change_the_result(method, scope, split):
    loss = at_scope(method, scope)
    whole = train_once(loss, micro_batch_size=16)
    assert_same(whole, train_once(loss, **split))
    if method in SELECTING:
        assert whole[1].any()


@pytest.mark.parametrize("method", SELECTING)
def test_micro_batch_scope_is_another_method_at_each_size(method):
    loss = {**SELECTING[method], "covariance_scope": "micro_batch"}
    _, at_16, _ = train_once(loss, micro_batch_size=16)
    _, at_1, _ = train_once(loss, micro_batch_size=1)
    assert not torch.equal(at_16, at_1)
    if method == "clip_cov":
        assert not at_1.any()  # one sequence has covariance 0 everywhere


@pytest.mark.parametrize("method", SELECTING)
def test_scopes_differ(method):
    chosen = [
        train_once({**SELECTING[method], "covariance_scope": scope}, micro_batch_size=4)[1]
        for scope in ("rollout_batch", "mini_batch", "micro_batch")
    ]
    assert not torch.equal(chosen[0], chosen[1])
    assert not torch.equal(chosen[1], chosen[2])


def test_rollout_scope_counts_over_the_whole_rollout():
    from entropy_mech.train.config import EngineConfig, UpdateConfig
    from entropy_mech.train.engine_torch import TorchEngine

    _, touched, _ = train_once(KL_COV, micro_batch_size=4)
    engine = TorchEngine(make_model(), EngineConfig(), UpdateConfig(), temperature=1.0)
    tokens = int(make_batch(engine).response_mask.sum())
    assert int(touched.sum()) == int(0.2 * tokens)
