import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")


from entropy_mech import law, theory
from entropy_mech.paper import law_of_run, lemma1, published
from tests.paper.legend import labels


def test_errors_are_drawn_against_eta_on_log_axes(ax):
    frame = theory.verify_lemma1(policies=20, actions=(2, 20), etas=(1e-3, 1e-2, 1e-1))
    assert lemma1.error_against_eta(frame, ax) is ax
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert "nats" in ax.get_ylabel()
    first = ax.get_lines()[0]
    medians = frame.groupby("eta")["first_order_error"].median()
    assert first.get_ydata() == pytest.approx(medians.to_numpy())


def test_each_quadrant_shows_its_own_total(ax):
    frame = theory.sample_actions(policies=5, actions=6)
    lemma1.quadrants(frame, ax)
    shown = [float(text.get_text().split("\n")[1].split()[0]) for text in ax.texts]
    assert sum(shown) == pytest.approx(frame["contribution"].sum() / 5, abs=2e-3)


def test_the_law_of_a_run_shows_points_curve_ceiling_and_units(ax):
    report = law_of_run.law_of()
    law_of_run.law_of_run(report, ax)
    dots = ax.collections[-1].get_offsets()
    assert len(dots) == len(report.points)
    assert ax.get_ylabel() == "performance (%)"
    assert "nats" in ax.get_xlabel()
    assert any(f"ceiling {report.fit.ceiling:.3g}" == text for text in labels(ax))


def test_a_run_of_three_points_can_be_drawn(ax):
    law_of_run.law_of_run(law.analyse_run([0.4, 0.3, 0.2], [0.1, 0.2, 0.25]), ax)
    assert "95 % interval of the law" not in labels(ax)


def test_an_entropy_of_zero_leaves_out_the_logarithm(ax):
    entropy = np.linspace(1.0, 0.0, 20)
    law_of_run.rival_forms(entropy, 0.9 - 0.2 * np.exp(entropy), ax)
    assert not any("logarithm" in text for text in labels(ax))
    assert len(labels(ax)) == 5


def test_rival_forms_forecast_sizes_and_residuals_have_a_legend(ax):
    entropy, accuracy = published.scatter("7B")
    law_of_run.rival_forms(entropy, accuracy, ax)
    assert len(labels(ax)) == 6
    for draw, data in (
        (law_of_run.forecast, law.forecast_law(entropy, accuracy)),
        (law_of_run.residuals_of_run, law_of_run.law_of()),
        (lemma1.group_scales, theory.scale_by_success((2, 4), points=9)),
        (lemma1.noise_changes, theory.sampled_against_expected(group_sizes=(2, 4))),
        (
            lemma1.visitation_ratio,
            theory.visitation_summary(theory.visitation_by_horizon(horizons=(1, 2), policies=2)),
        ),
    ):
        ax.clear()
        assert draw(data, ax) is ax
        assert labels(ax)
        assert ax.get_xlabel()
        assert ax.get_ylabel()


def test_what_the_published_points_support_and_what_they_do_not():
    holds = [fact.holds for fact in lemma1.law_facts()]
    assert holds == [True, True, True, False, False, False]
    fits = published.published_fits()
    assert np.abs(fits.drop(index="0.5B")[["a_error", "b_error"]].to_numpy()).max() < 0.01


def test_the_checks_of_a_run_name_what_does_not_hold():
    checks = law_of_run.law_of().checks().set_index("claim")
    assert checks["holds"].tolist() == [True, True, False, True]
    assert "free_rate fits better" in checks["measured"].iloc[2]
