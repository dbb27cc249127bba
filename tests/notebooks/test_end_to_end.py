"""The whole way on tiny runs: train, measure, execute every notebook, gallery; then again.

Every notebook is executed in both profiles that need no GPU, from an empty folder.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from entropy_mech.paper.claims import MIN_REPLICATES
from entropy_mech.reproduction.targets import load_targets, run_config
from entropy_mech.runs.kept import kept_store

ROOT = Path(__file__).parents[2]

# Enough for every phase to do something; far too little for any claim to hold.
TINY = {
    "steps": 12,
    "record_tokens_every": 4,
    "base": {"steps": 40, "noisy_steps": 10},
    "rollout": {"prompts": 8, "responses": 4},
    "update": {"updates_per_rollout": 2},
    "validation": {"every": 2, "samples": 1},
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project's declarations whose runs are tiny."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    shutil.copytree(ROOT / "reproduce", folder / "reproduce")
    shared = folder / "reproduce" / "runs" / "toy" / "_toy.toml"
    shared.write_text(_toml(_merged(tomllib.loads(shared.read_text()), TINY)))
    for path in shared.parent.glob("*.toml"):  # some have steps and validations of their own
        text = path.read_text().replace("steps = 80", f"steps = {TINY['steps']}")
        path.write_text(
            re.sub(r"validation_counts = {[^}]*}", "validation_counts = { 2 = 12 }", text)
        )
    return folder


def _merged(below, above):
    return below | {
        key: _merged(below.get(key, {}), value) if isinstance(value, dict) else value
        for key, value in above.items()
    }


def _toml(table):
    return "".join(f"{key} = {_toml_value(value)}\n" for key, value in table.items())


def _toml_value(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {_toml_value(v)}" for k, v in value.items()) + " }"
    return json.dumps(value)


TOY = ("--profile", "toy", "--seeds", "1")


def _start(project, *words, **more):
    environment = {**os.environ, "ENTROPY_MECH_PROJECT": str(project)}
    environment.pop("ENTROPY_MECH_RUNS", None)
    return subprocess.Popen(
        [sys.executable, *words], text=True, env=environment, cwd=project,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **more,
    )  # fmt: skip


def _command(project, *words):
    process = _start(project, *words)
    said, _ = process.communicate(timeout=1500)
    assert process.returncode == 0, said
    return said


def _reproduce(project, *words):
    return _command(project, "-m", "entropy_mech", "reproduce", *words)


def _times(folder):
    return {p: p.stat().st_mtime_ns for p in folder.rglob("*.json*")}


def _trained(project):
    """Return what trained runs consist of: their metrics, and when they were last written."""
    runs = (project / "runs").glob("*/metrics.jsonl")
    return {p.parent.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in runs}


@pytest.mark.long
def test_every_item_of_the_toy_profile_then_nothing(project):
    said = _reproduce(project, *TOY)
    out = project / "out" / "toy"
    page = (out / "index.html").read_text()
    for name, target in load_targets().items():
        result = json.loads((out / "results" / f"{name}.json").read_text())
        assert result["claims"], name
        assert f'id="{name}"' in page
        assert (out / "notebooks" / f"{target.notebook}.html").exists()
        for figure in result["figures"]:
            assert (out / "figures" / f"{figure}.svg").stat().st_size > 1000
            assert f"figures/{figure}.png" in page
        for run in result["runs"]:
            assert {"name", "run", "base_model", "seed", "wall_time_s", "processor"} <= run.keys()
    assert "Not made yet" not in page
    # One seed: numbers, and no verdict where seeds are the replicates.
    fig01 = json.loads((out / "results" / "fig01.json").read_text())
    assert "reproduced" not in {claim["verdict"] for claim in fig01["claims"]}
    # Every policy of Table 2 was measured, on eight benchmarks each.
    scores = list((project / "runs").glob("*/evaluation/toy/*/scores.json"))
    assert len(scores) == len(load_targets()["tab02"].run_names("toy"))
    # The sources were not written to.
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert (project / "notebooks" / path.name).read_bytes() == path.read_bytes()
    assert "jobs done" in said

    before = _times(project / "out"), _trained(project)
    assert "jobs done" not in _reproduce(project, *TOY)
    assert (_times(project / "out"), _trained(project)) == before


def test_three_items_of_the_published_profile(project):
    _reproduce(project, "fig11", "tab02", "law_published", "--profile", "published")
    results = {p.stem for p in (project / "out" / "published" / "results").glob("*.json")}
    assert results == {"fig11", "tab02", "law_published"}
    assert "Not made yet" in (project / "out" / "published" / "index.html").read_text()


@pytest.mark.long
def test_every_item_of_the_published_profile_needs_no_run(project):
    had = _trained(project)
    _reproduce(project, "--profile", "published")
    page = (project / "out" / "published" / "index.html").read_text()
    assert "Not made yet" not in page
    assert "Runs: " not in page
    assert _trained(project) == had


@pytest.mark.long
@pytest.mark.skipif(
    not kept_store().run(run_config("fig03_qwen2.5_7b", seed=MIN_REPLICATES)).complete,
    reason="fewer seeds are kept than verdicts need",
)
def test_the_kept_profile_has_a_verdict_for_every_claim_and_trains_nothing(tmp_path):
    for name in ("notebooks", "reproduce"):
        shutil.copytree(ROOT / name, tmp_path / name)
    _reproduce(tmp_path, "--profile", "kept")
    assert not list((tmp_path / "runs").glob("*/metrics.jsonl"))
    results = [json.loads(p.read_text()) for p in (tmp_path / "out/kept/results").glob("*.json")]
    assert {result["target"] for result in results} == set(load_targets())
    toys = [one for one in results if "kept" not in load_targets()[one["target"]].taken_from]
    claims = [claim for result in toys for claim in result["claims"]]
    assert "no verdict" not in {claim["verdict"] for claim in claims}


@pytest.mark.long
def test_killed_at_three_moments_nothing_is_trained_twice(project, tmp_path):
    """``kill -9`` of the runner: in a base model, in a run, in a notebook; then to the end."""
    folder = tmp_path / "killed"
    for name in ("notebooks", "reproduce"):
        shutil.copytree(project / name, folder / name)
    words = ("-m", "entropy_mech", "reproduce", "tab01", "fig08", *TOY)
    moments = (
        "runs/base_models/*.status.json",
        "runs/*/metrics.jsonl",
        "out/toy/notebooks/tmp-*.ipynb",
    )
    for moment in moments:
        process = _start(folder, *words)
        until = time.monotonic() + 300
        while not any(folder.glob(moment)):
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < until, moment
            time.sleep(0.02)
        complete = {p: p.stat().st_mtime_ns for p in _complete(folder)}
        process.send_signal(signal.SIGKILL)
        process.wait()
    _command(folder, *words)
    undisturbed, again = _trained(project), _trained(folder)
    assert len(again) == 2
    for run, (metrics, _) in again.items():
        assert metrics == undisturbed[run][0]
    # What was complete before the last kill has not been touched since.
    assert complete
    assert {p: p.stat().st_mtime_ns for p in complete} == complete


def _complete(folder):
    """Return the metrics of the runs that have gone as far as they should."""
    return [
        path / "metrics.jsonl"
        for path in (folder / "runs").glob("*")
        if (path / "manifest.json").exists()
        and json.loads((path / "manifest.json").read_text())["steps"] == TINY["steps"]
    ]


def test_a_notebook_works_alone_under_plain_papermill(project, tmp_path):
    """It trains what it lacks, from another folder, with papermill's own command line."""
    words = ["-m", "papermill", str(project / "notebooks" / "fig01_collapse_and_law.ipynb")]
    words += [str(tmp_path / "out.ipynb"), "--no-progress-bar", "-p", "profile", "toy"]
    words += ["-p", "seed", "5", "-p", "seeds", "1", "-p", "out_dir", str(tmp_path / "results")]
    _command(project, *words)
    assert (tmp_path / "results" / "figures" / "fig01.png").exists()
    result = json.loads((tmp_path / "results" / "results" / "fig01.json").read_text())
    assert [run["seed"] for run in result["runs"]] == [5]
