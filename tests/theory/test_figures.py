import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")


from entropy_mech import published, theory
from entropy_mech.figures import law as law_figures
from entropy_mech.figures import theory as theory_figures
from tests.figures.legend import labels


def test_errors_are_drawn_against_eta_on_log_axes(ax):
    frame = theory.verify_lemma1(policies=20, actions=(2, 20), etas=(1e-3, 1e-2, 1e-1))
    assert theory_figures.error_against_eta(frame, ax) is ax
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert "nats" in ax.get_ylabel()
    first = ax.get_lines()[0]
    medians = frame.groupby("eta")["first_order_error"].median()
    assert first.get_ydata() == pytest.approx(medians.to_numpy())


def test_each_quadrant_shows_its_own_total(ax):
    frame = theory.sample_actions(policies=5, actions=6)
    theory_figures.quadrants(frame, ax)
    shown = [float(text.get_text().split("\n")[1].split()[0]) for text in ax.texts]
    assert sum(shown) == pytest.approx(frame["contribution"].sum() / 5, abs=2e-3)


def test_the_law_of_a_run_shows_points_curve_ceiling_and_units(ax):
    report = theory.law_of()
    law_figures.law_of_run(report, ax)
    dots = ax.collections[-1].get_offsets()
    assert len(dots) == len(report.points)
    assert ax.get_ylabel() == "performance (%)"
    assert "nats" in ax.get_xlabel()
    assert any(f"ceiling {report.fit.ceiling:.3g}" == text for text in labels(ax))


def test_a_run_of_three_points_can_be_drawn(ax):
    law_figures.law_of_run(theory.analyse_run([0.4, 0.3, 0.2], [0.1, 0.2, 0.25]), ax)
    assert "95 % interval of the law" not in labels(ax)


def test_an_entropy_of_zero_leaves_out_the_logarithm(ax):
    entropy = np.linspace(1.0, 0.0, 20)
    law_figures.rival_forms(entropy, 0.9 - 0.2 * np.exp(entropy), ax)
    assert not any("logarithm" in text for text in labels(ax))
    assert len(labels(ax)) == 5


def test_rival_forms_forecast_sizes_and_residuals_have_a_legend(ax):
    entropy, accuracy = published.scatter("7B")
    law_figures.rival_forms(entropy, accuracy, ax)
    assert len(labels(ax)) == 6
    for draw, data in (
        (law_figures.forecast, theory.forecast_law(entropy, accuracy)),
        (law_figures.coefficients_by_size, published.curve_coefficients()),
        (law_figures.residuals_of_run, theory.law_of()),
        (theory_figures.group_scales, theory.scale_by_success((2, 4), points=9)),
        (theory_figures.noise_changes, theory.sampled_against_expected(group_sizes=(2, 4))),
        (
            theory_figures.visitation_ratio,
            theory.visitation_summary(theory.visitation_by_horizon(horizons=(1, 2), policies=2)),
        ),
    ):
        ax.clear()
        assert draw(data, ax) is ax
        assert labels(ax)
        assert ax.get_xlabel()
        assert ax.get_ylabel()


def test_what_the_published_points_support_and_what_they_do_not():
    claims = theory.published_law_claims()
    assert claims["holds"].tolist() == [True, True, True, False, False, False]
    fits = theory.published_fits()
    assert np.abs(fits.drop(index="0.5B")[["a_error", "b_error"]].to_numpy()).max() < 0.01


def test_the_checks_of_a_run_name_what_does_not_hold():
    checks = theory.law_of().checks().set_index("claim")
    assert checks["holds"].tolist() == [True, True, False, True]
    assert "free_rate fits better" in checks["measured"].iloc[2]
