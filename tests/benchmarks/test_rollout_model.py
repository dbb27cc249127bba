"""The model of a rollout's wall time agrees with sums done by hand, and moves the right way."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import rollout_model as model

RATES = model.Rates(step_overhead_s=0.01, cache_bytes=1e12)
JOB = model.Job("Qwen/Qwen2.5-7B", 8, 1)
ROOM = 10**6


def _step_s(batch, context):
    shape = JOB.shape
    cache = 2 * 2 * 28 * 4 * 128  # keys and values, bytes: 28 blocks, 4 heads of 128
    read = (2 * shape.parameters + cache * batch * context) / (3.35e12 * 0.65)
    return 0.01 + max(read, 2 * shape.parameters * batch / (989e12 * 0.5))


def _prefill_s(count):
    return count * 250 * 2 * JOB.shape.parameters / (989e12 * 0.5)


@pytest.mark.parametrize("batch", [1, 16])
def test_equal_lengths_are_a_sum_over_steps(batch):
    by_step = sum(_step_s(batch, 250 + step + 0.5) for step in range(300))
    found = model.decode_s([300] * batch, JOB, RATES, ROOM)
    assert found == pytest.approx(by_step + _prefill_s(batch), rel=1e-6)


def test_one_long_response_is_the_tail_of_all():
    alone = model.decode_s([8000], JOB, RATES, ROOM)
    beside = model.decode_s([8000] + [100] * 15, JOB, RATES, ROOM)
    assert alone < beside < 1.1 * alone


def test_a_queue_of_one_slot_takes_the_responses_one_after_another():
    one = model.decode_s([50], JOB, RATES, 1)
    assert model.decode_s([50] * 5, JOB, RATES, 1) == pytest.approx(5 * one)


def test_a_full_cache_makes_responses_wait():
    tight = replace(RATES, cache_bytes=5e8)
    assert model.decode_s([1000] * 64, JOB, tight, ROOM) > 2 * model.decode_s(
        [1000] * 64, JOB, RATES, ROOM
    )


def test_engines_share_the_responses():
    lengths = [400] * 64
    eight = model.sample_s(lengths, JOB, RATES, model.Code())
    assert eight == pytest.approx(model.decode_s([400] * 8, JOB, RATES, ROOM))
    assert model.sample_s([400] * 3, JOB, RATES, model.Code()) > 0  # fewer than engines


@pytest.mark.parametrize("job", model.JOBS[:1])
def test_no_change_makes_a_rollout_slower_and_together_they_halve_it(job):
    now, rates = model.Code(), model.Rates()
    total = sum(model.rollout_s(job, rates, now).values())
    for name in ("merged_validation", "oversampling", "measure_trained_only"):
        code = replace(now, **{name: False})
        assert sum(model.rollout_s(job, rates, code).values()) > total
    assert sum(model.rollout_s(job, rates, model.BEFORE).values()) > 2 * total


def test_lengths_have_the_mean_of_the_figure_and_the_cut():
    drawn = model.Lengths("Qwen/Qwen2.5-7B", model.Rates(), None).draw(100_000)
    assert drawn.mean() == pytest.approx(model.mean_length("Qwen/Qwen2.5-7B"), rel=0.05)
    assert drawn.max() == 8192
    given = model.Lengths("Qwen/Qwen2.5-7B", model.Rates(), np.array([7, 9])).draw(100)
    assert set(given) == {7, 9}
