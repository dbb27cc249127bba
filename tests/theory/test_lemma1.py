import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entropy_mech.errors import UserError
from entropy_mech.theory import (
    bound_violations,
    entropy_change,
    error_slopes,
    load_policies,
    natural_gradient_step,
    policy_gradient_step,
    remainder_bound,
    step_sizes,
    verify_lemma1,
)


@pytest.mark.parametrize("update", ["policy_gradient", "natural_gradient", "random"])
def test_a_thousand_policies_of_2_to_1000_actions_have_slopes_two_and_three(update):
    frame = verify_lemma1(update=update)
    slopes = error_slopes(frame)
    assert frame["policy"].nunique() == 1000
    assert frame["actions"].min() >= 2
    assert frame["actions"].max() <= 1000
    assert slopes.loc["first_order", "slope"] == pytest.approx(2.0, abs=0.05)
    assert slopes.loc["second_order", "slope"] == pytest.approx(3.0, abs=0.1)
    assert (slopes["policies"] == 1000).all()
    assert bound_violations(frame).sum() == 0


def test_the_frame_is_what_entropy_change_says():
    logits = np.random.default_rng(0).normal(size=(3, 5))
    advantages = np.random.default_rng(1).normal(size=(3, 5))
    for update, step in (
        ("policy_gradient", policy_gradient_step),
        ("natural_gradient", natural_gradient_step),
    ):
        frame = verify_lemma1(logits=logits, advantages=advantages, update=update, etas=(0.3, 0.1))
        for eta, rows in frame.groupby("eta"):
            delta = step(logits, advantages, eta)
            change, bound = entropy_change(logits, delta), remainder_bound(logits, delta)
            assert rows["exact"].to_numpy() == pytest.approx(change.exact, rel=1e-12)
            assert rows["second_order"].to_numpy() == pytest.approx(change.second_order, rel=1e-12)
            assert rows["first_order_bound"].to_numpy() == pytest.approx(bound.first_order)
            assert rows["second_order_bound"].to_numpy() == pytest.approx(bound.second_order)


def test_a_policy_does_not_depend_on_threads_or_on_how_many_there_are():
    kwargs = {"actions": (2, 30), "etas": (0.1,), "seed": 7}
    few, many = verify_lemma1(policies=20, **kwargs), verify_lemma1(policies=60, **kwargs)
    pd.testing.assert_frame_equal(few, many[many["policy"] < 20])
    pd.testing.assert_frame_equal(many, verify_lemma1(policies=60, threads=3, **kwargs))
    assert not few["exact"].equals(verify_lemma1(policies=20, **{**kwargs, "seed": 8})["exact"])


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**31),
    st.floats(0.05, 30),
    st.sampled_from(["normal", "uniform", "laplace"]),
    st.sampled_from(["policy_gradient", "natural_gradient", "random"]),
    st.floats(-5, 1.5),
)
def test_the_a_priori_bounds_are_never_exceeded(seed, scale, distribution, update, log10_eta):
    frame = verify_lemma1(
        policies=40, actions=(2, 200), etas=(10.0**log10_eta,), update=update,
        logit_scale=scale, logit_distribution=distribution, seed=seed,
    )  # fmt: skip
    assert bound_violations(frame).sum() == 0


def test_the_bound_is_not_vacuous():
    frame = verify_lemma1(policies=200, etas=(1e-2,))
    assert (frame["first_order_error"] / frame["first_order_bound"]).median() > 0.3


def test_policies_of_a_file(tmp_path):
    logits, advantages = np.zeros((2, 3)), np.array([[1.0, 0.0, -1.0], [0.0, 2.0, 0.0]])
    path = tmp_path / "mine.npz"
    np.savez(path, logits=logits, advantages=advantages)
    assert load_policies(path)[1].tolist() == advantages.tolist()
    frame = verify_lemma1(policies_file=path, etas=(0.1, 0.2))
    assert frame["entropy_nats"].to_numpy() == pytest.approx(np.log(3.0))
    assert len(frame) == 4


def test_unusable_files_are_refused_in_one_line(tmp_path):
    text, partial, cut_off = (tmp_path / f"{name}.npz" for name in "abc")
    text.write_text("logits")
    np.savez(partial, logits=np.zeros(3))
    cut_off.write_bytes(partial.read_bytes()[:100])
    for path in (text, partial, cut_off, tmp_path / "absent.npz", tmp_path):
        with pytest.raises(UserError, match=r"policies_file = .*\.npz|policies_file = /") as caught:
            load_policies(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="save advantages= in it too"):
        load_policies(partial)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threads": 0}, "threads = 0: give 1 or more"),
        ({"policies": 0}, "policies = 0: give at least 1"),
        ({"actions": (1, 5)}, r"actions = \(1, 5\): give \(least, most\)"),
        ({"actions": (9, 5)}, r"actions = \(9, 5\): give \(least, most\)"),
        ({"update": "natural"}, "unknown update 'natural': did you mean 'natural_gradient'"),
        ({"logit_distribution": "gauss"}, "unknown logit_distribution 'gauss'"),
        ({"logit_scale": 0}, "logit_scale = 0: give a positive"),
        ({"etas": (0.1, -0.1)}, "etas = .*: give positive step sizes"),
        ({"logits": np.zeros((2, 3))}, "give both"),
        (
            {"logits": np.zeros((2, 3)), "advantages": np.zeros((2, 4))},
            "give the shape of the logits",
        ),
    ],
)
def test_unusable_settings_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        verify_lemma1(**change)


def test_slopes_need_two_step_sizes():
    with pytest.raises(UserError, match="etas = 1: give at least two"):
        error_slopes(verify_lemma1(policies=2, etas=(0.1,)))
    with pytest.raises(UserError, match="eta_min < eta_max"):
        step_sizes(0.1, 0.1, 5)
