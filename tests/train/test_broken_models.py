"""Models, tokenizers and templates that cannot be used, and a disk that is full: one line each."""

import json
import resource
import shutil
import signal

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from entropy_mech.cli import main
from entropy_mech.config.files import make_config
from entropy_mech.errors import UserError
from entropy_mech.problems.toy import ALPHABET, character_tokenizer
from entropy_mech.runs import RunStore
from entropy_mech.runs.store import base_model_folder
from entropy_mech.train.distributed import Ranks
from entropy_mech.train.engine import Diverged, Engine, refuse_diverged
from entropy_mech.train.loop import train
from entropy_mech.train.pretrain import load_policy
from entropy_mech.train.pretrained import load_pretrained, load_without_weights
from tests.conftest import tiny

WEIGHT = "model.layers.0.mlp.gate_proj.weight"


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


# More rows than the tokenizer has tokens, as is common.
_WORDS = len(ALPHABET) + 5


@pytest.fixture
def model(tmp_path):
    """A folder with a whole model, for the test to damage."""

    def make(family="qwen2", words=_WORDS):
        folder = tmp_path / "model"
        config = AutoConfig.for_model(
            family, vocab_size=words, hidden_size=16, intermediate_size=32, num_hidden_layers=1,
            num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=64,
            pad_token_id=0, eos_token_id=1, bos_token_id=None,
        )  # fmt: skip
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
        character_tokenizer(ALPHABET).save_pretrained(folder)
        return folder

    return make


def refused(folder, message="", **settings):
    with pytest.raises(UserError) as caught:
        load_pretrained(str(folder), **settings)
    line = str(caught.value)
    assert line.startswith(f"model = {folder}: ")
    assert message in line
    assert line.isprintable()
    return line


@pytest.mark.parametrize("text", [b"", b"\0\1", b"[]", b'"x"', b'{"a":'])
@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_damaged_file_is_one_line(model, file, text):
    folder = model()
    (folder / file).write_bytes(text)
    refused(folder)


@pytest.mark.parametrize("family", ["qwen2", "llama", "mistral"])
def test_a_folder_without_its_tokenizer_is_one_line(model, family):
    folder = model(family)
    for path in folder.glob("tokenizer*"):
        path.unlink()
    refused(folder)
    with pytest.raises(UserError, match="model = "):
        load_without_weights(str(folder))


def test_the_tokenizer_is_looked_at_before_the_weights(model, monkeypatch):
    folder = model()
    for path in folder.glob("tokenizer*"):
        path.unlink()
    monkeypatch.setattr(
        AutoModelForCausalLM, "from_pretrained", lambda *_, **__: pytest.fail("read the weights")
    )
    refused(folder, "its tokenizer knows no words: are tokenizer files missing?")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_that_are_no_numbers_are_one_line(model, number, dtype):
    folder = model()
    weights = load_file(folder / "model.safetensors")
    weights[WEIGHT][3, 5] = number
    weights = {name: weight.to(dtype) for name, weight in weights.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    refused(folder, f"the weight {WEIGHT} holds NaN or infinity")


def test_weights_that_are_missing_are_not_made_up(model):
    folder = model()
    weights = load_file(folder / "model.safetensors")
    del weights[WEIGHT]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    refused(folder, f"1 weights are missing, such as {WEIGHT}")


def test_a_whole_model_is_loaded(model):
    loaded, tokenizer = load_pretrained(str(model()))
    assert loaded.config.vocab_size == _WORDS
    assert tokenizer.pad_token_id == 0


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{% for m in messages %}{{ m.content }}", "TemplateSyntaxError"),
        ("{{ messages[0].content ", "TemplateSyntaxError"),
        ("{{ raise_exception('no system message') }}", "no system message"),
        ("{{ messages[5].content }}", "UndefinedError"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("nothing of it", "it loses the user's message"),
        ("", "no chat template"),
    ],
)
def test_a_chat_template_is_tried_before_the_weights_are_read(model, monkeypatch, template, why):
    folder = model()
    place = folder / "tokenizer_config.json"
    place.write_text(json.dumps({**json.loads(place.read_text()), "chat_template": template}))
    config = make_config(
        {
            "model": {"path": str(folder)},
            "problems": {"training_set": "gsm8k", "chat_template": True, "max_prompt_tokens": 20},
            "rollout": {"max_new_tokens": 20},
        }
    )
    monkeypatch.setattr(
        AutoModelForCausalLM, "from_pretrained", lambda *_, **__: pytest.fail("read the weights")
    )
    with pytest.raises(UserError, match=r"^problems.chat_template = true: ") as caught:
        load_policy(config, folder)
    assert why in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_damaged_base_model_says_what_to_do(store):
    config = tiny(seed=91, base={"seed": 91, "steps": 2})
    train(config.model_copy(update={"steps": 1}), store, say=lambda text: None)
    shutil.rmtree(store.run(config).path)
    folder = base_model_folder(store, config)
    (folder / "model.safetensors").write_bytes(b"")
    try:
        with pytest.raises(UserError, match=r"base model = .*remove that folder, and it is made"):
            train(config, store, say=lambda text: None)
    finally:
        shutil.rmtree(folder)


