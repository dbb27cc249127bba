"""No tensor of the host meets one of the GPU, and the host waits for it a known number of times."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from entropy_mech.config import EngineConfig, UpdateConfig
from entropy_mech.objectives import logprobs
from entropy_mech.sampling.sampler import evaluate
from entropy_mech.sampling.torch_sampler import TorchSampler
from entropy_mech.train.distributed import Ranks
from entropy_mech.train.engine import Engine, FrozenPolicy
from entropy_mech.train.metrics import Lemma1Probe
from entropy_mech.train.pretrain import base_model
from entropy_mech.train.tasks import load_tasks
from tests.conftest import CLIP_COV, KL_COV, tiny
from tests.invariants.test_batch_split import assert_same
from tests.invariants.world import CASES, make_batch, make_model, train_once
from tests.needs import needs_deepspeed
from tests.train.pretend_gpu import DEVICE, MixedDevicesError, moved, pretend_gpu

MICRO = {
    f"{loss['method']}, micro_batch": {"loss": {**loss, "covariance_scope": "micro_batch"}}
    for loss in (CLIP_COV, KL_COV)
}
UPDATES = {
    **CASES,
    **MICRO,
    "checkpointing": {**CASES["PPO clip"], "engine": {"gradient_checkpointing": True}},
    "AdamW": {**CASES["PPO clip"], "update": {"optimizer": "adamw", "learning_rate": 1e-3}},
}


def on_gpu(**case):
    """As ``train_once``, on the pretend device; also the count of waits."""
    with pretend_gpu() as syncs:
        ranks = Ranks(device=DEVICE)
        return train_once(ranks=ranks, make=lambda: moved(make_model()), **case), syncs.copy()


def engine_of(model, ranks):
    return Engine(model, EngineConfig(), UpdateConfig(), ranks, learning_rate=0.01)


def test_the_pretend_device_refuses_what_a_gpu_would():
    with pretend_gpu() as syncs:
        there, here = torch.ones(3, device=DEVICE), torch.ones(3)
        mixing = (
            lambda: there + here,
            lambda: torch.where(there > 0, there, here),
            lambda: here[torch.tensor([0], device=DEVICE)],
            lambda: there.index_put((torch.tensor([0]),), here[:1]),
            lambda: there.numpy(),
        )
        for mix in mixing:
            with pytest.raises(MixedDevicesError):
                mix()
        assert not syncs
        assert (there + torch.tensor(1.0)).tolist() == [2.0] * 3  # a number of the host is fine
        assert there[torch.tensor([0, 2])].cpu().tolist() == [1.0] * 2
        assert sum(syncs.values()) == 2


@pytest.mark.parametrize("tiled", [False, True], ids=["formed", "tiled"])
@pytest.mark.parametrize("case", UPDATES)
def test_an_update_mixes_no_devices_and_is_that_of_a_cpu(case, tiled):
    there, _ = on_gpu(**UPDATES[case], tiled_head=tiled)
    assert_same(train_once(**UPDATES[case], tiled_head=tiled), there)


@pytest.mark.parametrize(
    ("case", "tiled", "waits"),
    [
        # Where the response tokens are, a mask of Hugging Face's, and the tokens touched.
        ("PPO clip", False, 3),
        ("PPO clip", True, 4),  # and whether a token is beyond the words
        ("clip_cov, rollout_batch", True, 4),
        ("kl_cov, mini_batch", True, 6),  # the penalised tokens' places, and whether any moved
        ("entropy bonus", True, 4),
        ("reference KL", True, 4),
        ("importance weights", True, 4),
        ("clip_cov, micro_batch", True, 10),
        ("kl_cov, micro_batch", True, 9),
    ],
)
def test_the_host_waits_so_often_for_a_micro_batch(case, tiled, waits):
    """Two mini-batches of 16 rows: 2 micro-batches of them all, or 8 of 4 rows."""
    few, many = (
        on_gpu(**UPDATES[case] | {"update": {"micro_batch_size": rows}}, tiled_head=tiled)[1]
        for rows in (16, 4)
    )
    extra = many.total() - few.total()
    # Selecting in a micro-batch of which nothing is chosen waits less often.
    assert 6 * waits - 4 <= extra <= 6 * waits


def test_a_sampled_response_and_its_grade_are_those_of_a_cpu(store):
    model, tokenizer = base_model(store.root, tiny())
    problems = load_tasks(tiny()).training[:5]
    tokens = {"pad_token": tokenizer.pad_token_id, "eos_token": tokenizer.eos_token_id}

    def accuracies(sampler):
        settings = {"samples": 4, "max_new_tokens": 20, "stream": (1,)}
        return [
            evaluate(sampler, tokenizer, problems, temperature=temperature, **settings)
            for temperature in (1.0, 0.0)
        ]

    here = accuracies(TorchSampler(model, **tokens, keep_entropy=True))
    with pretend_gpu():
        there = accuracies(TorchSampler(moved(model), **tokens, keep_entropy=True))
    for ours, theirs in zip(here, there, strict=True):
        assert [one.response for one in ours.samples] == [one.response for one in theirs.samples]


def test_a_frozen_reference_is_uploaded_and_nothing_comes_back():
    def reference(ranks):
        return FrozenPolicy(make_model(), EngineConfig(), ranks, temperature=1.0)

    batch = make_batch(reference(Ranks()))
    here = reference(Ranks()).logprobs(batch)
    with pretend_gpu() as syncs:
        frozen = reference(Ranks(device=DEVICE))
        before = {name: t.data_ptr() for name, t in frozen.policy.state_dict().items()}
        there = frozen.logprobs(batch)
        down = sum(count for what, count in syncs.items() if what.startswith("copy to the host"))
        assert {name: t.data_ptr() for name, t in frozen.policy.state_dict().items()} == before
        assert not frozen._uploaded
    torch.testing.assert_close(there, here)
    assert down == 2  # log-probabilities and entropies


def test_the_check_of_lemma_1_is_that_of_a_cpu():
    records = []
    for on_device in (False, True):
        with pretend_gpu():
            ranks = Ranks(device=DEVICE) if on_device else Ranks()
            engine = engine_of(moved(make_model()) if on_device else make_model(), ranks)
            batch = make_batch(engine)
            probe = Lemma1Probe(engine, batch)
            logp, _ = engine.forward(batch)
            engine.backward(logp.sum() / 100, last=True)
            engine.step()
            records.append(probe.record())
    assert records[0].keys() == records[1].keys()
    for name, value in records[0].items():
        np.testing.assert_allclose(records[1][name], value, rtol=1e-3, atol=1e-7, err_msg=name)


TOY_TRAINING = """
import sys, torch
from pathlib import Path
torch.cuda.is_available = lambda: True   # as on a machine that has a GPU
torch.cuda.device_count = lambda: 1
from entropy_mech.runs import RunStore
from entropy_mech.train.loop import train
from tests.conftest import tiny
engine = {"kind": sys.argv[2]}
run = train(tiny(steps=2, lemma1_every=2 * (sys.argv[2] == "torch"), engine=engine,
                 loss={"method": "ppo_clip", "reference_kl": 0.01}), RunStore(Path(sys.argv[1])))
assert run.complete
"""


@pytest.mark.parametrize("kind", ["torch", pytest.param("deepspeed", marks=needs_deepspeed)])
def test_toys_train_on_the_cpu_of_a_machine_that_has_a_gpu(kind, module_store):
    done = subprocess.run(
        [sys.executable, "-c", TOY_TRAINING, module_store, kind],
        capture_output=True, text=True, timeout=300,
        env={name: value for name, value in os.environ.items() if name != "DS_ACCELERATOR"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("tokens", [3, 40])
def test_a_half_precision_head_has_float32_logits(tokens):
    """As on the CPU, where the states are widened."""
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(tokens, 16, generator=generator).bfloat16()
    head = torch.randn(300, 16, generator=generator).bfloat16()
    ids = torch.randint(300, (tokens,), generator=generator)

    def values(states, head, ids):
        return logprobs.logprobs_and_entropy(states, head, ids, block_words=70)

    here = values(states, head, ids)
    with pretend_gpu():
        there = values(states.to(DEVICE), head.to(DEVICE), ids.to(DEVICE))
        for ours, theirs in zip(here, there, strict=True):
            assert torch.equal(ours, theirs.cpu())
