"""The base models in the tree are what their manifests say, and can be made again."""

import hashlib
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from entropy_mech.config.files import base_model_id, load_config, make_config
from entropy_mech.runs.store import RunStore, base_model_folder, kept_base_models, run_path
from entropy_mech.train import pretrain
from entropy_mech.train.pretrain import base_model, measured, prepare_base_model

KEPT = sorted(path.parent for path in kept_base_models().glob("*/manifest.json"))
each = pytest.mark.parametrize("folder", KEPT, ids=[folder.name for folder in KEPT])
LARGEST_BYTES = 12 * 2**20


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text())


def test_together_they_are_small():
    files = [path for path in kept_base_models().glob("*/*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < LARGEST_BYTES


@each
def test_a_run_finds_it_and_its_weights_are_those_of_the_manifest(folder, tmp_path):
    said = manifest(folder)
    config = load_config(run_path(said["name"], "toy"))
    assert said["id"] == base_model_id(config)
    again = make_config(said["configuration"])  # settings that were added since are at defaults
    assert (again.model, again.base) == (config.model, config.base)
    assert prepare_base_model(tmp_path, config) == folder
    assert not list(tmp_path.iterdir())
    weights = folder / "model.safetensors"
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == said["sha256"]
    assert all(torch.isfinite(weight).all() for weight in load_file(weights).values())
    model, _ = base_model(tmp_path, config)
    assert sum(p.numel() for p in model.parameters()) == said["parameters"]


@each
def test_it_can_do_what_the_manifest_says(folder, tmp_path):
    said = manifest(folder)
    model, tokenizer = base_model(tmp_path, make_config(said["configuration"]))
    for domain, by_level in said["measured"].items():
        again = measured(model, tokenizer, domain, {2: 1.0})["2"]
        # Other hardware rounds differently, and a sampled token may be another one.
        assert again["accuracy"] == pytest.approx(by_level["2"]["accuracy"], abs=0.05)
        assert again["entropy_nats"] == pytest.approx(by_level["2"]["entropy_nats"], abs=0.02)


@pytest.mark.skipif(not KEPT, reason="no base model lies in the tree")
def test_the_beginning_of_the_smallest_can_be_made_again(tmp_path, monkeypatch):
    said = min(map(manifest, KEPT), key=lambda said: said["parameters"])
    torch.set_num_threads(1)
    losses, original = [], pretrain._mean_cross_entropy

    def hundred(*of):
        if len(losses) == 100:
            raise KeyboardInterrupt
        loss = original(*of)
        losses.append(loss.item())
        return loss

    monkeypatch.setattr(pretrain, "_mean_cross_entropy", hundred)
    monkeypatch.setattr("entropy_mech.runs.store.kept_base_models", lambda: tmp_path)
    config = make_config(said["configuration"])
    assert base_model_folder(RunStore(tmp_path), config).parent == tmp_path / "base_models"
    with pytest.raises(KeyboardInterrupt):
        prepare_base_model(tmp_path, config)
    assert np.mean(losses) == pytest.approx(said["mean_loss_nats"][0], rel=1e-3)
