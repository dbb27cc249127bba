"""Only a run that spends its entropy gets a law; what speaks against it comes first."""

import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from entropy_mech.errors import UserError
from entropy_mech.law import analyse_log, analyse_run, fit_law
from entropy_mech.law.dialects import control_in
from entropy_mech.law.report import course_of, performance_unit
from entropy_mech.paper.law_of_run import law_of_run

LOGS = Path(__file__).parents[3] / "shared" / "data" / "logs"
T = np.linspace(0.0, 1.0, 80)
RISE = 0.3 + 0.3 * T
COURSES = {
    "exponential fall": (0.8 * np.exp(-4 * T) + 0.04, "falls"),
    "fast fall, little left": (0.8 * np.exp(-30 * T) + 0.05, "falls"),
    "linear fall": (1 - 0.9 * T, "falls"),
    "slow fall": (1 - 0.15 * T, "falls"),
    "first rises a little": (np.where(T < 0.1, 0.5 + 2 * T, 0.7 * np.exp(4 * (0.1 - T))), "falls"),
    "rises": (RISE, "rises"),
    "rises by a fifth": (0.3 + 0.06 * T, "rises"),
    "explodes": (np.where(T < 0.7, 0.3, 0.3 + 27 * (T - 0.7)), "explodes"),
    "explodes and recovers": (0.2 + 4 * np.exp(-(((T - 0.5) / 0.1) ** 2)), "explodes"),
    "explodes from almost nothing": (0.01 + 0.5 * T**4, "explodes"),
    "falls, then rises": (1.5 * (T - 0.5) ** 2 + 0.1, "returns"),
    "surges on its way down": (np.where(abs(T - 0.5) < 0.08, 1.6, np.exp(-3 * T)), "returns"),
    "flat": (0.4 + 0.01 * np.sin(40 * T), "flat"),
    "held at half": (0.5 * np.exp(-12 * T) + 0.5, "held"),
    "held at a target, with swings": (0.6 * np.exp(-12 * T) + 0.4 + 0.03 * np.sin(60 * T), "held"),
}


@pytest.mark.parametrize(("entropy", "name"), COURSES.values(), ids=COURSES.keys())
@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_each_course_has_its_class(entropy, name, noise):
    factor = np.exp(noise * np.random.default_rng(3).standard_normal(len(T)))
    assert course_of(entropy * factor).name == name


@pytest.mark.parametrize("case", [name for name, (_, c) in COURSES.items() if c != "falls"])
def test_no_other_course_is_given_a_law(case):
    entropy, _ = COURSES[case]
    noise = 0.01 * np.random.default_rng(0).standard_normal(len(T))
    report = analyse_run(entropy, 0.6 - 0.02 * np.exp(entropy / entropy.max()) + noise)
    first, *rest = report.text().splitlines()
    assert first.startswith("warning: ")
    assert "is the law" in first
    assert not any("ceiling" in line or line.startswith("R = ") for line in rest)
    assert any(line.startswith("not the law, only least squares") for line in rest)
    assert not report.checks()["holds"].iloc[0]
    fig, ax = plt.subplots()
    law_of_run(report, ax)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert ax.get_title().startswith("Not the law: ")
    assert any(label.startswith("not the law") for label in labels)
    assert not any("ceiling" in label for label in labels)
    plt.close(fig)


def test_a_collapse_of_performance_gets_no_law():
    entropy = 0.8 * np.exp(-4 * T)
    score = np.where(T < 0.6, 0.5 + 0.2 * T, 0.02)
    assert course_of(entropy, score).name == "collapses"
    assert course_of(entropy, 0.5 - 0.2 * entropy).name == "falls"


@pytest.mark.parametrize("name", ["actor/entropy_coeff", "ent_coef", "target_entropy",
                                  "actor/kl_cov_loss", "clip_cov_frac"])  # fmt: skip
