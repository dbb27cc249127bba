"""Half precision and gradient checkpointing change speed and memory, and results by rounding."""

import copy
from dataclasses import replace

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from entropy_mech.config.files import make_config
from entropy_mech.objectives import logprobs
from entropy_mech.sampling import torch_sampler
from entropy_mech.sampling.sampler import SamplingRequest
from entropy_mech.sampling.torch_sampler import TorchSampler
from entropy_mech.train.distributed import Ranks
from entropy_mech.train.engine import FrozenPolicy, measure
from entropy_mech.train.pretrain import build_engine
from entropy_mech.train.rollouts import RolloutBatch, join
from entropy_mech.train.update import update_policy

VOCABULARY, PROMPTS, RESPONSES, LONGEST = 97, 4, 4, 14
# bfloat16 has 8 bits: a product of normalised states and weights is off by about 2^-8 of it.
# The bounds were set from that before any run, and hold; the gaps themselves are not recorded.
LARGEST_NATS, MEAN_NATS, GRADIENT_FRACTION = 0.04, 0.006, 0.03


def _config(*, updates=2, micro_batch_size=5, **engine):
    problems = {"training_set": "gsm8k"}
    return make_config(
        {
            "model": {"path": "built-here"},
            "problems": problems,
            "rollout": {"prompts": PROMPTS, "responses": RESPONSES, "max_new_tokens": LONGEST},
            "update": {"updates_per_rollout": updates, "micro_batch_size": micro_batch_size},
            "loss": {"method": "ppo_clip", "entropy_bonus": 0.01},
            "engine": engine,
        }
    )


def _engine(config):
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=VOCABULARY,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            tie_word_embeddings=True,
            initializer_range=0.1,
            max_position_embeddings=64,
        )
    )
    return build_engine(model, config.engine, config.update, Ranks(), learning_rate=1e-3)


