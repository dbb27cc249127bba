"""The entropy controller on simulated policies: it settles, and does not wind up."""

import math

import numpy as np
import pytest

from entropy_mech.config.objective import EntropyTargetConfig, KLCov
from entropy_mech.errors import UserError
from entropy_mech.objectives import ControlState, steer

BOUNDS = {"start": 1.0, "minimum": 0.01, "maximum": 100.0}


def collapsing_policy(entropy, push, value, rng, *, lag=5.0):
    """One rollout: entropy falls by 5 %; the penalty pushes back, with a lag; noise of 5 %.

    The penalty acts on the rate: at log2(1 + v) = 5/3, v about 2.2, the entropy stands still.
    """
    push += (0.03 * math.log2(1 + value) - push) / lag
    entropy *= math.exp(push - 0.05)
    return entropy, push, entropy * math.exp(0.05 * rng.normal())


def simulate(settings, *, steps, seed=0, entropy=1.0, bounds=BOUNDS, plant=collapsing_policy):
    rng, push, state, seen = np.random.default_rng(seed), 0.0, None, entropy
    entropies, values = [], []
    for _ in range(steps):
        state = steer(settings, state, seen, **bounds)
        entropy, push, seen = plant(entropy, push, state.value, rng)
        entropies.append(entropy)
        values.append(state.value)
    return np.array(entropies), np.array(values)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("target", [0.1, 0.3])
def test_it_settles_on_a_policy_that_would_collapse(target, seed):
    entropies, values = simulate(EntropyTargetConfig(target_nats=target), steps=400, seed=seed)
    assert entropies[200:].mean() == pytest.approx(target, rel=0.1)
    assert (np.abs(np.log(entropies[200:] / target)) < 0.3).all()
    assert values[200:].mean() == pytest.approx(2 ** (5 / 3) - 1, rel=0.2)


def test_integral_action_alone_would_swing():
    """The reason for the proportional part: without it the entropy swings by more than a factor."""
    alone = EntropyTargetConfig(target_nats=0.2, proportional_gain=0.0)
    both = EntropyTargetConfig(target_nats=0.2)
    swing = [np.ptp(np.log(simulate(s, steps=400)[0][200:])) for s in (alone, both)]
    assert swing[0] > 1.0 > 0.5 > swing[1]


def test_it_settles_where_the_penalty_sets_the_level():
    def plateau(entropy, push, value, rng):  # the entropy goes to 0.05 sqrt(v), slowly
        entropy += (0.05 * math.sqrt(value) - entropy) / 10
        return entropy, push, entropy * math.exp(0.05 * rng.normal())

    entropies, values = simulate(EntropyTargetConfig(target_nats=0.2), steps=400, plant=plateau)
    assert entropies[300:].mean() == pytest.approx(0.2, rel=0.05)  # no lasting error
    assert values[300:].mean() == pytest.approx(16.0, rel=0.15)


def test_it_does_not_wind_up_at_a_bound():
    """However long the target was out of reach, the way back takes as many rollouts."""
    settings = EntropyTargetConfig(target_nats=0.2)
    bounds = {**BOUNDS, "maximum": 3.0}
    leave = []
    for waiting in (50, 2000):
        state = None
        for _ in range(waiting):
            state = steer(settings, state, 0.01, **bounds)
        assert state.value == 3.0
        rollouts = 0
        while state.value > 1.0:
            state = steer(settings, state, 0.5, **bounds)
            rollouts += 1
        leave.append(rollouts)
    assert leave[0] == leave[1] < 40


def test_one_step_by_hand():
    settings = EntropyTargetConfig(
        target_nats=0.2, gain=0.1, proportional_gain=0.5, error_limit=1.0
    )
    first = steer(settings, None, 0.1, **BOUNDS)  # error log 2; no change of error yet
    assert first.error == pytest.approx(math.log(2))
    assert first.value == pytest.approx(2**0.1)
    second = steer(settings, first, 0.2, **BOUNDS)  # error 0, changed by -log 2
    assert second.value == pytest.approx(2**0.1 * 2**-0.5)
    far = steer(settings, None, 0.0, **BOUNDS)
    assert far == ControlState(pytest.approx(math.exp(0.1)), 1.0)  # cut off


def test_a_resumed_run_goes_on_the_same():
    settings = EntropyTargetConfig(target_nats=0.2)
    seen = [0.5, 0.3, 0.15, 0.1, 0.12, 0.3]
    state, states = None, []
    for entropy in seen:
        state = steer(settings, state, entropy, **BOUNDS)
        states.append(state)
    restored = ControlState(**vars(states[2]))
    for entropy, expected in zip(seen[3:], states[3:], strict=True):
        restored = steer(settings, restored, entropy, **BOUNDS)
        assert restored == expected


def test_bounds_come_with_the_configuration():
    loss = KLCov(penalty_fraction=0.05, entropy_target={"target_nats": 0.2})
    assert loss.steering() == {"start": 1.0, "minimum": 0.01, "maximum": 100.0}
    share = {"target_nats": 0.2, "steers": "penalty_fraction"}
    loss = KLCov(penalty_fraction=0.05, entropy_target=share)
    assert loss.steering() == pytest.approx({"start": 0.05, "minimum": 5e-4, "maximum": 1.0})
    with pytest.raises(ValueError, match="a fraction of tokens is at most 1"):
        KLCov(entropy_target={**share, "maximum": 2})
    with pytest.raises(ValueError, match=r"penalty_coefficient = 1: .* between minimum = 2"):
        KLCov(entropy_target={"target_nats": 0.2, "minimum": 2})
    with pytest.raises(ValueError, match="multiplies it; give more than 0"):
        KLCov(penalty_coefficient=0, entropy_target={"target_nats": 0.2})
    with pytest.raises(UserError, match="0 < minimum <= start = 1"):
        steer(EntropyTargetConfig(target_nats=1), None, 0.5, start=1, minimum=2, maximum=3)
    for entropy in (math.nan, math.inf):
        with pytest.raises(UserError, match=f"entropy_nats = {entropy}: give a finite"):
            steer(EntropyTargetConfig(target_nats=1), None, entropy, **BOUNDS)