def test_a_setting_in_the_log_says_that_entropy_is_controlled(tmp_path, name):
    entropy = 0.8 * np.exp(-4 * T) + 0.05
    frame = pd.DataFrame({"entropy": entropy, "accuracy": 0.9 - 0.2 * np.exp(entropy), name: 0.01})
    frame.to_csv(tmp_path / "log.csv", index=False)
    report, _ = analyse_log(tmp_path / "log.csv")
    assert report.text().startswith(f"warning: entropy is controlled (column {name!r})")
    frame.assign(**{name: 0.0}).to_csv(tmp_path / "log.csv", index=False)
    assert analyse_log(tmp_path / "log.csv")[0].course.name == "falls"
    assert control_in({"entropy": entropy, "kl": entropy, "discover": entropy}) == ""


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        ({"method": "kl_cov"}, "loss.method = kl_cov"),
        ({"method": "clip_cov"}, "loss.method = clip_cov"),
        ({"method": "ppo_clip", "entropy_bonus": 0.01}, "loss.entropy_bonus = 0.01"),
        ({"method": "ppo_clip", "clip_low": 0.2, "clip_high": 0.28}, "loss.clip_high = 0.28"),
        ({"method": "ppo_clip", "clip_low": 0.2, "clip_high": 0.2, "entropy_bonus": 0.0}, ""),
    ],
)
def test_a_run_of_this_package_says_how_its_entropy_was_controlled(tmp_path, loss, said):
    entropy = 0.8 * np.exp(-4 * T) + 0.05
    rows = [{"step": i, "entropy_nats": h, "validation_accuracy": 0.9 - 0.2 * np.exp(h)}
            for i, h in enumerate(entropy)]  # fmt: skip
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "config.json").write_text(json.dumps({"loss": loss}))
    course = analyse_log(tmp_path)[0].course
    assert course.name == ("controlled" if said else "falls")
    assert said in course.sentence


# Where the rule and the manifest differ, and why.
DIFFERENT = {
    "cs336_qwen25-math-1.5b_offpolicy_e2_clip-higher0.28.csv": "returns",  # doubles after its fall
    "sunshine_qwen35-9b_dapo_s42.csv": "returns",
    "rdan_qwen3-4b_grpo_if.csv": "flat",  # 0.646 to 0.664 in 330 steps
    "omr-hard_qwen3-1.7b_nohint.csv": "rises",  # 0.269 to 0.308
}
CLASSES = {
    "falling": {"falls"},
    "rising": {"rises"},
    "controlled (entropy bonus)": {"rises"},  # nothing in these files says what raised it
    "explosion": {"explodes"},
    "explosion + collapse": {"explodes"},
    "performance collapse": {"collapses"},
    "flat entropy": {"flat", "returns"},  # of noise that is as large as what is left
    "flat/non-monotone": {"flat", "returns"},
}


@pytest.mark.skipif(not LOGS.is_dir(), reason="needs the public logs in ../shared/data/logs")
def test_the_classes_of_the_public_logs():
    manifest = pd.read_csv(LOGS / "MANIFEST.csv")
    for name, expected in zip(manifest["file"], manifest["entropy_class"], strict=True):
        course = analyse_log(LOGS / name)[0].course
        wanted = {DIFFERENT[name]} if name in DIFFERENT else CLASSES[expected]
        assert course.name in wanted, (name, expected, course)
        assert course.is_law == (expected == "falling" and name not in DIFFERENT), name


@pytest.mark.parametrize(
    "entropy",
    [
        0.5 + 1e-9 * np.arange(40),
        0.5 + 1e-7 * np.arange(40),
        2.0 + 1e-9 * np.sin(np.arange(40)),
        1e-7 * np.arange(40),
        np.float32(0.5) + np.arange(40) * np.finfo(np.float32).eps,
        np.where(np.arange(40) % 2, 0.5, 0.501),
        np.where(np.arange(40) % 3, 0.12, 0.13),
        np.where(np.arange(40) % 2, 0.5, 0.501953125),
    ],
)
def test_entropy_that_is_constant_within_rounding_is_refused(entropy):
    with pytest.raises(UserError, match="everywhere within rounding: give a run in which"):
        fit_law(entropy, 0.5 + 0.01 * np.arange(40))


