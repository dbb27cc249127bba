"""The law in public runs: the kept table against an independent fit, the rule."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from entropy_mech.errors import UserError
from entropy_mech.paper import law_in_the_wild as wild

SERIES = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "logs"
KEPT = wild.kept_runs()
NUMBERS = KEPT.select_dtypes("number").columns
needs_series = pytest.mark.skipif(not SERIES.is_dir(), reason="the public logs are not here")


def _least_squares(entropy, performance):
    """R = -a exp(H) + b by numpy alone."""
    design = np.column_stack([-np.exp(entropy), np.ones(len(entropy))])
    (a, b), *_ = np.linalg.lstsq(design, performance, rcond=None)
    residual = performance - design @ [a, b]
    return a, b, 1 - (residual @ residual) / ((performance - performance.mean()) ** 2).sum()


@needs_series
@pytest.mark.parametrize("run", KEPT["run"])
def test_the_kept_fit_is_that_of_an_independent_computation(run):
    row = KEPT.set_index("run").loc[run]
    series = pd.read_csv(SERIES / f"{run}.csv")
    # ``performance`` is the choice of who made the series; ours is by ``chosen_points``.
    for prefix, column in (("", "performance"), ("train_", "train_reward")):
        points = series[["entropy_nats", column]].dropna().to_numpy()
        assert row[f"{prefix}points"] == len(points)
        theirs = [row[f"{prefix}{name}"] for name in ("a", "b", "r2")]
        np.testing.assert_allclose(theirs, _least_squares(*points.T), rtol=0, atol=1e-3)


@needs_series
def test_all_that_is_kept_is_what_is_computed_anew():
    anew = wild.load_runs(SERIES)
    assert set(anew["numbers"]) == {"folder"}
    texts = [name for name in KEPT if name not in NUMBERS and name != "numbers"]
    pd.testing.assert_frame_equal(anew[texts], KEPT[texts], check_dtype=False)
    pd.testing.assert_frame_equal(anew[NUMBERS], KEPT[NUMBERS], check_dtype=False, rtol=1e-4)


def test_every_run_has_its_source_and_no_series_is_kept():
    assert KEPT["commit"].str.fullmatch("[0-9a-f]{40}").all()
    assert KEPT["repository"].str.fullmatch(r"[\w.-]+/[\w.-]+").all()
    for name in ("path", "licence", "model", "algorithm", "entropy_definition", "cautions"):
        assert KEPT[name].str.strip().ne("").all(), name
    assert not KEPT["run"].duplicated().any()
    assert set(KEPT["class"]) <= set(wild.CLASS_ORDER)
    assert not {"step", "entropy_nats", "train_reward"} & set(KEPT)


# -- The rule ------------------------------------------------------------------------------------


def _series(entropy, performance=None, validations=40):
    steps = np.arange(len(entropy))
    performance = 1 - 0.2 * np.exp(entropy) if performance is None else performance
    validation = np.where(steps < validations, performance, np.nan)
    columns = {"step": steps, "entropy_nats": entropy, "validation_accuracy": validation}
    return pd.DataFrame({**columns, "train_reward": performance / 2})


FALL = np.linspace(1.0, 0.1, 40)


@pytest.mark.parametrize(("validations", "name"), [(8, "validation accuracy"), (7, "train reward")])
def test_performance_is_validation_from_eight_on(validations, name):
    chosen, points = wild.chosen_points(_series(FALL, validations=validations))
    assert chosen == name
    assert len(points) == (8 if validations == 8 else 40)


@pytest.mark.parametrize(
    ("entropy", "controlled_by", "name"),
    [
        (FALL, "", "falling"),
        (FALL, "clip-higher 0.28", "controlled"),
        (FALL[::-1], "", "rising"),
        (1 + 0.01 * np.cos(np.arange(40)), "", "flat"),
        (np.r_[FALL[:20], np.linspace(0.5, 6.0, 20)], "", "exploding"),
    ],
    ids=["falls", "falls under a control", "rises", "stays", "explodes"],
)
def test_class_is_what_entropy_does(entropy, controlled_by, name):
    _, points = wild.chosen_points(_series(entropy))
    assert wild.measured(points, points["entropy_nats"], controlled_by)["class"] == name


def test_class_is_collapsing_where_performance_is_lost():
    series = _series(FALL, np.r_[np.linspace(0.2, 0.8, 30), np.zeros(10)])
    _, points = wild.chosen_points(series)
    assert wild.measured(points, points["entropy_nats"])["class"] == "collapsing"


def test_the_whole_entropy_curve_decides_not_the_points():
    _, points = wild.chosen_points(_series(FALL))
    everywhere = pd.Series(np.r_[FALL, np.full(20, 8.0)])
    assert wild.measured(points, everywhere)["class"] == "exploding"


# -- What is computed ----------------------------------------------------------------------------


def test_an_exact_law_is_found_and_beats_its_rivals():
    _, points = wild.chosen_points(_series(FALL))
    found = wild.measured(points, points["entropy_nats"])
    assert [found[name] for name in ("a", "b", "r2")] == pytest.approx([0.2, 1.0, 1.0])
    for rival in wild.RIVALS:
        assert found[f"r2_{rival}"] < 1
        assert found[f"aicc_{rival}"] > 0
    assert found["forecast_rmse"] < 1e-9 < found["carried_rmse"]
    assert found["partial_correlation"] == pytest.approx(-1)


def test_a_run_that_follows_the_clock_is_given_to_the_clock():
    rng = np.random.default_rng(0)
    clock = np.log1p(np.arange(40))
    entropy = 1.0 - 0.2 * clock + 0.05 * rng.standard_normal(40)
    _, points = wild.chosen_points(_series(entropy, 0.2 * clock))
    found = wild.measured(points, points["entropy_nats"])
    assert found["r2_log_step"] == pytest.approx(1)
    assert found["aicc_log_step"] < 0


def test_partial_correlation_is_the_textbooks():
    x, y, z = np.random.default_rng(1).standard_normal((3, 50)) + np.arange(50) / 20
    xy, xz, yz = (np.corrcoef(*pair)[0, 1] for pair in ((x, y), (x, z), (y, z)))
    by_hand = (xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2))
    assert wild.partial_correlation(x, y, z) == pytest.approx(by_hand)
    left = [v - np.polyval(np.polyfit(z, v, 1), z) for v in (x, y)]
    assert wild.partial_correlation(x, y, z) == pytest.approx(np.corrcoef(*left)[0, 1])


def test_log_entropy_has_no_fit_where_entropy_is_zero():
    _, points = wild.chosen_points(_series(np.linspace(1.0, 0.0, 40)))
    found = wild.measured(points, points["entropy_nats"])
    assert np.isnan(found["r2_log_entropy"])
    assert np.isfinite(found["r2_linear"])


# -- Claims and drawing --------------------------------------------------------------------------


def test_without_series_the_kept_numbers_serve(monkeypatch, tmp_path):
    monkeypatch.setattr(wild, "_BESIDE", tmp_path)
    table = wild.load_runs()
    pd.testing.assert_frame_equal(table, KEPT)
    for figure in (wild.overview_figure(table), wild.recipe_figure(table)):
        assert len(figure.axes) >= 2
    drawn = wild.examples_figure(table)
    notes = [text.get_text() for ax in drawn.axes for text in ax.texts]
    assert len(notes) == 6
    assert all("not here" in note for note in notes)


def test_a_folder_without_any_series_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"folder = .*none of 47 series"):
        wild.load_runs(tmp_path)


def test_claims_follow_the_numbers():
    verdicts = [claim.verdict for claim in wild.wild_claims(KEPT)]
    better = KEPT.assign(r2=0.99, forecast_rmse=0.5 * KEPT["carried_rmse"])
    changed = [claim.verdict for claim in wild.wild_claims(better)]
    assert verdicts[0] == "undecided"
    assert changed[0] == "reproduced"
    assert (verdicts[5], changed[5]) == ("contradicted", "reproduced")


def test_repositories_are_counted_beside_runs():
    falling = KEPT[KEPT["class"] == "falling"]
    claims = wild.wild_claims(KEPT)
    assert claims[0].ours.endswith(f"{len(falling)} runs of 5 repositories")
    assert "5 repositories" in claims[6].statement


def test_the_notebook_states_the_rule_before_it_fits():
    path = Path(__file__).parents[2] / "notebooks" / "law_in_the_wild.ipynb"
    first = "".join(json.loads(path.read_text())["cells"][0]["source"])
    for name in wild.CLASS_ORDER:
        assert f"*{name}*" in first
    assert re.search(r"stated before the fits", first)
