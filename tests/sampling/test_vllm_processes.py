"""vLLM engines in processes of their own: the same answers, weights by every way, and death."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch

from entropy_mech.config.hardware import VLLMSamplerConfig
from entropy_mech.errors import UserError
from entropy_mech.sampling import SamplingRequest
from entropy_mech.sampling.engine import SamplerError, StaleWeightsError
from entropy_mech.sampling.probe import probe_gap, probe_gaps, probe_prompts
from entropy_mech.sampling.remote import KEY_VARIABLE
from entropy_mech.sampling.vllm_sampler import VLLMSampler
from tests.needs import needs_vllm
from tests.sampling.tiny_models import END, LONGEST, PAD, VOCABULARY, logp_of, make, perturb, save

pytestmark = needs_vllm

PROMPTS = probe_prompts(VOCABULARY, LONGEST)
KEY = "0123456789abcdef" * 4


def _start(folder, **changes):
    settings = {
        "placement": "separate",
        "max_sequences": 16,
        "max_num_batched_tokens": LONGEST,
        "sample_timeout_s": 120.0,
        "sync_timeout_s": 60.0,
        **changes,
    }
    return VLLMSampler(
        folder,
        VLLMSamplerConfig(**settings),
        pad_token=PAD,
        eos_token=END,
        dtype=torch.float32,
        max_model_len=LONGEST,
        seed=3,
    )


@pytest.fixture(scope="module")
def model():
    torch.set_num_threads(1)
    return make("tied")


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    return save(model, tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def pair(folder):
    """Two engines of this host; two tests do away with one each, in this file's order."""
    with _start(folder, engines=2) as sampler:
        yield sampler


def _requests(count=10, length=5):
    draws = np.random.default_rng(5)
    keys = draws.integers(0, 2**64, count, dtype=np.uint64)
    prompts = draws.integers(2, VOCABULARY, (count, length)).tolist()
    return [SamplingRequest(tuple(p), int(key)) for p, key in zip(prompts, keys, strict=True)]


def _gap(sampler, model):
    return probe_gap(sampler, lambda rows: logp_of(model, rows), PROMPTS)


def test_two_engines_answer_as_one(pair):
    requests = _requests(11)
    shared = pair.sample(requests, temperature=1.0, max_new_tokens=16)
    for engine in (0, 1):
        alone = pair.sample(requests, temperature=1.0, max_new_tokens=16, engine=engine)
        assert torch.equal(alone.tokens, shared.tokens)
        assert torch.equal(alone.finished, shared.finished)
        torch.testing.assert_close(alone.logp_sampler, shared.logp_sampler, rtol=0, atol=1e-5)


@pytest.mark.parametrize("transport", ["shared_memory", "disk", "connection"])
def test_weights_arrive_by_every_way(pair, model, transport, tmp_path, monkeypatch):
    folder = str(tmp_path) if transport == "disk" else None
    changes = {"sync_transport": transport, "sync_folder": folder}
    monkeypatch.setattr(pair, "config", pair.config.model_copy(update=changes))
    version = pair.policy_version + 1
    perturb(model, version)
    assert _gap(pair, model) > 0.1
    pair.sync(model.named_parameters(), version)
    assert _gap(pair, model) < 1e-5
    assert not list(tmp_path.iterdir())


def test_one_engine_of_two_left_behind_is_named(pair, model):
    version = pair.policy_version + 1
    perturb(model, version)
    behind = pair.engines.pop()
    pair.sync(model.named_parameters(), version)
    pair.engines.append(behind)
    assert pair.policy_version is None
    with pytest.raises(StaleWeightsError, match=r"engine 1 \(pid \d+ on .*\): holds those of"):
        pair.sample(_requests(), temperature=1.0, max_new_tokens=2, policy_version=version)
    behind.policy_version = version  # a forged number: the engine's next answer has its own
    gaps = probe_gaps(pair, lambda rows: logp_of(model, rows), PROMPTS)
    assert gaps[pair.engines[0].name] < 1e-5 < 0.1 < gaps[behind.name]
    pair.sync(model.named_parameters(), version)


def test_a_killed_engine_is_named_at_once(pair, model):
    version = pair.policy_version
    pid = pair.engines[1]._process.pid
    long = _requests(400, length=40)
    threading.Timer(0.3, os.kill, (pid, signal.SIGKILL)).start()
    with pytest.raises(SamplerError, match=rf"pid {pid} on .*lost while sampling.*SIGKILL") as one:
        pair.sample(long, temperature=1.0, max_new_tokens=250, policy_version=version)
    assert "\n" not in str(one.value)
    with pytest.raises(SamplerError, match=rf"pid {pid} .*SIGKILL"):
        pair.sync(model.named_parameters(), version + 1)
    assert pair.policy_version is None
    pair.engines.pop().close()


def test_an_engine_that_stops_answering_is_given_up(pair, monkeypatch):
    """The last test of the pair: the one that lives is stopped."""
    changes = {"sample_timeout_s": 2.0, "sync_timeout_s": 2.0}
    monkeypatch.setattr(pair, "config", pair.config.model_copy(update=changes))
    version, pid = pair.policy_version, pair.engines[0]._process.pid
    os.kill(pid, signal.SIGSTOP)
    begin = time.monotonic()
    with pytest.raises(SamplerError, match=rf"engine 0 \(pid {pid} on .*\): silent for 7 s"):
        pair.sample(_requests(), temperature=1.0, max_new_tokens=4, policy_version=version)
    assert 2 < time.monotonic() - begin < 60
    with pytest.raises(StaleWeightsError, match="no weights"):
        pair.sample(_requests(), temperature=1.0, max_new_tokens=4, policy_version=version)
    with pytest.raises(SamplerError, match="silent"):
        pair.sync(make("tied").named_parameters(), version + 1)
    os.kill(pid, signal.SIGCONT)


def test_an_engine_that_cannot_start_says_why(tmp_path):
    with pytest.raises(SamplerError, match=r"pid \d+ on .*: start failed: .*"):
        _start(tmp_path / "no_such_model")


def test_a_server_of_another_host_needs_the_key_and_may_die(folder, model, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "entropy_mech.sampling.serve", "--port", str(port)]
    server = subprocess.Popen(command, env={**os.environ, KEY_VARIABLE: KEY})

    def dying_midway():
        for i, named in enumerate(model.named_parameters()):
            if i == 5:
                server.kill()
                server.wait()
            yield named

    try:
        where = {"hosts": (f"127.0.0.1:{port}",), "sync_transport": "connection"}
        monkeypatch.delenv(KEY_VARIABLE, raising=False)
        with pytest.raises(UserError, match="32 or more hexadecimal digits"):
            _start(folder, **where)
        monkeypatch.setenv(KEY_VARIABLE, KEY[::-1])
        with pytest.raises(SamplerError, match="has another key"):
            _start(folder, **where)
        monkeypatch.setenv(KEY_VARIABLE, KEY)
        with _start(folder, **where) as sampler:
            sampler.sync(model.named_parameters(), 1)
            assert _gap(sampler, model) < 1e-5
            peer = rf"engine 0 at 127.0.0.1:{port} \(pid {server.pid} on .*\): lost while"
            with pytest.raises(SamplerError, match=peer):
                sampler.sync(dying_midway(), 2)
            assert sampler.policy_version is None
    finally:
        server.kill()
        server.wait()
