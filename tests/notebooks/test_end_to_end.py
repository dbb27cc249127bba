"""The whole way on tiny runs: train, fit, execute every notebook, write the gallery; then again."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Enough for every phase to do something; far too little for any claim to hold.
TINY_TOML = """
steps = 16
record_tokens_every = 4
[model]
layers = 1
hidden_size = 16
intermediate_size = 32
heads = 2
kv_heads = 1
[problems]
level_shares = { 2 = 0.6, 3 = 0.4 }
validation_counts = { 2 = 9, 3 = 9 }
[base]
steps = 250
batch_size = 32
level_shares = { 2 = 0.6, 3 = 0.4 }
[rollout]
prompts = 8
responses = 8
max_new_tokens = 12
[update]
updates_per_rollout = 2
[validation]
every = 2
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project's declarations whose runs are tiny."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    shutil.copytree(ROOT / "reproduce", folder / "reproduce")
    (folder / "reproduce" / "runs" / "toy.toml").write_text(TINY_TOML)
    return folder


def _command(project, *words, **more):
    environment = {**os.environ, "ENTROPY_MECH_PROJECT": str(project)}
    environment.pop("ENTROPY_MECH_RUNS", None)
    return subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        timeout=600,
        env=environment,
        cwd=project,
        **more,
    )


def _times(project):
    return {p: p.stat().st_mtime_ns for p in project.rglob("*.json*") if "out" in p.parts}


def test_reproduce_everything_then_nothing(project):
    first = _command(project, "-m", "entropy_mech", "reproduce", "--seeds", "1")
    assert first.returncode == 0, first.stdout + first.stderr
    out = project / "out" / "toy"
    page = (out / "index.html").read_text()
    targets = ("start_here", "lemma1", "fig01", "fig08", "tab01", "fig11")
    for name in targets:
        result = json.loads((out / "results" / f"{name}.json").read_text())
        assert result["claims"]
        assert result["figures"]
        assert f'id="{name}"' in page
        for figure in result["figures"]:
            assert (out / "figures" / f"{figure}.svg").stat().st_size > 1000
            assert f"figures/{figure}.png" in page
    # One seed: numbers, and no verdict where seeds are the replicates.
    fig01 = json.loads((out / "results" / "fig01.json").read_text())
    assert {claim["verdict"] for claim in fig01["claims"]} == {"no verdict"}
    lemma1 = json.loads((out / "results" / "lemma1.json").read_text())
    assert {claim["verdict"] for claim in lemma1["claims"]} == {"reproduced at this scale"}
    assert "Not made yet" not in page
    # The sources were not written to.
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert (project / "notebooks" / path.name).read_bytes() == path.read_bytes()

    before = _times(project)
    again = _command(project, "-m", "entropy_mech", "reproduce", "--seeds", "1")
    assert again.returncode == 0
    assert "jobs done" not in again.stdout
    assert _times(project) == before


def test_a_notebook_works_alone_under_plain_papermill(project, tmp_path):
    """It trains what it lacks, from another folder, with papermill's own command line."""
    words = ["-m", "papermill", str(project / "notebooks" / "fig01_collapse_and_law.ipynb")]
    words += [str(tmp_path / "out.ipynb"), "--no-progress-bar", "-p", "profile", "toy"]
    words += ["-p", "seed", "5", "-p", "seeds", "1", "-p", "out_dir", str(tmp_path / "results")]
    done = _command(project, *words)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "results" / "figures" / "fig01.png").exists()
    result = json.loads((tmp_path / "results" / "results" / "fig01.json").read_text())
    assert [run["seed"] for run in result["runs"]] == [5]
