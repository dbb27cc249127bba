"""The supervised stage: packing changes its speed and memory, never its loss."""

import hashlib
import json

import numpy as np
import pytest
import torch

from entropy_mech.config import ModelConfig
from entropy_mech.config.files import base_model_id, make_config
from entropy_mech.problems.toy import ALPHABET, VALUES, ToyProblem, character_tokenizer
from entropy_mech.train import pretrain
from entropy_mech.train.pretrain import (
    IGNORED,
    _initial_model,
    _mean_cross_entropy,
    base_model,
    demonstrations,
    keep_base_model,
    pack_texts,
    prepare_base_model,
    stages,
)
from tests.conftest import tiny

IDS = {
    token: i for token, i in character_tokenizer(ALPHABET).get_vocab().items() if len(token) == 1
}


def _demonstrations(count):
    rng = np.random.default_rng(5)
    problems = ToyProblem.training_set(3, count, {1: 0.5, 4: 0.5})
    return [(problem.prompt, problem.demonstrate(rng, 0.4, 0.01)) for problem in problems]


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
    loss = _mean_cross_entropy(model, character_tokenizer(ALPHABET), pairs)
    expected = _one_by_one(model, pairs)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
    torch.testing.assert_close(
        _gradient(model, loss), _gradient(model, expected), atol=1e-6, rtol=1e-5
    )


def test_a_text_does_not_see_its_neighbours_in_the_row():
    model = _double_model()
    short, other = ("1A=", "1A=7;(7)"), ("4B=", "4B=d;(d)")
    long = ("1ABC=", "1A=7;7B=9;9C=k;(k)")

    def hidden_of_first(pairs):
        packed, _ = _packed(pairs)
        hidden = model.base_model(
            input_ids=packed.input_ids,
            position_ids=packed.position_ids,
            attention_mask=packed.attention_mask,
        ).last_hidden_state
        # Both short texts lie in row 1, the first of them at its start.
        return packed, hidden[1, :11]

    packed, beside_other = hidden_of_first([short, other, long])
    assert packed.input_ids.shape == (2, 23)
    assert packed.position_ids[1, :22].tolist() == [*range(11), *range(11)]
    _, alone = hidden_of_first([short, long])
    torch.testing.assert_close(beside_other, alone, atol=1e-6, rtol=0)


def test_every_text_is_packed_once_and_little_is_padding():
    pairs = _demonstrations(64)
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
    config = tiny(base={"steps": 20, "noisy_steps": 5})
    first, _ = base_model(tmp_path / "a", config)
    second, _ = base_model(tmp_path / "b", config)
    for (name, weight), again in zip(first.named_parameters(), second.parameters(), strict=True):
        assert torch.equal(weight, again), name
    folder = prepare_base_model(tmp_path / "a", config)
    assert sorted(path.name for path in folder.parent.iterdir()) == [
        folder.name,
        folder.name + ".lock",
    ]


@pytest.mark.parametrize("stopped_at", [13, 20, 27])
def test_stopped_and_gone_on_from_it_is_the_same_to_the_last_bit(tmp_path, monkeypatch, stopped_at):
    """Stopped within a stage, at its end, and within the next."""
    torch.set_num_threads(1)
    monkeypatch.setattr(pretrain, "_SAVE_EVERY", 5)
    config = tiny(base={"steps": 20, "noisy_steps": 10})
    whole, _ = base_model(tmp_path / "whole", config)
    asked = []

    def stop(base, stage, step):
        asked.append((stage.number, step))
        if len(asked) == stopped_at:
            raise KeyboardInterrupt
        return demonstrations(base, stage, step)

    with monkeypatch.context() as patch:
        patch.setattr(pretrain, "demonstrations", stop)
        with pytest.raises(KeyboardInterrupt):
            prepare_base_model(tmp_path / "parts", config)
        asked.clear()
        stopped_at = 0
        parts, _ = base_model(tmp_path / "parts", config)
    assert 0 < len(asked) < 30
    for (name, weight), again in zip(whole.named_parameters(), parts.parameters(), strict=True):
        assert torch.equal(weight, again), name
    kept = [prepare_base_model(tmp_path / which, config) for which in ("whole", "parts")]
    assert len({(folder / "training.json").read_text() for folder in kept}) == 1


def test_stages_are_clean_then_noisy_and_of_the_domains_asked_for():
    base = tiny(base={"code_fraction": 0.25, "error_fraction": 0.5}).base
    clean, noisy = stages(base)
    assert (clean.error_fraction, clean.slip_fraction, noisy.error_fraction) == (0, 0, 0.5)
    pairs = demonstrations(base, clean, 7)
    assert pairs == demonstrations(base, clean, 7) != demonstrations(base, clean, 8)
    assert len(pairs) == base.batch_size
    maths = [pair for pair in pairs if pair[0][0] in VALUES and pair[0][1].isupper()]
    assert sum("+" in a or "-" in a or "*" in a for _, a in pairs) == base.batch_size // 4
    assert len(maths) <= base.batch_size * 3 // 4
    for prompt, answer in pairs[: base.batch_size * 3 // 4]:
        assert ToyProblem(prompt[0], prompt[1:-1]).solution == answer


def test_supervision_teaches_the_tables(tmp_path):
    torch.set_num_threads(1)
    config = tiny(
        model={"hidden_size": 32, "intermediate_size": 128},
        base={"steps": 500, "noisy_steps": 1, "level_shares": {1: 1.0}, "batch_size": 64},
    )
    folder = prepare_base_model(tmp_path, config)
    losses = json.loads((folder / "training.json").read_text())["mean_loss_nats"]
    assert len(losses) == 6
    # All but the value is certain, so that a value that is a mere guess costs ln(36) / 9.
    assert losses[4] < 0.7 * np.log(36) / 9 < losses[0]


def test_a_kept_base_model_has_a_manifest_and_is_found_before_the_stores(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    config = tiny(base={"steps": 6, "noisy_steps": 2})
    in_the_tree = tmp_path / "tree"
    for module in ("runs.store", "train.pretrain"):
        monkeypatch.setattr(f"entropy_mech.{module}.kept_base_models", lambda: in_the_tree)
    kept = keep_base_model("some_run", config, tmp_path / "store")
    made = tmp_path / "store" / "base_models" / base_model_id(config)
    assert kept == in_the_tree / f"some_run-{made.name}"
    weights = (made / "model.safetensors").read_bytes()
    assert (kept / "model.safetensors").read_bytes() == weights
    said = json.loads((kept / "manifest.json").read_text())
    assert said["sha256"] == hashlib.sha256(weights).hexdigest()
    assert said["command"] == "entropy-mech pretrain some_run"
    assert make_config(said["configuration"]).base == config.base
    assert [*said["measured"]] == ["maths", "code"]
    assert [*said["measured"]["code"]] == ["2", "3"]
    assert len(said["mean_loss_nats"]) == 1
    assert prepare_base_model(tmp_path / "other store", config) == kept
    # Made again under the same name, it replaces what lies there.
    other = tiny(base={"steps": 6, "noisy_steps": 2, "seed": 1})
    assert keep_base_model("some_run", other, tmp_path / "store") != kept
    assert len(list(in_the_tree.iterdir())) == 1
