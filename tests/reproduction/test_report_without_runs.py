"""A report of the published profile has no runs: empty frames, the paper's settings, its tables."""

import json

import pandas as pd

from entropy_mech.paper.style import Table
from entropy_mech.reproduction import open_report


def test_frames_are_empty_and_settings_are_the_papers(tmp_path):
    report = open_report("fig12", profile="published", out_dir=str(tmp_path))
    assert report.published
    for frame in (report.metrics(), report.tokens(0), report.lemma1(), report.settings()):
        assert frame.empty
    settings = report.loss_settings().set_index("run")
    assert settings.loc["fig11_7b_clip_cov", "clip_fraction"] == 2e-4
    assert settings.loc["fig12_kl_cov_0.05", "penalty_coefficient"] == 0.05
    assert pd.isna(settings.loc["fig11_7b_grpo", "penalty_coefficient"])


def test_the_toy_profile_has_settings_of_its_own(tmp_path):
    report = open_report("fig09", out_dir=str(tmp_path))
    settings = report.loss_settings().set_index("run")["entropy_bonus"]
    assert settings["fig03_qwen2.5_7b"] == 0
    assert settings["fig09_entropy_bonus_0.005"] == 0.005


def test_a_table_is_written_twice_and_named_in_the_results(tmp_path):
    report = open_report("tab02", profile="published", out_dir=str(tmp_path))
    cells = pd.DataFrame({"Avg.": ["1.0"]}, index=["GRPO"])
    table = Table(cells, cells == "1.0", "One number")
    assert report.save_table(table, "extra") is table
    assert (tmp_path / "tables" / "extra.md").read_text() == table.markdown()
    assert (tmp_path / "tables" / "extra.tex").read_text() == table.latex()
    report.verdict([])
    assert json.loads((tmp_path / "results" / "tab02.json").read_text())["tables"] == ["extra"]
