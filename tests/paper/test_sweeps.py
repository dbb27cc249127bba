"""Sweeps: ends beside the reference of the same seed, order as a rank correlation, and failure."""

import numpy as np
import pandas as pd
import pytest

from entropy_mech.paper import sweeps
from tests.paper.control_runs import runs

SHOWN, AGAINST, NONE = "reproduced", "contradicted", "no verdict"
ALPHAS = {
    "fig03_qwen2.5_7b": 0.0,
    "fig09_entropy_bonus_0.0001": 0.0001,
    "fig09_entropy_bonus_0.001": 0.001,
    "fig09_entropy_bonus_0.005": 0.005,
    "fig09_entropy_bonus_0.01": 0.01,
}
DOSES = {
    "fig11_7b_grpo": (None, None),
    "fig11_7b_clip_cov": (0.1, None),
    "fig12_clip_cov_4e-4": (0.2, None),
    "fig12_clip_cov_7e-4": (0.35, None),
    "fig12_kl_cov_0": (None, 0.0),
    "fig12_kl_cov_0.5": (None, 0.5),
    "fig11_7b_kl_cov": (None, 1.0),
}


def bonus_sweep(entropies, accuracies=(0.9,) * 5, **more):
    ends = {name: (h, 10.0, r) for name, h, r in zip(ALPHAS, entropies, accuracies, strict=True)}
    settings = pd.DataFrame({"run": list(ALPHAS), "entropy_bonus": list(ALPHAS.values())})
    return sweeps.with_coefficient(runs(ends, **more), settings, "entropy_bonus"), settings


def dose_settings(doses=DOSES):
    return pd.DataFrame(
        [
            {"run": name, "clip_fraction": r, "penalty_coefficient": beta}
            for name, (r, beta) in doses.items()
        ]
    )


def test_ends_stand_beside_the_reference_of_their_seed():
    sweep, _ = bonus_sweep((0.02, 0.02, 0.04, 0.1, 1.2), (0.9, 0.9, 0.9, 0.85, 0.3))
    sweep["entropy_nats"] *= sweep["seed"]  # a factor of the seed cancels
    ends = sweeps.sweep_endings(sweep)
    ratio = ends.groupby("coefficient")["entropy_ratio"].mean()
    assert ratio.tolist() == pytest.approx([1, 1, 2, 5, 60], rel=1e-2)
    gain = ends.groupby("coefficient")["accuracy_gain"].mean()
    assert gain.tolist() == pytest.approx([0, 0, 0, -0.05, -0.6], abs=1e-3)
    growth = ends.groupby("coefficient")["growth"].mean()
    assert growth[0.01] == pytest.approx(2.0, rel=1e-3)  # from 0.6 to 1.2


def test_the_bonus_as_the_paper_has_it_and_otherwise():
    sweep, settings = bonus_sweep((0.02, 0.021, 0.03, 0.1, 1.2), noise=0.01)
    verdicts = [c.verdict for c in sweeps.bonus_claims(sweep, settings)]
    assert verdicts == [SHOWN] * 5
    # The other way round: a bonus that lowers the entropy, and 0.005 that wins.
    sweep, settings = bonus_sweep((0.3, 0.1, 0.05, 0.04, 0.02), (0.8, 0.8, 0.8, 0.9, 0.9))
    verdicts = [c.verdict for c in sweeps.bonus_claims(sweep, settings)]
    assert verdicts == [AGAINST, "falls short", AGAINST, AGAINST, AGAINST]


def test_one_seed_or_a_missing_coefficient_gives_no_verdict():
    sweep, settings = bonus_sweep((0.02, 0.021, 0.03, 0.1, 1.2), seeds=(4,))
    claims = sweeps.bonus_claims(sweep, settings)
    assert {c.verdict for c in claims} == {NONE}
    assert claims[0].interval.estimate == pytest.approx(1.0)
    sweep, settings = bonus_sweep((0.02, 0.021, 0.03, 0.1, 1.2))
    claims = sweeps.bonus_claims(sweep[sweep["coefficient"] < 0.005], settings)
    assert [c.verdict for c in claims] == [SHOWN, SHOWN, NONE, NONE, NONE]


def test_a_reference_kl_is_judged_by_its_order_and_its_largest():
    ends = {
        f"run_{beta:g}": (0.02 + beta, 10.0, 0.9 - 3 * beta) for beta in (0, 0.001, 0.01, 0.05, 0.1)
    }
    settings = pd.DataFrame(
        {"run": list(ends), "reference_kl": [float(run.split("_")[1]) for run in ends]}
    )
    sweep = sweeps.with_coefficient(runs(ends, noise=1e-3), settings, "reference_kl")
    claims = sweeps.reference_claims(sweep, settings)
    assert [c.verdict for c in claims] == [SHOWN] * 4
    assert [c.interval.estimate for c in claims[:2]] == pytest.approx([1.0, -1.0])
    assert "beta = 0.1" in claims[2].statement


