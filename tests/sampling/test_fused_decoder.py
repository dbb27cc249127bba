"""The written-out decoder computes what the Hugging Face classes compute, or is not taken."""

import pytest
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from entropy_mech.sampling import SamplingRequest
from entropy_mech.sampling.torch_sampler import (
    FusedDecoder,
    HuggingFaceDecoder,
    TorchSampler,
    can_be_fused,
)

SHAPE = {
    "vocab_size": 40,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.15,
    "max_position_embeddings": 512,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 500.0,
    "factor": 4.0,
    "original_max_position_embeddings": 16,
}


def _qwen2(**changes):
    return _random(Qwen2ForCausalLM, Qwen2Config(**{**SHAPE, **changes}))


def _llama(**changes):
    return _random(LlamaForCausalLM, LlamaConfig(**{**SHAPE, **changes}))


def _mistral(**changes):
    table = {"sliding_window": None, **SHAPE, **changes}
    return _random(MistralForCausalLM, MistralConfig(**table))


def _random(kind, config):
    torch.manual_seed(0)
    model = kind(config).eval()
    with torch.no_grad():  # norms and biases start as ones and zeros, which would hide errors
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.rand_like(parameter) * 0.5)
    return model


FAMILIES = {
    "qwen2": lambda: _qwen2(tie_word_embeddings=True),
    "qwen2_untied": lambda: _qwen2(tie_word_embeddings=False),
    "llama": lambda: _llama(num_key_value_heads=1),
    "llama_rope_llama3": lambda: _llama(rope_parameters=LLAMA3),
    "llama_rope_yarn": lambda: _llama(rope_parameters=YARN),
    "llama_linear": lambda: _llama(
        rope_parameters={"rope_type": "linear", "rope_theta": 500.0, "factor": 3.0}
    ),
    "mistral_head_dim": lambda: _mistral(head_dim=12, num_key_value_heads=4),
}
PROMPTS = [(3, 13, 4, 14), (5, 13, 6, 13, 7, 14, 9), (8,), (3, 13, 4, 14), (8, 9)]


def _whole_pass(model, row):
    """Logits after each token of a row, from the model itself, alone and without a cache."""
    with torch.no_grad():
        return model(torch.tensor([row]), use_cache=False).logits[0]


@pytest.mark.parametrize("kind", [FusedDecoder, HuggingFaceDecoder])
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_logits_are_the_models_own_while_rows_leave(family, kind):
    model = FAMILIES[family]()
    assert can_be_fused(model)
    prompts = PROMPTS * 2
    rows = [list(prompt) for prompt in prompts]
    seen = [[] for _ in rows]
    decoder = kind(model, rows, 0)
    alive, draw = torch.arange(len(rows)), torch.Generator().manual_seed(1)
    for step in range(70):  # the cache is lengthened on the way
        for row, logits in zip(alive.tolist(), decoder.logits, strict=True):
            seen[row].append(logits)
        finished = torch.zeros(len(alive), dtype=torch.bool)
        if step % 9 == 8:
            finished[torch.randint(len(alive), (1,), generator=draw)] = True
        left = decoder.drop(finished)
        assert sorted(left.tolist()) == (~finished).nonzero().squeeze(1).tolist()
        alive = alive[left]
        tokens = torch.randint(3, 40, (len(left),), generator=draw)
        for row, token in zip(alive.tolist(), tokens.tolist(), strict=True):
            rows[row].append(token)
        decoder.advance(tokens)
    assert len(alive) == 3
    for prompt, row, logits in zip(prompts, rows, seen, strict=True):
        whole = _whole_pass(model, row)[len(prompt) - 1 :]
        torch.testing.assert_close(torch.stack(logits), whole[: len(logits)], rtol=1e-5, atol=1e-5)


def test_prompts_are_passed_in_parts(monkeypatch):
    model = FAMILIES["qwen2"]()
    monkeypatch.setattr("entropy_mech.sampling.torch_sampler._PREFILL_TOKENS", 14)
    with torch.no_grad():
        decoder = FusedDecoder(model, PROMPTS, 0)
        decoder.advance(torch.arange(5) + 20)
    for i, prompt in enumerate(PROMPTS):
        expected = _whole_pass(model, [*prompt, 20 + i])[-1]
        torch.testing.assert_close(decoder.logits[i], expected, rtol=1e-5, atol=1e-5)


def _with_lora_like_wrapper():
    model = _qwen2()

    class Wrapped(torch.nn.Linear):
        pass

    model.model.layers[1].mlp.up_proj = Wrapped(32, 48, bias=False)
    return model


UNKNOWN = {
    "not a known one": lambda: _random(Qwen3ForCausalLM, Qwen3Config(**SHAPE, head_dim=8)),
    "float32": lambda: _qwen2().to(torch.bfloat16),
    "of the kind dynamic": lambda: _llama(
        rope_parameters={"rope_type": "dynamic", "rope_theta": 500.0, "factor": 2.0}
    ),
    "activation is gelu": lambda: _llama(hidden_act="gelu"),
    "sliding window": lambda: _mistral(sliding_window=4),
    "a projection other than": lambda: _llama(mlp_bias=True),
    "not a plain linear": _with_lora_like_wrapper,
}


@pytest.mark.parametrize("reason", UNKNOWN)
def test_what_is_not_known_goes_the_models_own_way(reason):
    model = UNKNOWN[reason]()
    assert not can_be_fused(model)
    sampler = TorchSampler(model, pad_token=0, eos_token=1)
    requests = [SamplingRequest(prompt, key) for key, prompt in enumerate(PROMPTS)]
    out = sampler.sample(requests, temperature=1.0, max_new_tokens=6)
    row = list(PROMPTS[1]) + out.tokens[1][out.response_mask[1]].tolist()
    expected = torch.log_softmax(_whole_pass(model, row[:-1])[-1].float(), dim=0)[row[-1]]
    last = out.logp_sampler[1][out.response_mask[1]][-1]
    tolerance = 0.1 if model.dtype == torch.bfloat16 else 1e-4
    torch.testing.assert_close(last, expected, rtol=0, atol=tolerance)


def test_sliding_layers_of_qwen2_are_refused():
    model = _qwen2(use_sliding_window=True, sliding_window=4, max_window_layers=1)
    assert not can_be_fused(model)


def test_weights_changed_between_calls_are_seen():
    model = FAMILIES["qwen2"]()
    sampler = TorchSampler(model, pad_token=0, eos_token=1)
    requests = [SamplingRequest(PROMPTS[0], key) for key in range(50)]
    before = sampler.sample(requests, temperature=1.0, max_new_tokens=1)
    with torch.no_grad():
        model.model.layers[0].mlp.gate_proj.weight.mul_(-1.0)
    after = sampler.sample(requests, temperature=1.0, max_new_tokens=1)
    expected = torch.log_softmax(_whole_pass(model, PROMPTS[0])[-1], dim=0)
    torch.testing.assert_close(
        after.logp_sampler[:, 0], expected[after.tokens[:, 0]], rtol=1e-5, atol=1e-5
    )
    assert (before.logp_sampler != after.logp_sampler).any()
