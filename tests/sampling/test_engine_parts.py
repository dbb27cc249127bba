"""What stands between a trainer and its engines, without an engine: files, channels, deals."""

import socket
import threading

import numpy as np
import pytest
import torch

from entropy_mech.config.hardware import VLLMSamplerConfig
from entropy_mech.errors import UserError
from entropy_mech.sampling.channel import Channel, ChannelClosed, ChannelRefused, ChannelTimeout
from entropy_mech.sampling.engine import Sampled, StaleWeightsError, completions, deal, seed_of
from entropy_mech.sampling.probe import check_probe, probe_prompts
from entropy_mech.sampling.weights import WeightFile, write_weights


def _weights():
    torch.manual_seed(0)
    yield "a.weight", torch.randn(3, 5)
    yield "b.bias", torch.randn(7, dtype=torch.float64)[1:]
    yield "c.weight", torch.randn(4, 6).t()
    yield "d.steps", torch.tensor(9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_come_back_from_their_file(tmp_path, dtype):
    path = write_weights(tmp_path / "w", _weights(), dtype=dtype, policy_version=4)
    file = WeightFile(path)
    assert file.policy_version == 4
    for (name, read), (expected_name, expected) in zip(file, _weights(), strict=True):
        kind = dtype if expected.is_floating_point() else expected.dtype
        assert name == expected_name
        assert torch.equal(read, expected.to(kind))
    assert [p.name for p in tmp_path.iterdir()] == ["w"]


def test_unfinished_weights_are_refused_and_leave_nothing(tmp_path):
    def broken():
        yield from _weights()
        raise RuntimeError("gathering failed")

    with pytest.raises(RuntimeError, match="gathering failed"):
        write_weights(tmp_path / "w", broken(), dtype=torch.float32, policy_version=1)
    assert not list(tmp_path.iterdir())

    path = write_weights(tmp_path / "w", _weights(), dtype=torch.float32, policy_version=1)
    torn = path.read_bytes()[:-1]
    for content in (torn, b"short"):
        path.write_bytes(content)
        with pytest.raises(UserError, match="no complete file of weights"):
            WeightFile(path)


def _ends(client_key=b"k" * 32, server_key=b"k" * 32):
    """Both ends of a channel, or what each end raised."""
    sockets, ends = socket.socketpair(), [None, None]

    def meet(i, key):
        try:
            ends[i] = Channel(sockets[i], key, timeout_s=5.0, server=bool(i))
        except (ChannelRefused, ChannelClosed) as error:
            ends[i] = error

    other = threading.Thread(target=meet, args=(1, server_key))
    other.start()
    meet(0, client_key)
    other.join()
    return ends


def test_a_channel_carries_tables_and_arrays():
    client, server = _ends()
    arrays = (np.arange(6).reshape(2, 3), np.zeros(0, np.float32), np.array([True, False]))
    client.send({"op": "sample", "x": 0.5}, arrays, timeout_s=5)
    table, received = server.receive(timeout_s=5)
    assert table == {"op": "sample", "x": 0.5}
    for sent, got in zip(arrays, received, strict=True):
        assert got.dtype == sent.dtype
        np.testing.assert_array_equal(got, sent)
    assert not server.other_side_left
    with pytest.raises(ChannelTimeout):
        client.receive(timeout_s=0.05)
    client.close()
    assert server.other_side_left
    with pytest.raises(ChannelClosed):
        server.receive(timeout_s=5)


def test_a_side_that_does_not_read_is_not_waited_for():
    client, server = _ends()
    with pytest.raises(ChannelTimeout):
        client.send({}, (np.zeros(10_000_000),), timeout_s=0.1)
    server.close()


def test_who_does_not_know_the_key_is_refused_and_told_so():
    client, server = _ends(client_key=b"x" * 32)
    assert isinstance(server, ChannelRefused)
    assert isinstance(client, ChannelRefused)


def test_dealt_requests_come_back_in_order():
    places = deal(5, 2)
    assert sorted(np.concatenate(places).tolist()) == list(range(5))
    lengths = np.array([2, 1, 3, 1, 2])  # response i is the token 10 + i, so often
    parts = [
        Sampled(
            tokens=np.repeat(10 + where, lengths[where]),
            logp=np.repeat(-1.0 * where, lengths[where]).astype(np.float32),
            lengths=lengths[where],
            finished=where % 2 == 0,
            policy_version=3,
        )
        for where in places
    ]
    out = completions(parts, places, pad_token=0, policy_version=3)
    assert out.tokens.tolist() == [[10, 10, 0], [11, 0, 0], [12, 12, 12], [13, 0, 0], [14, 14, 0]]
    assert out.response_mask.sum(dim=1).tolist() == lengths.tolist()
    assert out.logp_sampler[2].tolist() == [-2, -2, -2]
    assert out.finished.tolist() == [True, False, True, False, True]


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
    check_probe(1e-4, 1e-3, "engine 0")
    for gap in (2e-3, float("nan"), float("inf")):
        with pytest.raises(StaleWeightsError, match=r"engine 0: .*0\.001"):
            check_probe(gap, 1e-3, "engine 0")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"engines": 2}, 'placement = "separate"'),
        ({"devices": (0, 1)}, 'placement = "separate"'),
        ({"placement": "separate", "engines": 2, "devices": (0, 1, 2)}, "need 2 of them"),
        ({"placement": "separate", "hosts": ("a:1",), "engines": 2}, "leave out engines"),
        ({"placement": "separate", "sync_transport": "disk"}, "sync_folder"),
        ({"placement": "separate", "sync_folder": "/data"}, "sync_folder"),
    ],
)
def test_settings_that_contradict_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        VLLMSamplerConfig(**settings)
