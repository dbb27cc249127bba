"""Samples are functions of their own request, and their log-probabilities are the trainer's."""

import numpy as np
import torch

from entropy_mech.config import EngineConfig, UpdateConfig
from entropy_mech.random_streams import stream_key, uniforms
from entropy_mech.sampling import SamplingRequest
from entropy_mech.sampling.torch_sampler import TorchSampler
from entropy_mech.train.distributed import Ranks
from entropy_mech.train.engine import Engine, measure
from entropy_mech.train.pretrain import base_model
from entropy_mech.train.rollouts import RolloutBatch, join
from tests.conftest import tiny


def _sampler(store, **settings):
    model, tokenizer = base_model(store.root, tiny())
    return TorchSampler(
        model,
        pad_token=tokenizer.pad_token_id,
        eos_token=tokenizer.eos_token_id,
        **settings,
    )


def _requests(count=60):
    prompts = [(3, 13, 4, 14), (5, 13, 6, 13, 7, 14), (8, 13, 9, 14)]
    keys = stream_key("sampling", 1, 0, np.arange(count), 0)
    return [SamplingRequest(prompts[i % 3], int(key)) for i, key in enumerate(keys)]


def _rows(out):
    return [row[m].tolist() for row, m in zip(out.tokens, out.response_mask, strict=True)]


def test_order_and_company_do_not_change_a_response(store):
    sampler, requests = _sampler(store), _requests()
    together = _rows(sampler.sample(requests, temperature=1.0, max_new_tokens=12))
    assert len({tuple(row) for row in together}) > 20  # they are different responses

    order = np.random.default_rng(0).permutation(len(requests))
    shuffled = sampler.sample([requests[i] for i in order], temperature=1.0, max_new_tokens=12)
    assert _rows(shuffled) == [together[i] for i in order]

    alone = [_rows(sampler.sample([r], temperature=1.0, max_new_tokens=12))[0] for r in requests]
    assert alone == together


def test_other_steps_and_samples_draw_otherwise():
    keys = [stream_key("sampling", 1, step, 5, sample) for step in range(50) for sample in range(8)]
    draws = uniforms(np.array(keys)[:, None], np.arange(40))
    assert len(np.unique(draws)) == draws.size
    # Uniform, and independent between neighbouring positions: 4 standard errors each.
    assert abs(draws.mean() - 0.5) < 4 / np.sqrt(12 * draws.size)
    assert abs(np.corrcoef(draws[:, :-1].ravel(), draws[:, 1:].ravel())[0, 1]) < 4 / np.sqrt(
        draws.size
    )


def test_tokens_follow_the_models_own_distribution(store):
    sampler = _sampler(store)
    keys = stream_key("sampling", 2, 0, np.arange(4000), 0)
    prompt = (3, 13, 4, 14)
    out = sampler.sample(
        [SamplingRequest(prompt, int(k)) for k in keys], temperature=1.0, max_new_tokens=1
    )
    with torch.no_grad():
        p = torch.softmax(sampler.model(torch.tensor([prompt])).logits[0, -1], 0).numpy()
    counts = np.bincount(out.tokens[:, 0], minlength=len(p))
    error = np.abs(counts - 4000 * p) / np.sqrt(4000 * p * (1 - p) + 1)
    assert error.max() < 4


def test_the_last_token_is_the_end_or_the_limit(store):
    out = _sampler(store).sample(_requests(), temperature=1.0, max_new_tokens=6)
    for row, finished in zip(_rows(out), out.finished.tolist(), strict=True):
        assert 1 not in row[:-1]
        assert (row[-1] == 1) == finished
        assert finished or len(row) == 6


def test_greedy_takes_the_likeliest_token(store):
    sampler = _sampler(store)
    first = _rows(sampler.sample(_requests(3), temperature=0.0, max_new_tokens=8))
    other_keys = [SamplingRequest(r.prompt_tokens, 99) for r in _requests(3)]
    assert _rows(sampler.sample(other_keys, temperature=0.0, max_new_tokens=8)) == first
    with torch.no_grad():
        logits = sampler.model(torch.tensor([_requests(1)[0].prompt_tokens])).logits
    assert first[0][0] == int(logits[0, -1].argmax())


def test_sampler_and_trainer_agree_on_log_probabilities_and_entropy(store):
    sampler, requests = _sampler(store, keep_entropy=True), _requests()
    for temperature in (1.0, 0.7):
        out = sampler.sample(requests, temperature=temperature, max_new_tokens=12)
        settings = EngineConfig(), UpdateConfig(), Ranks()
        engine = Engine(sampler.model, *settings, temperature=temperature)
        ids, length = join([r.prompt_tokens for r in requests], out.tokens, out.response_mask, 0)
        blank = torch.zeros_like(out.logp_sampler)
        rows = torch.arange(len(requests))
        batch = RolloutBatch(
            ids, length, out.tokens, out.response_mask, rows, rows, blank[:, 0], blank,
            out.logp_sampler, blank, blank, blank,
        )  # fmt: skip
        logp, entropy = measure(engine, batch)
        torch.testing.assert_close(logp, out.logp_sampler, rtol=1e-4, atol=1e-4)
        assert (entropy[out.response_mask] >= 0).all()
        # At temperature 1 whatever the sampling's: that is the policy's (Eq. 5).
        torch.testing.assert_close(entropy, out.entropy, rtol=1e-4, atol=1e-5)
