"""The supervised stage: packing changes its speed and memory, never its loss."""

import numpy as np
import pytest
import torch

from entropy_mech.config import ModelConfig
from entropy_mech.problems.toy import ALPHABET, Demonstrations, ModularChains, character_tokenizer
from entropy_mech.train.pretrain import (
    IGNORED,
    _initial_model,
    _mean_cross_entropy,
    base_model,
    pack_texts,
    prepare_base_model,
)
from tests.conftest import tiny

IDS = {
    token: i for token, i in character_tokenizer(ALPHABET).get_vocab().items() if len(token) == 1
}


def _demonstrations(count, step_fraction=0.3):
    rng = np.random.default_rng(5)
    teacher = Demonstrations(step_fraction, 0.08, 0.15)
    problems = ModularChains().training_set(3, count, {2: 0.5, 5: 0.5})
    return [(problem.prompt, teacher.answer(problem, rng)) for problem in problems]


def _packed(pairs):
    lists = [([IDS[c] for c in prompt], [IDS[c] for c in answer]) for prompt, answer in pairs]
    return pack_texts(lists, eos_token_id=1)


def _double_model():
    # Double precision but for the norms, which Hugging Face keeps in float32.
    return _initial_model(ModelConfig(), character_tokenizer(ALPHABET), seed=0).double()


def _one_by_one(model, pairs):
    """Return the mean over target tokens from each text alone, as the definition says."""
    total, count = torch.zeros((), dtype=torch.float64), 0
    for prompt, answer in pairs:
        ids = torch.tensor([[IDS[c] for c in prompt + answer]])
        logp = model(input_ids=ids).logits[0].log_softmax(-1)
        after = [*ids[0, len(prompt) :].tolist(), 1]
        for position, token in enumerate(after, start=len(prompt) - 1):
            total = total - logp[position, token]
            count += 1
    return total / count


def _gradient(model, loss):
    model.zero_grad()
    loss.backward()
    return torch.cat([weight.grad.flatten() for weight in model.parameters()])


def test_packed_loss_and_gradient_are_those_of_each_text_alone():
    model, pairs = _double_model(), _demonstrations(24)
    loss, expected = _mean_cross_entropy(model, pairs, IDS), _one_by_one(model, pairs)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
    torch.testing.assert_close(
        _gradient(model, loss), _gradient(model, expected), atol=1e-6, rtol=1e-5
    )


def test_a_text_does_not_see_its_neighbours_in_the_row():
    model = _double_model()
    short, other = ("1+2=", "(3)"), ("4+4=", "(8)")
    long = ("1+2+3+4+5=", "1+2=3;3+3=6;6+4=0;0+5=5;(5)")

    def hidden_of_first(pairs):
        packed, _ = _packed(pairs)
        hidden = model.base_model(
            input_ids=packed.input_ids,
            position_ids=packed.position_ids,
            attention_mask=packed.attention_mask,
        ).last_hidden_state
        # Both short texts lie in row 1, the first of them at its start.
        return packed, hidden[1, :7]

    packed, beside_other = hidden_of_first([short, other, long])
    assert packed.input_ids.shape == (2, 37)
    assert packed.position_ids[1, :14].tolist() == [*range(7), *range(7)]
    _, alone = hidden_of_first([short, long])
    torch.testing.assert_close(beside_other, alone, atol=1e-6, rtol=0)


def test_every_text_is_packed_once_and_little_is_padding():
    pairs = _demonstrations(64, step_fraction=0.2)
    packed, targets = _packed(pairs)
    tokens = sum(len(prompt) + len(answer) for prompt, answer in pairs)
    assert int((packed.input_ids != 0).sum()) == tokens
    assert int((targets != IGNORED).sum()) == sum(len(a) + 1 for _, a in pairs)
    assert packed.input_ids.numel() < 1.15 * tokens
    # A text of n tokens keeps n (n + 1) / 2 pairs; its row's padding looks at padding alone.
    texts = packed.input_ids != 0
    kept = packed.attention_mask[:, 0] & texts[:, :, None]
    assert int(kept.sum()) == sum(
        n * (n + 1) // 2 for n in (len(prompt) + len(answer) for prompt, answer in pairs)
    )
    assert not (kept & ~texts[:, None, :]).any()
    assert packed.attention_mask.any(-1).all()


def test_a_base_model_is_the_same_to_the_last_bit_wherever_it_is_trained(tmp_path):
    torch.set_num_threads(1)
    config = tiny(base={"steps": 20})
    first, _ = base_model(tmp_path / "a", config)
    second, _ = base_model(tmp_path / "b", config)
    for (name, weight), again in zip(first.named_parameters(), second.parameters(), strict=True):
        assert torch.equal(weight, again), name
    folder = prepare_base_model(tmp_path / "a", config)
    assert sorted(path.name for path in folder.parent.iterdir()) == [
        folder.name,
        folder.name + ".lock",
    ]


def test_supervision_teaches_the_addition_table(tmp_path):
    torch.set_num_threads(1)
    config = tiny(
        model={"hidden_size": 32, "intermediate_size": 128},
        base={
            "steps": 400,
            "level_shares": {2: 1.0},
            "step_fraction": 0.0,
            "direct_error_fraction": 0.0,
        },
    )
    model, _ = base_model(tmp_path, config)
    pairs = [
        (problem.prompt, f"({problem.reference})")
        for problem in ModularChains().training_set(11, 64, {2: 1.0})
    ]
    with torch.no_grad():
        loss = _mean_cross_entropy(model, pairs, IDS).item()
    # Brackets and the end are certain, so that a digit that is a mere guess costs ln(10) / 4.
    assert loss < 0.2 * np.log(10) / 4