def test_a_checkpoint_of_nan_is_named(store):
    run = train(tiny(seed=92, steps=2), store, say=lambda text: None)
    loaded = load_policy(run.config, store.root)
    engine = Engine(loaded.model, run.config.engine, run.config.update, Ranks())
    folder = run.checkpoints / "step_000002" / "policy"
    state = torch.load(folder / "state.pt", weights_only=True)
    next(iter(state["model"].values()))[0] = float("nan")
    torch.save(state, folder / "state.pt")
    with pytest.raises(UserError, match=r"checkpoint = .*holds NaN or infinity"):
        engine.load(folder)


def test_a_metric_that_is_no_number_ends_the_run_by_name():
    refuse_diverged({"a": 1.0, "b": None, "c": 3}, 4)
    for value in (float("nan"), float("inf")):
        with pytest.raises(Diverged, match=r"metric entropy_nats is .*: the run ends at step 4"):
            refuse_diverged({"a": 1.0, "entropy_nats": value}, 4)


FULL = "I/O error: No space left on device (os error 28)"


def test_a_disk_that_fills_up_in_an_export_leaves_what_was_there(store, monkeypatch):
    run = train(tiny(seed=93, steps=2), store, say=lambda text: None)
    before = {p: p.read_bytes() for p in run.path.rglob("*") if p.suffix in (".pt", ".safetensors")}

    def full(model, folder, **_):
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"half")
        raise SafetensorError(f"Error while serializing: {FULL}")

    monkeypatch.setattr("transformers.PreTrainedModel.save_pretrained", full)
    with pytest.raises(UserError, match=r"No space left on device; free some space, then start"):
        train(tiny(seed=93, steps=4), store, say=lambda text: None)
    assert [p.name for p in (run.path / "models").iterdir()] == ["step_000002"]
    assert all(p.read_bytes() == data for p, data in before.items())
    monkeypatch.undo()
    again = train(tiny(seed=93, steps=4), store, say=lambda text: None)
    assert again.complete
    assert again.newest_model().name == "step_000004"


def test_a_limit_on_files_is_named_whoever_writes(tmp_path, monkeypatch, capsys):
    """The system's own refusal in the middle of writing, here of the base model's weights."""
    monkeypatch.setenv("ENTROPY_MECH_RUNS", str(tmp_path))
    path = tmp_path / "run.toml"
    path.write_text(
        "steps = 1\n[model]\nlayers = 4\nhidden_size = 64\n[base]\nsteps = 1\nbatch_size = 2\n"
    )
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
        code = main(["train", str(path)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert code == 2
    assert "File too large; allow larger files (ulimit -f)" in error
    assert not list(RunStore(tmp_path).root.rglob("tmp-*"))
