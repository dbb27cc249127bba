"""The decoder of GPUs computes what Hugging Face's growing cache does, captured and as it is."""

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from entropy_mech.sampling import SamplingRequest, torch_sampler
from entropy_mech.sampling.torch_sampler import (
    FusedDecoder,
    HuggingFaceDecoder,
    StaticDecoder,
    TorchSampler,
    can_be_static,
)
from tests.sampling.pretend_graph import pretend_graphs
from tests.sampling.test_fused_decoder import FAMILIES, PROMPTS, SHAPE, UNKNOWN, _qwen2, _random
from tests.train.pretend_gpu import moved, pretend_gpu

MODELS = {**FAMILIES, "qwen3": lambda: _random(Qwen3ForCausalLM, Qwen3Config(**SHAPE, head_dim=8))}
TOKENS = 150  # the cache is lengthened on the way, twice


def _exact(family):
    """In float64, whose rounding turns no draw into another word."""
    return MODELS[family]().double()


def _sample(model, decoder=None, rows=12, temperature=1.0, eos=1, tokens=TOKENS):
    sampler = TorchSampler(model, pad_token=0, eos_token=eos, keep_entropy=True)
    if decoder is not None:
        sampler._decoder_class = lambda: decoder
    prompts = (PROMPTS * rows)[:rows]
    requests = [SamplingRequest(prompt, key) for key, prompt in enumerate(prompts)]
    return sampler.sample(requests, temperature=temperature, max_new_tokens=tokens)


def _assert_same(ours, theirs):
    for name in ("tokens", "response_mask", "finished"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name)), name
    for name in ("logp_sampler", "entropy"):
        pair = getattr(ours, name), getattr(theirs, name)
        torch.testing.assert_close(*pair, rtol=0, atol=2e-6)


@pytest.mark.parametrize("captured", [False, True], ids=["as it is", "captured"])
@pytest.mark.parametrize("family", MODELS)
def test_responses_are_those_of_the_growing_cache(family, captured, monkeypatch):
    model = _exact(family)
    assert can_be_static(model)
    expected = _sample(model, HuggingFaceDecoder)
    lengths = expected.response_mask.sum(dim=1)
    assert len(set(lengths.tolist())) > 4  # they finish at different times
    assert lengths.max() > 70
    if not captured:
        _assert_same(_sample(model, StaticDecoder), expected)
        return
    with pretend_graphs(monkeypatch) as graphs:
        _assert_same(_sample(model, StaticDecoder), expected)
    # A capture for each batch size and each length; all other passes are replays.
    assert 3 <= len(graphs) <= 7
    passes = sum(graph.replays for graph in graphs) + len(graphs)
    assert lengths.max() - 1 <= passes < lengths.max() + StaticDecoder.tokens_a_check


@pytest.mark.parametrize("captured", [False, True], ids=["as it is", "captured"])
@pytest.mark.parametrize(
    "settings",
    [
        {"rows": 1},
        {"rows": 1, "tokens": 1},
        {"temperature": 0.0},
        {"temperature": 0.0, "rows": 1, "tokens": 16},
        {"rows": 5, "tokens": 17},
        {"rows": 3, "eos": 99},  # none finishes
        {"eos": 0},  # padding looks like an end
    ],
    ids=str,
)
def test_one_row_greedy_and_at_the_edges(settings, captured, monkeypatch):
    model = _exact("qwen2")
    expected = _sample(model, HuggingFaceDecoder, **settings)
    if captured:
        with pretend_graphs(monkeypatch):
            _assert_same(_sample(model, StaticDecoder, **settings), expected)
    else:
        _assert_same(_sample(model, StaticDecoder, **settings), expected)


