"""Shapes of models: parameters as transformers counts them, bytes as autograd keeps them."""

import json

import pytest
import torch
import transformers

from entropy_mech.config.files import make_config
from entropy_mech.config.memory import block_bytes
from entropy_mech.config.run import architecture_of
from entropy_mech.config.shapes import MODELS, Architecture, architecture_at
from entropy_mech.problems.toy import ALPHABET, character_tokenizer
from entropy_mech.train.pretrain import _initial_model

SEVEN_B = MODELS["Qwen/Qwen2.5-7B"]


def _hugging_face(name: str, a: Architecture, **more) -> transformers.PreTrainedModel:
    kinds = {
        "Qwen": transformers.Qwen2Config,
        "mistralai": transformers.MistralConfig,
    }
    config = kinds.get(name.split("/")[0], transformers.LlamaConfig)(
        vocab_size=a.vocabulary,
        hidden_size=a.hidden,
        intermediate_size=a.intermediate,
        num_hidden_layers=a.layers,
        num_attention_heads=a.heads,
        num_key_value_heads=a.kv_heads,
        head_dim=a.head_size,
        tie_word_embeddings=a.tied,
        max_position_embeddings=a.positions,
        **more,
    )
    return transformers.AutoModelForCausalLM.from_config(config)


def test_the_papers_fourteen_models_are_there_and_small_ones():
    small = [name for name in MODELS if "mollm2" in name.lower() or "-1B" in name]
    assert len(MODELS) == 14 + len(small) + 1
    assert sum("Instruct" in name for name in MODELS) == 3 + 1


@pytest.mark.parametrize("name", MODELS)
def test_parameters_are_those_of_transformers(name):
    with torch.device("meta"):
        model = _hugging_face(name, MODELS[name])
    assert MODELS[name].parameters == model.num_parameters()
    assert (
        MODELS[name].body_parameters == model.model.num_parameters() - MODELS[name].head_parameters
    )


def test_qwen_7b_by_hand():
    # q 3584^2, k and v 3584 x 512, o 3584^2, biases 3584 + 512 + 512, gate, up and down
    # 3584 x 18944, two norms of 3584; 28 blocks, a last norm, embedding and head 152064 x 3584.
    block = 2 * 3584**2 + 2 * 3584 * 512 + 4608 + 3 * 3584 * 18944 + 2 * 3584
    assert SEVEN_B.parameters == 28 * block + 3584 + 2 * 152064 * 3584 == 7_615_616_512


def test_a_folder_says_its_own_shape(tmp_path):
    shape = Architecture(2, 64, 160, 4, 2, 50, 128, head_size=16, tied=True, qkv_bias=True)
    model = _hugging_face("Qwen/tiny", shape)
    model.config.save_pretrained(tmp_path)
    assert architecture_at(str(tmp_path)) == shape
    assert architecture_at(str(tmp_path)).parameters == model.num_parameters()
    table = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**table, "model_type": "gpt2"}))
    assert architecture_at(str(tmp_path)) is None  # not guessed at
    assert architecture_at("someone/unheard-of") is None


def test_a_toy_has_the_parameters_of_the_model_that_is_trained():
    config = make_config({"model": {"layers": 1, "hidden_size": 16, "heads": 2, "kv_heads": 1}})
    model = _initial_model(config.model, character_tokenizer(ALPHABET), 0)
    assert architecture_of(config).parameters == model.num_parameters()
    assert architecture_of(config).positions == model.config.max_position_embeddings


@pytest.mark.parametrize(("dtype", "value_bytes"), [(torch.bfloat16, 2), (torch.float32, 4)])
@pytest.mark.parametrize("kv_heads", [4, 1])
def test_a_block_keeps_what_autograd_keeps(dtype, value_bytes, kv_heads):
    tokens = 2 * 96
    kept = []
    for layers in (1, 2):
        shape = Architecture(layers, 128, 320, 4, kv_heads, 64, 99, head_size=32, qkv_bias=True)
        model = _hugging_face("Qwen/tiny", shape, attn_implementation="sdpa").to(dtype)
        kept.append(_saved_bytes(model.model, torch.zeros(2, 96, dtype=torch.long)))
    assert (kept[1] - kept[0]) / tokens == block_bytes(shape, value_bytes)


def _saved_bytes(model: torch.nn.Module, input_ids: torch.Tensor) -> int:
    """Bytes of the distinct memory that the backward pass needs, weights left out."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    storages = {}

    def see(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            storages[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(see, lambda tensor: tensor):
        output = model(input_ids=input_ids, use_cache=False).last_hidden_state
    assert output.requires_grad
    return sum(storage.nbytes() for storage in storages.values())


GOOD = {
    "model_type": "qwen2", "num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 128,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100,
    "max_position_embeddings": 256, "tie_word_embeddings": None, "head_dim": None,
}  # fmt: skip
DAMAGED = [
    [], None, "x", {"model_type": "qwen2"}, {**GOOD, "num_attention_heads": 0},
    {**GOOD, "hidden_size": "64"}, {**GOOD, "hidden_size": 64.5}, {**GOOD, "num_hidden_layers": -2},
    {**GOOD, "max_position_embeddings": None}, {**GOOD, "head_dim": "x"},
]  # fmt: skip


@pytest.mark.parametrize("table", [GOOD, *DAMAGED], ids=str)
def test_a_damaged_model_folder_has_no_shape_and_no_traceback(tmp_path, table):
    (tmp_path / "config.json").write_text(json.dumps(table))
    assert (architecture_at(str(tmp_path)) is not None) == (table is GOOD)
