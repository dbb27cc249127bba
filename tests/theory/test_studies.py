import numpy as np
import pytest

from entropy_mech.errors import UserError
from entropy_mech.paper.lemma1 import visitation_facts
from entropy_mech.theory import (
    sampled_against_expected,
    scale_by_success,
    visitation_by_horizon,
    visitation_summary,
)


def test_the_term_that_lemma_1_leaves_out_grows_linearly_only_at_a_fork():
    frame = visitation_by_horizon(horizons=(1, 2, 4, 8), policies=60)
    summary = visitation_summary(frame)
    table = summary.pivot(index="horizon", columns="family", values="ratio")
    assert (table.loc[1] == 0).all()
    assert table.loc[8, "mixing"] < 0.5
    assert table.loc[8, "token_tree"] < 1.0
    assert table.loc[8, "fork"] > 3.0
    growth = np.polyfit(np.log([3, 7]), np.log(table.loc[[4, 8], "fork"]), 1)[0]
    assert growth == pytest.approx(1.0, abs=0.3)
    holds = [fact.holds for fact in visitation_facts(summary)]
    assert holds == [True, True, False]  # mixing, tree, fork


def test_an_unknown_family_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'fork'"):
        visitation_by_horizon(families=("forks",))


def test_sampling_noise_spends_entropy_and_less_in_larger_groups():
    frame = sampled_against_expected()
    reinforce = frame[frame["estimator"] == "reinforce"]
    assert (reinforce["noise_change"] < 0).all()
    assert (np.diff(reinforce["noise_change"]) > 0).all()
    # 1 / K: the excess over the limit halves as the group doubles.
    steps = np.diff(reinforce["noise_change"])
    assert steps[:-1] / steps[1:] == pytest.approx([2.0, 2.0], abs=0.1)


def test_the_scale_is_even_in_right_and_wrong():
    frame = scale_by_success((2, 8), points=9)
    scale = frame[frame["group_size"] == 8]["scale"].to_numpy()
    assert scale == pytest.approx(scale[::-1])
    assert frame[frame["group_size"] == 2]["scale"].to_numpy() == pytest.approx(1.0)
