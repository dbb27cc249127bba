"""A run's manifest names the weights that it started from, and its export is the policy itself."""

import shutil

import huggingface_hub.constants
import pytest
import torch
from transformers import AutoModelForCausalLM

from entropy_mech.config import ModelConfig
from entropy_mech.config.files import make_config
from entropy_mech.problems.toy import character_tokenizer
from entropy_mech.runs import RunStore
from entropy_mech.train.checkpoint import export_policy, write_arrays, write_manifest
from entropy_mech.train.distributed import Ranks
from entropy_mech.train.pretrain import _initial_model, build_engine, load_policy
from tests.conftest import tiny

OLD, NEW = "1" * 40, "2" * 40
SMALL = ModelConfig(layers=1, hidden_size=16, intermediate_size=32, heads=2, kv_heads=1)


def _config(path: str, revision: str | None = None):
    return make_config(
        {
            "model": {"path": path, "revision": revision},
            "problems": {"training_set": "gsm8k", "max_prompt_tokens": 64},
        }
    )


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """A hub's cache that holds two commits of ``someone/small``; the newer one is its main."""
    tokenizer = character_tokenizer("0123456789+=")
    repository = tmp_path / "hub" / "models--someone--small"
    for seed, commit in enumerate((OLD, NEW)):
        folder = repository / "snapshots" / commit
        _initial_model(SMALL, tokenizer, seed).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(NEW)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return repository


def test_a_model_of_the_hub_carries_its_commit(cached, tmp_path):
    newest = load_policy(_config("someone/small"), tmp_path)
    assert (newest.place, newest.revision) == ("someone/small", NEW)
    asked = load_policy(_config("someone/small", OLD), tmp_path)
    assert asked.revision == OLD
    weights = [loaded.model.model.embed_tokens.weight for loaded in (newest, asked)]
    assert not torch.equal(*weights)  # the commits are different models, so they were told apart


def test_a_folder_and_a_toy_have_no_commit(cached, tmp_path, store):
    plain = shutil.copytree(cached / "snapshots" / NEW, tmp_path / "plain")
    loaded = load_policy(_config(str(plain)), tmp_path)
    assert (loaded.place, loaded.revision) == (str(plain), None)
    assert load_policy(tiny(), store.root).revision is None


def test_the_manifest_keeps_the_model_of_the_first_session(cached, tmp_path):
    run = RunStore(tmp_path / "runs").run(_config("someone/small"))
    run.path.mkdir(parents=True)
    first = load_policy(run.config, tmp_path)
    write_manifest(run, first, done=2, ranks=1, wall_time_s=1.0)
    started = run.manifest()["started"]
    assert run.manifest()["model"] == {"place": "someone/small", "revision": NEW}
    (cached / "refs" / "main").write_text(OLD)  # the hub's main has moved meanwhile
    later = load_policy(run.config, tmp_path)
    assert later.revision == OLD
    write_manifest(run, later, done=4, ranks=1, wall_time_s=2.0)
    manifest = run.manifest()
    assert manifest["model"]["revision"] == NEW
    assert (manifest["steps"], manifest["started"], manifest["wall_time_s"]) == (4, started, 2.0)


def test_an_export_replaces_the_one_before_and_holds_the_policy_s_weights(cached, tmp_path):
    config = _config("someone/small")
    run = RunStore(tmp_path / "runs").run(config)
    loaded = load_policy(config, tmp_path)
    engine = build_engine(loaded.model, config.engine, config.update, Ranks())
    export_policy(run, engine, loaded, 1)
    with torch.no_grad():
        loaded.model.model.norm.weight.add_(1.0)
    export_policy(run, engine, loaded, 2)
    assert [folder.name for folder in (run.path / "models").iterdir()] == ["step_000002"]
    again = AutoModelForCausalLM.from_pretrained(run.path / "models" / "step_000002")
    for name, weight in engine.weights():
        assert torch.equal(weight, again.get_parameter(name)), name


def test_a_record_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = tmp_path / "tokens" / "step_000000.npz"
    write_arrays(path, {"tokens": torch.arange(3).numpy()})
    before = path.read_bytes()
    with pytest.raises(TypeError):
        write_arrays(path, {"tokens": torch.arange(3).numpy(), 1: None})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