def test_little_but_real_movement_is_fitted():
    for entropy in (0.5 - 5e-4 * np.arange(40), [0.53, 0.52, 0.51, 0.5], [0.0, 1.0, 0.0],
                    1e-3 - 2e-5 * np.arange(40), [0.302, 0.301, 0.3]):  # fmt: skip
        assert fit_law(entropy, np.arange(len(entropy)) + 1.0).n_points == len(entropy)


def test_an_entropy_below_zero_by_rounding_is_zero_and_any_other_is_refused():
    score = [0.1, 0.2, 0.3, 0.31]
    for tiny in (-0.0, -1e-12, -1e-9, -3e-6):
        assert fit_law([0.9, 0.5, 0.1, tiny], score) == fit_law([0.9, 0.5, 0.1, 0.0], score)
    for negative in (-1e-4, -0.01, -2.0):
        with pytest.raises(UserError, match=r"at least 0 nats .*density"):
            fit_law([0.9, 0.5, 0.1, negative], score)
    with pytest.raises(UserError, match="all are negative: are these -H"):
        fit_law([-0.9, -0.5, -0.1], score[:3])


@pytest.mark.parametrize(
    ("top", "name", "unit"),
    [
        (0.7, "", "fraction"),
        (0.7, "eval_reward", "fraction"),
        (8.0, "", "reward"),
        (13.7, "performance", "reward"),
        (13.7, "score", "reward"),
        (13.7, "eval_acc", "percent"),
        (45.0, "val-core/aime/acc/mean@32", "percent"),
        (30.0, "eval/aime/pass@1", "percent"),
        (80.0, "math500", "percent"),
        (80.0, "eval_reward", "reward"),
        (80.0, "episode_return", "reward"),
        (80.0, "eval/num_correct", "reward"),
        (0.8, "acc_pct", "percent"),
        (120.0, "accuracy", "reward"),
        (1.0 + 1e-7, "accuracy", "fraction"),
    ],
)
def test_the_unit_follows_from_name_and_range(top, name, unit):
    assert performance_unit(np.linspace(0.0, top, 9), name) == unit


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("my_approx_entropy", "an approximation"),
        ("entropy_loss", "a term of the loss"),
        ("ent_loss", "a term of the loss"),
        ("objective/entropy", "a sum over tokens"),
        ("entropy_sum", "a sum over tokens"),
        ("entropy_temp_scaled", "another temperature"),
        ("ref/entropy", "something else"),
        ("router_entropy", "something else"),
        ("attention/entropy", "something else"),
        ("eval/entropy", "evaluation prompts"),
        ("entropy_top_20", "a part of the tokens"),
        ("normalized_entropy", "a share"),
        ("entropy_max", "not the mean"),
    ],
)
def test_a_name_that_speaks_against_its_entropy_warns(tmp_path, name, said):
    entropy = 0.8 * np.exp(-4 * T) + 0.05
    frame = pd.DataFrame({"step": T, name: entropy, "accuracy": 0.9 - 0.2 * np.exp(entropy)})
    frame.to_csv(tmp_path / "log.csv", index=False)
    report, _ = analyse_log(tmp_path / "log.csv", entropy=name)
    assert any(said in warning for warning in report.warnings), report.warnings
    frame.rename(columns={name: "policy_entropy"}).to_csv(tmp_path / "log.csv", index=False)
    assert analyse_log(tmp_path / "log.csv")[0].warnings == []


@pytest.mark.parametrize(
    ("name", "bits"),
    [("entropy_bits", True), ("Entropy (bits)", True), ("entropy [Bits/token]", True),
     ("entropyBits", True), ("entropy_log2", True), ("entropy (nats)", False),
     ("4bit/entropy", False), ("4-bit entropy", False), ("orbit_entropy", False)],
)  # fmt: skip
def test_bits_are_made_into_nats(tmp_path, name, bits):
    entropy = 0.8 * np.exp(-4 * T) + 0.05
    frame = pd.DataFrame(
        {name: entropy / np.log(2) if bits else entropy, "accuracy": 1 - 0.2 * np.exp(entropy)}
    )
    frame.to_csv(tmp_path / "log.csv", index=False)
    report, _ = analyse_log(tmp_path / "log.csv", entropy=name)
    assert report.fit.a == pytest.approx(0.2)
    assert ("is in bits" in report.text()) == bits
