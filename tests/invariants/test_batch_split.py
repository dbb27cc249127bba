"""How a batch is split may change speed and memory, never the result (architecture, rule 2)."""

import pytest
import torch

from entropy_mech.train.batch import RolloutBatch, join
from entropy_mech.train.config_io import make_config
from entropy_mech.train.engine_torch import TorchEngine
from entropy_mech.train.update import update_policy
from tests.conftest import CLIP_COV, KL_COV, TINY

VOCABULARY, PROMPTS, RESPONSES = 18, 8, 4
SELECTING = {"clip_cov": {**CLIP_COV, "clip_fraction": 0.15}, "kl_cov": KL_COV}
METHODS = {
    "policy_gradient": {"method": "policy_gradient"},
    "ppo_clip": {"method": "ppo_clip"},
    **SELECTING,
}


def _model():
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=VOCABULARY,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            tie_word_embeddings=True,
            initializer_range=0.3,
            max_position_embeddings=64,
        )
    ).eval()


def _batch(engine):
    """A rollout of random tokens and rewards, with responses of 1 to 11 tokens."""
    generator = torch.Generator().manual_seed(1)
    rows = PROMPTS * RESPONSES
    length = torch.randint(1, 12, (rows, 1), generator=generator)
    mask = torch.arange(11) < length
    tokens = torch.randint(3, VOCABULARY, mask.shape, generator=generator) * mask
    prompts = [tuple(range(3, 5 + row // RESPONSES)) for row in range(rows)]
    input_ids, prompt_length = join(prompts, tokens, mask, 0)
    advantage = torch.randn(rows, 1, generator=generator)
    blank = torch.zeros(mask.shape)
    batch = RolloutBatch(
        input_ids=input_ids,
        prompt_length=prompt_length,
        tokens=tokens,
        response_mask=mask,
        problem=torch.arange(PROMPTS).repeat_interleave(RESPONSES),
        sample=torch.arange(RESPONSES).repeat(PROMPTS),
        rewards=torch.zeros(rows),
        advantages=torch.where(mask, advantage, 0.0),
        logp_sampler=blank,
        logp_old=blank,
        entropy=blank,
    )
    logp, entropy = engine.measure(batch)
    return RolloutBatch(**{**batch.__dict__, "logp_old": logp, "entropy": entropy})


def _train(loss, micro_batch_size):
    config = make_config(
        {
            **TINY,
            "rollout": {"prompts": PROMPTS, "responses": RESPONSES},
            "update": {
                "updates_per_rollout": 2,
                "micro_batch_size": micro_batch_size,
                "learning_rate": 1e-2,
            },
            "loss": loss,
        }
    )
    torch.set_num_threads(1)
    engine = TorchEngine(_model(), config.update, temperature=1.0)
    batch = _batch(engine)
    metrics, touched = update_policy(engine, batch, config, step=3)
    weights = torch.cat([p.detach().flatten() for p in engine.model.parameters()])
    return metrics, touched, weights


@pytest.mark.parametrize("micro_batch_size", [1, 3, 8])
@pytest.mark.parametrize("scope", ["rollout_batch", "mini_batch"])
@pytest.mark.parametrize("method", METHODS)
def test_micro_batches_do_not_change_the_result(method, scope, micro_batch_size):
    loss = dict(METHODS[method])
    if method in SELECTING:
        loss["covariance_scope"] = scope
    elif scope == "mini_batch":
        loss = {"method": method}  # has no scope; trained again all the same
    whole, touched, weights = _train(loss, 16)
    parts, touched_in_parts, weights_in_parts = _train(loss, micro_batch_size)
    assert torch.equal(touched, touched_in_parts)
    # Adam divides by the gradient's size, so rounding of tiny gradients shows most: 1e-2 * 1e-3.
    torch.testing.assert_close(weights, weights_in_parts, rtol=1e-4, atol=1e-5)
    for name, value in whole.items():
        assert parts[name] == pytest.approx(value, rel=1e-4, abs=1e-6), name
    if method in SELECTING:
        assert touched.any()


@pytest.mark.parametrize("method", SELECTING)
def test_micro_batch_scope_is_another_method_at_each_size(method):
    loss = {**SELECTING[method], "covariance_scope": "micro_batch"}
    _, at_16, _ = _train(loss, 16)
    _, at_1, _ = _train(loss, 1)
    assert not torch.equal(at_16, at_1)
    if method == "clip_cov":
        assert not at_1.any()  # one sequence has covariance 0 everywhere


@pytest.mark.parametrize("method", SELECTING)
def test_scopes_differ(method):
    chosen = [
        _train({**SELECTING[method], "covariance_scope": scope}, 4)[1]
        for scope in ("rollout_batch", "mini_batch", "micro_batch")
    ]
    assert not torch.equal(chosen[0], chosen[1])
    assert not torch.equal(chosen[1], chosen[2])


def test_rollout_scope_counts_over_the_whole_rollout():
    _, touched, _ = _train(KL_COV, 4)
    engine = TorchEngine(_model(), make_config(TINY).update, temperature=1.0)
    tokens = int(_batch(engine).response_mask.sum())
    assert int(touched.sum()) == int(0.2 * tokens)