def _batch():
    generator = torch.Generator().manual_seed(1)
    rows = PROMPTS * RESPONSES
    mask = torch.arange(LONGEST) < torch.randint(1, LONGEST + 1, (rows, 1), generator=generator)
    tokens = torch.randint(3, VOCABULARY, mask.shape, generator=generator) * mask
    prompts = [tuple(range(3, 6 + row // RESPONSES)) for row in range(rows)]
    input_ids, prompt_length = join(prompts, tokens, mask, 0)
    blank = torch.zeros(mask.shape)
    return RolloutBatch(
        input_ids=input_ids,
        prompt_length=prompt_length,
        tokens=tokens,
        response_mask=mask,
        problem=torch.arange(PROMPTS).repeat_interleave(RESPONSES),
        sample=torch.arange(RESPONSES).repeat(PROMPTS),
        rewards=blank[:, 0],
        advantages=torch.randn(rows, 1, generator=generator).expand(mask.shape) * mask,
        logp_sampler=blank,
        logp_old=blank,
        logp_ref=blank,
        entropy=blank,
    )


def _measured(engine):
    batch = _batch()
    logp, entropy = measure(engine, batch)
    return replace(batch, logp_old=logp, entropy=entropy)


def _gradient(engine, batch):
    """Gradient of a loss that needs log-probabilities and entropies, as one vector."""
    logp, entropy = engine.forward(batch, entropy_gradient=True)
    engine.backward((logp * batch.advantages).sum() + 0.1 * entropy.sum(), last=True)
    return torch.cat([p.grad.flatten() for p in engine.policy.parameters()])


@pytest.fixture(params=["formed", "tiled"])
def head(request, monkeypatch):
    """Both ways to the log-probabilities: all logits at once, and tile by tile."""
    if request.param == "tiled":
        monkeypatch.setattr(logprobs, "PLAIN_LOGITS", 0)
    return request.param


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_checkpointing_changes_no_number(head, dtype):
    """Forward, gradient and two optimizer steps are the same to the last bit."""
    ends = []
    for checkpointing in (False, True):
        config = _config(gradient_checkpointing=checkpointing, dtype=dtype)
        engine = _engine(config)
        assert engine.policy.model.is_gradient_checkpointing is checkpointing
        batch = _measured(engine)
        gradient = _gradient(engine, batch)
        engine.optimizer.zero_grad()
        metrics, _ = update_policy(engine, batch, config, 0)
        weights = torch.cat([weight.flatten() for _, weight in engine.weights()])
        ends.append((batch.logp_old, batch.entropy, gradient, weights, metrics))
    for without, with_it in zip(*ends, strict=True):
        same = torch.equal(without, with_it) if torch.is_tensor(without) else without == with_it
        assert same


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_policy_is_its_own_reference(dtype):
    """The KL to the reference is exactly 0 before the first update, in either precision."""
    config = _config(dtype=dtype)
    engine = _engine(config)
    same = copy.deepcopy(engine.policy.model)
    reference = FrozenPolicy(same, config.engine, Ranks(), temperature=1.0)
    batch = _measured(engine)
    assert torch.equal(reference.logprobs(batch), batch.logp_old)


def test_checkpointing_recomputes_every_block_in_the_backward_pass():
    calls = {}
    for checkpointing in (False, True):
        engine, count = _engine(_config(gradient_checkpointing=checkpointing)), []
        for layer in engine.policy.model.model.layers:
            layer.mlp.register_forward_pre_hook(lambda *_, count=count: count.append(1))
        _gradient(engine, _measured(engine))
        calls[checkpointing] = len(count)
    assert calls == {False: 6, True: 9}  # measured once, passed once, and recomputed


@pytest.mark.parametrize("checkpointing", [False, True])
def test_what_is_sampled_is_what_the_trainer_measures(checkpointing, monkeypatch):
    """Hugging Face's own decoding keeps its cache though blocks are checkpointed in training."""
    monkeypatch.setattr(torch_sampler, "can_be_fused", lambda model: False)  # as on a GPU
    engine = _engine(_config(gradient_checkpointing=checkpointing))
    model, prompt = engine.policy.model, (3, 4, 5)
    out = TorchSampler(model, pad_token=0, eos_token=1).sample(
        [SamplingRequest(prompt, key) for key in range(PROMPTS * RESPONSES)],
        temperature=1.0,
        max_new_tokens=LONGEST,
    )
    assert model.training is checkpointing  # as it was before
    prompts = [prompt] * len(out.tokens)
    input_ids, prompt_length = join(prompts, out.tokens, out.response_mask, 0)
    sampled = {"tokens": out.tokens, "response_mask": out.response_mask}
    batch = replace(_batch(), input_ids=input_ids, prompt_length=prompt_length, **sampled)
    logp, _ = measure(engine, batch)
    torch.testing.assert_close(logp, out.logp_sampler, rtol=0, atol=1e-5)


def test_bfloat16_passes_agree_with_float32_within_their_rounding(head):
    found = {}
    for dtype in ("float32", "bfloat16"):
        engine = _engine(_config(dtype=dtype))
        batch = _measured(engine)
        found[dtype] = batch.logp_old, batch.entropy, _gradient(engine, batch)
        assert all(value.dtype == torch.float32 for value in found[dtype])
    mask = _batch().response_mask
    for exact, half in zip(found["float32"][:2], found["bfloat16"][:2], strict=True):
        gap = (exact - half).abs()[mask]
        assert 0 < gap.max() < LARGEST_NATS
        assert gap.mean() < MEAN_NATS
    exact, half = found["float32"][2], found["bfloat16"][2]
    assert 0 < (exact - half).norm() / exact.norm() < GRADIENT_FRACTION


def test_bfloat16_gives_the_same_values_and_gradients_formed_and_tiled(monkeypatch):
    """A size of the batch decides between the two: it may not decide the precision."""
    found = []
    for limit in (logprobs.PLAIN_LOGITS, 0):
        monkeypatch.setattr(logprobs, "PLAIN_LOGITS", limit)
        engine = _engine(_config(dtype="bfloat16"))
        batch = _measured(engine)
        found.append((batch.logp_old, batch.entropy, _gradient(engine, batch)))
    for formed, tiled in zip(found[0][:2], found[1][:2], strict=True):
        torch.testing.assert_close(formed, tiled, rtol=0, atol=1e-5)
    formed, tiled = found[0][2], found[1][2]
    assert (formed - tiled).norm() < 5e-3 * formed.norm()  # products are rounded in another order


def test_weights_and_optimizer_stay_float32_and_small_steps_are_not_lost():
    """A step of 1e-3 of a weight's last bfloat16 digit must still move it."""
    config = _config(dtype="bfloat16", updates=1)
    engine = _engine(config)
    before = {name: weight.clone() for name, weight in engine.weights()}
    for group in engine.optimizer.param_groups:
        group["lr"] = 1e-7
    update_policy(engine, _measured(engine), config, 0)
    for name, weight in engine.weights():
        assert weight.dtype == torch.float32
        assert not torch.equal(weight, before[name]), name
    moments = [v for state in engine.optimizer.state.values() for v in state.values()]
    assert all(moment.dtype == torch.float32 for moment in moments)