@torch.no_grad()
def test_in_bfloat16_logits_differ_by_its_rounding_alone():
    decoders = [
        kind(_qwen2().to(dtype), PROMPTS, 0)
        for kind, dtype in (
            (HuggingFaceDecoder, torch.float32),
            (HuggingFaceDecoder, torch.bfloat16),
            (StaticDecoder, torch.bfloat16),
        )
    ]
    for step in range(60):
        for decoder in decoders:
            decoder.advance(torch.arange(5) + 3 + step % 30)
        exact, theirs, ours = (torch.log_softmax(decoder.logits, dim=-1) for decoder in decoders)
        assert ours.dtype == torch.float32
        assert (ours - exact).abs().mean() < 2 * (theirs - exact).abs().mean() + 1e-3


def test_attention_is_by_groups_and_the_models_own_afterwards(monkeypatch):
    calls, real = [], torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        torch_sampler.functional,
        "scaled_dot_product_attention",
        lambda query, key, value, **rest: (
            calls.append((tuple(query.shape), tuple(key.shape))) or real(query, key, value, **rest)
        ),
    )
    model = FAMILIES["qwen2"]()
    before = model.config._attn_implementation
    _sample(model, StaticDecoder, rows=4, tokens=3, eos=99)
    assert model.config._attn_implementation == before
    # 4 heads, 2 of them to a group; a prompt of 7 tokens, whose cache begins with 128 columns.
    assert calls[2:] == [((4, 2, 2, 8), (4, 2, 128, 8))] * 4


def test_rows_leave_once_half_of_them_have_finished():
    with torch.no_grad():
        decoder = StaticDecoder(FAMILIES["llama"](), PROMPTS, 0)
    few, most = torch.tensor([1, 0, 0, 0, 1]), torch.tensor([1, 0, 1, 0, 1])
    assert decoder.drop(few.bool()).tolist() == [0, 1, 2, 3, 4]
    assert decoder.drop(most.bool()).tolist() == [1, 3]
    assert len(decoder.visible) == len(decoder.tokens) == len(decoder.cache.layers[0][0]) == 2


REFUSED = {
    **{reason: UNKNOWN[reason] for reason in ("of the kind dynamic", "sliding window")},
    "not a known one": lambda: _odd_class(),
}


def _odd_class():
    class Odd(Qwen3ForCausalLM):
        pass

    return _random(Odd, Qwen3Config(**SHAPE, head_dim=8))


@pytest.mark.parametrize("reason", REFUSED)
def test_a_gpu_leaves_the_rest_to_the_growing_cache(reason):
    model = REFUSED[reason]()
    assert not can_be_static(model)
    sampler = TorchSampler(moved(model), pad_token=0, eos_token=1)
    assert sampler._decoder_class() is HuggingFaceDecoder


def test_which_decoder_serves_where():
    tokens = {"pad_token": 0, "eos_token": 1}
    here, there = FAMILIES["qwen2"](), moved(FAMILIES["qwen2"]())
    assert TorchSampler(here, **tokens)._decoder_class() is FusedDecoder
    assert TorchSampler(here.double(), **tokens)._decoder_class() is HuggingFaceDecoder
    assert TorchSampler(there, **tokens)._decoder_class() is StaticDecoder
    assert TorchSampler(there, **tokens, cuda_graph=False)._decoder_class() is HuggingFaceDecoder


def test_on_a_gpu_the_host_waits_once_in_sixteen_tokens(monkeypatch):
    model = _exact("qwen2")
    expected = _sample(model, HuggingFaceDecoder)
    waits = {}
    with pretend_gpu() as syncs:
        for tokens in (32, 96):
            syncs.clear()
            _sample(moved(_exact("qwen2")), rows=3, tokens=tokens, eos=99)
            waits[tokens] = syncs.total()
        monkeypatch.setattr(torch_sampler, "_ROWS_AT_ONCE", 5)
        there = _sample(moved(model))
    assert waits[96] - waits[32] == 4
    assert torch.equal(there.tokens.cpu(), expected.tokens)
    assert torch.equal(there.finished.cpu(), expected.finished)
