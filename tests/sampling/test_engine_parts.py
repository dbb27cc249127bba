"""What stands between a trainer and its engine, without an engine: rows, seeds, the probe."""

from types import SimpleNamespace

import pytest
import torch

from entropy_mech.sampling.sampler import StaleWeightsError
from entropy_mech.sampling.vllm_sampler import (
    ProbeGap,
    check_probe,
    completions,
    probe_prompts,
    probe_tolerance,
    seed_of,
)


def test_an_engines_outputs_become_rows():
    outputs = [
        SimpleNamespace(
            token_ids=[token] * len(logp),
            logprobs=SimpleNamespace(logprobs=logp),
            finish_reason=reason,
        )
        for token, logp, reason in (
            (10, [-1.0, -2.0], "stop"),
            (11, [-3.0], "length"),
            (12, [-4.0, -5.0, -6.0], "stop"),
        )
    ]
    out = completions(outputs, pad_token=0)
    assert out.tokens.tolist() == [[10, 10, 0], [11, 0, 0], [12, 12, 12]]
    assert out.response_mask.sum(dim=1).tolist() == [2, 1, 3]
    assert out.logp_sampler.tolist() == [[-1, -2, 0], [-3, 0, 0], [-4, -5, -6]]
    assert out.finished.tolist() == [True, False, True]


def test_seeds_are_what_vllm_takes():
    keys = [0, 2**63 - 1, 2**63, 2**64 - 1]
    seeds = [seed_of(key) for key in keys]
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert seed_of(2**64 - 1) != -1  # which would mean: no seed


def test_probe_prompts_cross_a_block_of_the_cache_and_repeat():
    prompts = probe_prompts(48, 4096)
    assert {len(prompt) for prompt in prompts} == {160}
    assert prompts == probe_prompts(48, 4096) != probe_prompts(48, 4096, seed=1)
    assert {len(prompt) for prompt in probe_prompts(48, 40)} == {39}


def test_the_probe_refuses_what_is_no_number():
    check_probe(ProbeGap(1e-4, 2e-4, 1e-4), 1e-3, "engine 0")
    for gap in (2e-3, float("nan"), float("inf")):
        with pytest.raises(StaleWeightsError, match=r"engine 0: .*0\.001"):
            check_probe(ProbeGap(gap, gap, 0.0), 1e-3, "engine 0")


def test_the_probe_judges_the_mean_and_not_the_largest():
    """A right bfloat16 engine of many layers: 0.04 nats on average, one token of 480 at 0.6."""
    gap = ProbeGap(0.04, 0.6, 0.05)
    first = probe_tolerance(torch.bfloat16)
    check_probe(gap, first, "engine 0")
    later = probe_tolerance(torch.bfloat16, first_mean=gap.mean)
    check_probe(ProbeGap(0.07, 0.6, 0.2), later, "engine 0")
    check_probe(ProbeGap(0.05, 2.0, 0.01), later, "engine 0")
    # Weights of another policy: the mean stands out, of the first sync and of each later one.
    with pytest.raises(StaleWeightsError, match=r"by 1\.3 nats on average"):
        check_probe(ProbeGap(1.3, 4.0, 1.0), first, "engine 0")
    with pytest.raises(StaleWeightsError, match=r"by 0\.2 nats on average"):
        check_probe(ProbeGap(0.2, 0.6, 0.1), later, "engine 0")
    # Keys and values that outlived their weights: three tokens of 480, and the mean hides them.
    with pytest.raises(StaleWeightsError, match=r"by 2 nats on average"):
        check_probe(ProbeGap(0.05, 3.0, 2.0), later, "engine 0")


def test_what_the_probe_allows():
    for first in (None, 1e-6):
        assert probe_tolerance(torch.float32, first_mean=first) == 1e-3
    assert probe_tolerance(torch.bfloat16, asked=0.3, first_mean=0.01) == 0.3
    assert probe_tolerance(torch.bfloat16, first_mean=1e-4) == 0.05  # of a toy in bfloat16
    assert probe_tolerance(torch.bfloat16, first_mean=0.04) == pytest.approx(0.12)
