"""Packed rows give each token what it would get alone; nothing is packed that would be wrong."""

import pytest
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from entropy_mech import train
from entropy_mech.train.policy import Policy, can_pack, pack

SHAPE = {
    "vocab_size": 30,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.2,
}
FAMILIES = {
    "qwen2": (Qwen2ForCausalLM, Qwen2Config, {}),
    "llama": (LlamaForCausalLM, LlamaConfig, {}),
    "mistral": (MistralForCausalLM, MistralConfig, {"sliding_window": None}),
}


def _model(family, **changes):
    kind, config, table = FAMILIES[family]
    torch.manual_seed(0)
    return kind(config(**{**SHAPE, **table, **changes})).eval()


def _batch(responses=(9, 1, 3, 2, 6, 1), prompts=(4, 2, 5, 3, 1, 7)):
    prompts, responses = torch.tensor(prompts), torch.tensor(responses)
    lengths = prompts + responses
    ids = torch.randint(3, 30, (len(lengths), int(lengths.max())))
    mask = torch.arange(int(responses.max())) < responses.unsqueeze(1)
    tokens = torch.zeros(mask.shape, dtype=torch.long)
    for row, (first, count) in enumerate(zip(prompts.tolist(), responses.tolist(), strict=True)):
        tokens[row, :count] = ids[row, first : first + count]
    return ids, prompts, tokens, mask


@pytest.mark.parametrize("family", FAMILIES)
def test_packing_changes_neither_values_nor_gradients(family):
    model = _model(family)
    policy, batch = Policy(model, temperature=0.8), _batch()
    ids, prompts, _, mask = batch
    assert pack(ids, prompts + mask.sum(dim=1) - 1) is not None

    def passed():
        model.zero_grad()
        logp, entropy = policy(*batch)
        (logp * torch.arange(logp.numel()).view_as(logp)).sum().backward()
        return logp.detach(), entropy, torch.cat([p.grad.flatten() for p in model.parameters()])

    assert policy.packs
    packed = passed()
    policy.packs = False
    for ours, plain in zip(packed, passed(), strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-5)


def test_every_token_is_laid_down_once_and_sees_its_own_past_alone():
    ids, prompts, _, mask = _batch()
    lengths = prompts + mask.sum(dim=1)
    packed = pack(ids, lengths)
    rows, columns = packed.input_ids.shape
    assert columns == lengths.max()
    assert rows == 4  # 13, 8 + 5, 8 + 3 and 7 tokens of 13
    occupied = torch.zeros(rows, columns, dtype=torch.bool)
    for number, length in enumerate(lengths.tolist()):
        row, start = packed.row[number], packed.start[number]
        place = slice(start, start + length)
        assert packed.input_ids[row, place].tolist() == ids[number, :length].tolist()
        assert packed.position_ids[row, place].tolist() == list(range(length))
        assert not occupied[row, place].any()
        occupied[row, place] = True
        sight = packed.attention_mask[row, 0, place]
        assert sight[:, place].tolist() == torch.ones(length, length).tril().bool().tolist()
        assert sight.sum() == length * (length + 1) // 2
    assert occupied.sum() == lengths.sum()


def test_rows_of_one_length_and_long_ones_are_left_as_they_are(monkeypatch):
    ids = torch.ones(5, 8, dtype=torch.long)
    assert pack(ids, torch.full((5,), 8), least_saved_fraction=0.1) is None
    seen = []
    monkeypatch.setattr(train.policy, "pack", lambda ids, *_, **__: seen.append(ids.shape[1]))
    policy = Policy(_model("qwen2"), temperature=1.0)
    for length in (1024, 1025):
        policy(*_batch([length, *[1] * 8], [1] * 9))
    assert seen == [1025]  # a row's last token predicts nothing


def test_windows_and_other_kernels_are_not_packed():
    assert can_pack(_model("mistral"))
    assert not can_pack(_model("mistral", sliding_window=4))
    window = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}
    assert not can_pack(_model("qwen2", **window))
    assert not can_pack(_model("qwen2", attn_implementation="eager"))
