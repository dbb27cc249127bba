"""The drawings of the notebook ``explore``: what they show are the exact values."""

import re

import numpy as np
import pytest

from entropy_mech.errors import UserError
from entropy_mech.paper import published
from entropy_mech.reproduction.explore import (
    colour_scale,
    entropy_of_step,
    fit_window,
    law_window_figure,
    policy_figure,
    responses_html,
    token_colour,
)

LOGITS, ADVANTAGES = [0.0, 1.0, 2.0, 3.0], [-1.0, -1.0, 1.0, 1.0]


def _softmax(logits):
    weights = np.exp(logits)
    return weights / weights.sum()


def _entropy(probs):
    return -(probs * np.log(probs)).sum()


def test_bars_are_the_policies_and_labels_the_exact_changes():
    eta = 0.3
    left, middle, right = policy_figure(LOGITS, ADVANTAGES, eta).axes
    before = _softmax(LOGITS)
    centred = np.array(ADVANTAGES) - before @ ADVANTAGES
    steps = [eta * before * centred, eta * centred]
    afters = [_softmax(np.array(LOGITS) + step) for step in steps]
    heights = [[bar.get_height() for bar in bars] for bars in left.containers]
    np.testing.assert_allclose(heights, [before, *afters], rtol=1e-12)

    exact, predicted = ([bar.get_height() for bar in bars] for bars in middle.containers[:2])
    np.testing.assert_allclose(exact, [_entropy(a) - _entropy(before) for a in afters], rtol=1e-9)
    logp = np.log(before)
    covariances = [before @ ((logp - before @ logp) * step) for step in steps]
    np.testing.assert_allclose(predicted, -np.array(covariances), rtol=1e-12)
    labels = [text.get_text() for text in middle.texts]
    assert f"exact\n{exact[0]:+.5f}" in labels
    assert f"predicted\n{predicted[1]:+.5f}" in labels
    places = right.collections[0].get_offsets()
    np.testing.assert_allclose(places, np.column_stack([logp + _entropy(before), centred]))


def test_what_the_notebook_says_to_try_happens():
    assert (entropy_of_step(LOGITS, [1.0, 1.0, 1.0, -1.0], 0.2)["exact"] > 0).all()
    small, double = (entropy_of_step(LOGITS, ADVANTAGES, eta)["error"] for eta in (0.01, 0.02))
    np.testing.assert_allclose(double / small, 4.0, rtol=0.1)
    entropy, accuracy = published.scatter("7B")
    early, late, all_points = (
        fit_window(entropy, accuracy, window).fit for window in ((0, 15), (70, 100), (0, 100))
    )
    assert early.ceiling == pytest.approx(all_points.ceiling, abs=0.02)
    assert abs(late.a - all_points.a) > 3 * abs(early.a - all_points.a)


def test_law_window_moves_the_ceiling_that_is_drawn():
    entropy = np.linspace(1.0, 0.1, 20)
    # Two laws, one after the other: a window of either finds its own ceiling.
    scores = np.where(np.arange(20) < 10, 0.9 - 0.2 * np.exp(entropy), 0.7 - 0.1 * np.exp(entropy))
    ceilings = []
    for window in ((0, 50), (50, 100)):
        (ax,) = law_window_figure(entropy, scores, window).axes
        lines = {line.get_label().split(" = ")[0]: line for line in ax.lines}
        ceilings.append(lines["ceiling b - a"].get_ydata()[0])
        curve = lines["law: a"]
        assert (curve.get_xdata()[0], curve.get_ydata()[0]) == (0.0, pytest.approx(ceilings[-1]))
        assert len(lines["fitted (10)"].get_xdata()) == 10
    np.testing.assert_allclose(ceilings, [0.7, 0.6])


def test_a_window_has_four_points_and_the_right_order():
    entropy = np.linspace(1.0, 0.1, 9)
    for window in ((0, 0), (100, 100), (40, 45)):
        found = fit_window(entropy, 1 - 0.1 * np.exp(entropy), window)
        assert found.last - found.first == 4
        assert found.last <= 9
    with pytest.raises(UserError, match="lower first"):
        fit_window(entropy, entropy, (60, 40))
    with pytest.raises(UserError, match="at least 4"):
        fit_window(entropy[:3], entropy[:3], (0, 100))


@pytest.fixture
def record():
    mask = np.array([[True, True, False], [True, True, True]])
    cov = np.array([[2.0, -1.0, 50.0], [0.0, 0.5, -4.0]])
    return {
        "reward": np.array([1.0, 0.0]),
        "tokens": np.array([[3, 4, 0], [5, 6, 1]]),
        "response_mask": mask,
        "logp": np.log(np.full((2, 3), 0.25)),
        "entropy_nats": np.array([[0.1, 0.2, 9.0], [0.3, 0.4, 0.5]]),
        "advantage": np.ones((2, 3)),
        "covariance": cov,
        "selected_mask": np.array([[True, False, True], [False, False, False]]),
    }


@pytest.mark.parametrize(
    ("colouring", "column"), [("covariance", "covariance"), ("entropy", "entropy_nats"),
                              ("touched", "selected_mask")],
)  # fmt: skip
def test_tokens_have_the_colours_of_their_values(record, colouring, column):
    page = responses_html(record, [0, 1], lambda t: f"<{t}>", colouring=colouring, scale=4.0)
    shown = re.findall(r"background:(#\w{6});border-bottom:3px solid (#\w+).*?>(&lt;\d&gt;)<", page)
    expected = [
        (
            token_colour(float(record[column][i, t]), 4.0, colouring),
            "#1b1f24" if record["selected_mask"][i, t] else "#ffffff",
            f"&lt;{record['tokens'][i, t]}&gt;",
        )
        for i, t in zip(*np.nonzero(record["response_mask"]), strict=True)
    ]
    assert shown == expected  # what is padded is not shown


def test_colours_tell_sign_and_size():
    assert token_colour(0.0, 1.0, "covariance") == "#ffffff"
    red, green, blue = (int(token_colour(1.0, 4.0, "covariance")[i : i + 2], 16) for i in (1, 3, 5))
    assert red > green > blue
    assert token_colour(-4.0, 4.0, "covariance") == token_colour(-9.0, 4.0, "covariance")
    with pytest.raises(UserError, match="covariance"):
        token_colour(1.0, 1.0, "covarianse")


def test_scale_leaves_padding_out_and_text_is_escaped(record):
    assert 2.0 < colour_scale(record, "covariance") <= 4.0  # padded: 50
    page = responses_html(
        record, [0], lambda t: "a <b>\n", prompt="1 < 2", title="<script>", colouring="entropy"
    )
    assert "<script>" not in page
    assert "1 &lt; 2" in page
    assert "a·&lt;b&gt;↵" in page
    assert "probability 0.250, entropy 0.100 nats, advantage +1.00, covariance +2.000" in page