def test_doses_are_taken_from_each_methods_own_setting():
    frame = runs(dict.fromkeys(DOSES, (0.02, 10.0, 0.9)))
    clip = sweeps.dose_sweep(frame, dose_settings(), "clip_cov")
    assert sorted(clip["run"].unique()) == [
        "fig11_7b_clip_cov", "fig12_clip_cov_4e-4", "fig12_clip_cov_7e-4",
    ]  # fmt: skip
    kl = sweeps.dose_sweep(frame, dose_settings(), "kl_cov")
    assert sorted(kl["coefficient"].unique()) == [0.0, 0.5, 1.0]
    for tenfold in ("clip_cov_x10", "kl_cov_x10"):
        assert sweeps.dose_sweep(frame, dose_settings(), tenfold).empty


def test_tenfold_doses_are_a_set_of_their_own_and_share_the_run_that_penalises_nothing():
    doses = DOSES | {f"{name}_x10": dose for name, dose in DOSES.items() if "4e-4" in name}
    doses |= {"fig12_kl_cov_0.5_x10": (None, 0.5), "fig11_7b_kl_cov_x10": (None, 1.0)}
    frame, settings = runs(dict.fromkeys(doses, (0.02, 10.0, 0.9))), dose_settings(doses)
    assert set(sweeps.dose_sweep(frame, settings, "clip_cov_x10")["run"]) == {
        "fig12_clip_cov_4e-4_x10"
    }
    assert set(sweeps.dose_sweep(frame, settings, "kl_cov_x10")["run"]) == {
        "fig12_kl_cov_0", "fig12_kl_cov_0.5_x10", "fig11_7b_kl_cov_x10",
    }  # fmt: skip
    assert set(sweeps.dose_sweep(frame, settings, "kl_cov")["run"]) == {
        "fig12_kl_cov_0", "fig12_kl_cov_0.5", "fig11_7b_kl_cov",
    }  # fmt: skip
    names = {claim.statement.partition(":")[0] for claim in sweeps.dose_claims(frame, settings)}
    assert {"Clip-Cov", "Clip-Cov, 10 x", "KL-Cov", "KL-Cov, 10 x"} <= names


def test_the_ends_of_all_doses_show_what_was_touched():
    frame = runs(dict.fromkeys(DOSES, (0.02, 10.0, 0.9)))
    clip = frame["run"].str.contains("clip_cov")
    frame.loc[clip & (frame["step"] >= 30), "selected_fraction"] = 0.01
    table = sweeps.dose_endings(frame, dose_settings())
    assert table["method"].tolist() == ["Clip-Cov"] * 9 + ["KL-Cov"] * 9
    assert table["touched_fraction"].tolist() == pytest.approx([0.03] * 9 + [0.05] * 9)
    assert (table["fluctuation"] >= 0).all()
    assert sweeps.dose_endings(pd.DataFrame(), dose_settings()).empty


def test_dose_claims_hold_and_fail():
    def claims(entropies, wiggle, touched):
        frame = runs({n: (h, 10.0, 0.9) for n, h in zip(DOSES, entropies, strict=True)})
        clip = frame["run"].str.contains("clip_cov")
        rng = np.random.default_rng(0)
        noise = np.where(clip, wiggle, 0.1) * rng.normal(size=len(frame))
        frame["entropy_nats"] *= np.exp(noise)
        frame.loc[frame["run"] == "fig12_clip_cov_7e-4", "selected_fraction"] *= touched
        return sweeps.dose_claims(frame, dose_settings())

    shown = claims((0.02, 0.03, 0.06, 0.12, 0.02, 0.05, 0.1), wiggle=0.4, touched=3.0)
    assert [c.verdict for c in shown] == [SHOWN] * 6
    assert shown[5].interval.estimate == pytest.approx(4.0, rel=0.3)  # 0.4 against 0.1
    against = claims((0.02, 0.12, 0.06, 0.03, 0.1, 0.05, 0.02), wiggle=0.02, touched=1.0)
    assert [c.verdict for c in against] == ["falls short"] + [AGAINST] * 5


def test_fluctuation_is_about_a_line():
    frame = pd.DataFrame(
        {
            "seed": 1,
            "coefficient": 1.0,
            "step": range(40),
            "entropy_nats": np.exp(-0.1 * np.arange(40) + 0.2 * (-1.0) ** np.arange(40)),
        }
    )
    (found,) = sweeps.fluctuations(frame)["fluctuation"]
    assert found == pytest.approx(0.2, rel=0.06)  # the fall itself is none


def test_without_runs_what_is_printed_is_compared_with_our_files():
    empty = pd.DataFrame()
    (fact,) = sweeps.bonus_claims(
        empty, pd.DataFrame({"entropy_bonus": [0, 1e-4, 1e-3, 5e-3, 1e-2]})
    )
    assert fact.holds
    assert fact.paper == "0, 0.0001, 0.001, 0.005, 0.01"
    (fact,) = sweeps.reference_claims(empty, pd.DataFrame({"reference_kl": [0, 0.001, 0.01]}))
    assert not fact.holds
    facts = sweeps.dose_claims(
        empty,
        pd.DataFrame(
            {
                "clip_fraction": [2e-4, 4e-4, 5e-4, 7e-4, None],
                "penalty_coefficient": [1, 0.5, 0.1, 0.05, 0],
            }
        ),
    )
    assert [fact.holds for fact in facts] == [True, True]
