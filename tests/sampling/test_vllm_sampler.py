"""A real vLLM engine in this process: what it samples, what it records, what a sync changes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from entropy_mech.config import VLLMSamplerConfig
from entropy_mech.errors import UserError
from entropy_mech.sampling import SamplingRequest
from entropy_mech.sampling.sampler import SamplerError, StaleWeightsError
from entropy_mech.sampling.vllm_sampler import (
    VLLMSampler,
    check_probe,
    probe_gap,
    probe_prompts,
    probe_tolerance,
)
from tests.needs import needs_vllm
from tests.sampling.tiny_models import END, LONGEST, PAD, VOCABULARY, logp_of, make, perturb, save

pytestmark = needs_vllm
# What does not depend on the architecture is asked of one model alone.
one_model = pytest.mark.parametrize("any_model", ["untied"], indirect=True)

CONFIG = VLLMSamplerConfig(max_sequences=16, max_num_batched_tokens=LONGEST)
PROMPTS = probe_prompts(VOCABULARY, LONGEST)
REVISION = "0123abc"  # a folder has none; the engine is told all the same


class Subject:
    """A model, a sampler of it, and how many times it was synced."""

    def __init__(self, kind, folder):
        torch.set_num_threads(1)
        self.model = make(kind)
        self.set_num_threads, self.threads = torch.set_num_threads, torch.get_num_threads()
        self.sampler = VLLMSampler(
            save(self.model, folder),
            CONFIG,
            pad_token=PAD,
            eos_token=END,
            dtype=torch.float32,
            max_model_len=LONGEST,
            revision=REVISION,
        )

    @property
    def version(self):
        return self.sampler.policy_version

    def gap(self):
        return probe_gap(self.sampler, lambda rows: logp_of(self.model, rows), PROMPTS)

    def sample(self, requests, temperature=1.0, max_new_tokens=24):
        return self.sampler.sample(
            requests,
            temperature=temperature,
            max_new_tokens=max_new_tokens,
            policy_version=self.version,
        )

    def sync(self, version):
        self.sampler.sync(self.model.named_parameters(), version)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("untied", marks=pytest.mark.long),
        "tied",
        pytest.param("llama", marks=pytest.mark.long),
    ],
)
def any_model(request, tmp_path_factory):
    """Each kind of model in turn; an engine starts once for all tests of its kind."""
    made = Subject(request.param, tmp_path_factory.mktemp(request.param))
    yield made
    made.sampler.close()


def _requests(count=24):
    draws = np.random.default_rng(5)
    lengths = draws.choice([3, 9, 70, 131, 270], count)  # some in several blocks of the cache
    keys = draws.integers(0, 2**64, count, dtype=np.uint64)
    prompts = [tuple(draws.integers(2, VOCABULARY, n).tolist()) for n in lengths]
    return [SamplingRequest(p, int(key)) for p, key in zip(prompts, keys, strict=True)]


def _rows(out):
    return [row[m].tolist() for row, m in zip(out.tokens, out.response_mask, strict=True)]


def _largest_gap(subject, requests, out, temperature):
    gaps = []
    for i, (request, row) in enumerate(zip(requests, _rows(out), strict=True)):
        logp = logp_of(subject.model, torch.tensor([[*request.prompt_tokens, *row]]), temperature)
        ours = out.logp_sampler[i, : len(row)]
        gaps.append((logp[0, len(request.prompt_tokens) - 1 :] - ours).abs().max())
    return float(max(gaps))


def test_log_probabilities_are_the_models_at_any_temperature(any_model):
    requests = _requests(12)
    for temperature in (1.0, 0.6):
        out = any_model.sample(requests, temperature)
        assert _largest_gap(any_model, requests, out, temperature) < 1e-5
    assert _largest_gap(any_model, requests, out, 1.0) > 0.1  # the temperature is in them

    given = any_model.sampler.logprobs(PROMPTS[0])
    expected = logp_of(any_model.model, torch.tensor(PROMPTS[:1]))[0]
    torch.testing.assert_close(given, expected, rtol=0, atol=1e-5)


@one_model
def test_the_engine_loads_the_commit_that_the_trainer_loaded(any_model):
    assert any_model.sampler._llm.model_config.revision == REVISION


@one_model
def test_order_and_company_do_not_change_a_response(any_model):
    requests = _requests()
    together = _rows(any_model.sample(requests))
    assert len({tuple(row) for row in together}) == len(requests)
    order = np.random.default_rng(0).permutation(len(requests))
    assert _rows(any_model.sample([requests[i] for i in order])) == [together[i] for i in order]
    assert [_rows(any_model.sample([r]))[0] for r in requests[:6]] == together[:6]
    parts = any_model.sampler.stream(
        requests, temperature=1.0, max_new_tokens=24, policy_version=any_model.version
    )
    parts = list(parts)
    assert len(parts) > 1  # as they finish
    assert {p: r for places, o in parts for p, r in zip(places, _rows(o), strict=True)} == dict(
        enumerate(together)
    )
    others = [SamplingRequest(r.prompt_tokens, r.key ^ 1) for r in requests]
    assert all(a != b for a, b in zip(_rows(any_model.sample(others)), together, strict=True))


@one_model
def test_the_last_token_is_the_end_or_the_limit(any_model):
    out = any_model.sample(_requests(), max_new_tokens=20)
    assert 0 < out.finished.sum() < len(out.finished)
    for row, finished in zip(_rows(out), out.finished.tolist(), strict=True):
        assert END not in row[:-1]
        assert (row[-1] == END) == finished
        assert finished or len(row) == 20
    assert (out.tokens[~out.response_mask] == PAD).all()
    nobody = any_model.sample([])
    assert nobody.tokens.shape == (0, 0)


@one_model
def test_greedy_takes_the_likeliest_token_whatever_the_key(any_model):
    requests = _requests(6)
    out = any_model.sample(requests, temperature=0.0)
    for request, row in zip(requests, _rows(out), strict=True):
        with torch.no_grad():
            logits = any_model.model(torch.tensor([[*request.prompt_tokens, *row]])).logits[0]
        assert logits.argmax(-1)[len(request.prompt_tokens) - 1 : -1].tolist() == row
    others = [SamplingRequest(r.prompt_tokens, 99) for r in requests]
    assert _rows(any_model.sample(others, temperature=0.0)) == _rows(out)


@one_model
def test_a_call_may_have_a_temperature_a_request(any_model):
    requests, temperatures = _requests(6), (1.0, 0.6, 0.0) * 2
    mixed = [replace(r, temperature=t) for r, t in zip(requests, temperatures, strict=True)]
    alone = [
        _rows(any_model.sample([r], t))[0] for r, t in zip(requests, temperatures, strict=True)
    ]
    assert _rows(any_model.sample(mixed, temperature=2.0)) == alone


def test_a_sync_brings_the_weights_and_a_skipped_one_is_caught(any_model):
    sampler, version = any_model.sampler, any_model.version + 1
    assert any_model.gap().largest < 1e-5
    perturb(any_model.model, version)
    with pytest.raises(StaleWeightsError, match=f"version {version} "):
        sampler.sample(_requests(1), temperature=1.0, max_new_tokens=4, policy_version=version)

    sampler.policy_version = version  # a forged number does not deceive the probe
    gap = any_model.gap()
    assert gap.mean > 0.1
    with pytest.raises(StaleWeightsError, match=r"vLLM engine .* differ .* nats.*probe_tolerance"):
        check_probe(gap, probe_tolerance(torch.float32), sampler.name)

    any_model.sync(version)
    assert any_model.gap().largest < 1e-5
    check_probe(any_model.gap(), probe_tolerance(torch.float32), "an engine")


def test_cached_prompts_are_forgotten_with_their_weights(any_model, monkeypatch):
    requests = [r for r in _requests() if len(r.prompt_tokens) > 128]
    any_model.sample(requests)  # their first blocks are in the cache now
    perturb(any_model.model, 70)
    any_model.sync(any_model.version + 1)
    assert _largest_gap(any_model, requests, any_model.sample(requests), 1.0) < 1e-5

    # Without the reset, the weights are right and the answers are not: the probe sees it.
    any_model.gap()
    perturb(any_model.model, 71)
    monkeypatch.setattr(any_model.sampler._llm, "reset_prefix_cache", lambda: True)
    any_model.sync(any_model.version + 1)
    assert any_model.gap().cached > 1e-2
    monkeypatch.undo()
    any_model.sync(any_model.version + 1)
    assert any_model.gap().largest < 1e-5


@one_model
def test_asleep_it_does_not_sample_until_it_has_weights_again(any_model):
    version = any_model.version
    any_model.sampler.sleep()
    with pytest.raises(StaleWeightsError, match="no weights"):
        any_model.sampler.sample(
            _requests(1), temperature=1.0, max_new_tokens=4, policy_version=version
        )
    any_model.sync(version)
    assert any_model.gap().largest < 1e-5


@one_model
def test_the_process_is_left_as_it_was(any_model):
    assert torch.set_num_threads is any_model.set_num_threads
    assert torch.get_num_threads() == any_model.threads
    any_model.sample(_requests(4))
    assert torch.get_num_threads() == any_model.threads


@one_model
def test_what_does_not_fit_is_refused(any_model):
    with pytest.raises(UserError, match="exceeds the sampler's"):
        any_model.sample([SamplingRequest((5,) * LONGEST, 1)], max_new_tokens=1)
    with pytest.raises(UserError, match="give 0"):
        any_model.sample(_requests(1), temperature=-1.0)


@one_model
def test_a_sync_that_breaks_off_leaves_an_engine_that_refuses(any_model):
    """The last test of this engine: vLLM cannot take its model together again."""
    version = any_model.version

    def broken():
        yield from list(any_model.model.named_parameters())[:2]
        raise RuntimeError("the trainer failed while it gathered weights")

    with pytest.raises(SamplerError, match=r"taking weights failed.*while it gathered"):
        any_model.sampler.sync(broken(), version)
    with pytest.raises(StaleWeightsError, match="no weights"):
        any_model.sampler.sample(
            _requests(1), temperature=1.0, max_new_tokens=4, policy_version=version
        )
    with pytest.raises(SamplerError, match="broke off half way; start it anew"):
        any_model.sync(version)
