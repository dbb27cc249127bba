"""DeepSpeed and vLLM together train a toy policy; what goes wrong between them is told apart."""

import os
import subprocess
import sys

import pytest

from entropy_mech.train.loop import train
from tests.conftest import VLLM_MODEL, tiny
from tests.needs import needs_deepspeed, needs_vllm

pytestmark = needs_vllm

FLOAT32_GAP_NATS = 1e-4


def asking_vllm(sampler, **changes):
    """The tiny configuration with a model that vLLM can run."""
    return tiny(model=VLLM_MODEL, sampler=sampler, **changes)


TWO_RANKS = (
    *(sys.executable, "-m", "torch.distributed.run"),
    *("--standalone", "--nproc-per-node=2"),
)
LEARNING = """
steps = 12
record_tokens_every = 20
[model]
layers = 1
hidden_size = 64
intermediate_size = 128
heads = 2
kv_heads = 1
[problems]
level_shares = { 1 = 1.0 }
validation_counts = { 1 = 20 }
[base]
steps = 2000
noisy_steps = 200
level_shares = { 1 = 1.0 }
[rollout]
prompts = 32
max_new_tokens = 8
[update]
updates_per_rollout = 4
micro_batch_tokens = 512
learning_rate = 1e-3
[validation]
every = 11
[engine]
kind = "deepspeed"
zero_stage = 2
[sampler]
kind = "vllm"
"""


@needs_deepspeed
@pytest.mark.long
def test_two_gloo_processes_with_vllm_learn(tmp_path):
    """Entropy falls, accuracy rises, and the probe agrees after every sync."""
    from entropy_mech.config.files import load_config
    from entropy_mech.runs import RunStore

    path = tmp_path / "learning.toml"
    path.write_text(LEARNING)
    done = subprocess.run(
        [*TWO_RANKS, "-m", "entropy_mech", "train", str(path)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "ENTROPY_MECH_RUNS": str(tmp_path / "runs")},
        capture_output=True,
        text=True,
        timeout=420,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
    run = RunStore(tmp_path / "runs").run(load_config(path))
    metrics = run.metrics()
    assert metrics["sampler_probe_gap_nats"].max() < FLOAT32_GAP_NATS
    assert metrics["logp_gap_max_nats"].max() < FLOAT32_GAP_NATS
    assert (metrics["policy_version"] == 4 * metrics["step"]).all()
    entropy, reward = metrics["entropy_nats"], metrics["reward_mean"]
    assert entropy.iloc[-3:].mean() < 0.8 * entropy.iloc[:3].mean()
    assert reward.iloc[-3:].mean() > reward.iloc[:3].mean() + 0.05
    assert run.manifest()["ranks"] == 2


def test_a_sync_that_did_nothing_is_caught_by_the_probe(store, monkeypatch):
    """The engine says that it has the new weights and has the old: only the probe can tell."""
    from entropy_mech.sampling.sampler import StaleWeightsError
    from entropy_mech.sampling.vllm_sampler import VLLMSampler

    config = asking_vllm({"kind": "vllm", "probe_tolerance": 1e-4}, seed=31, steps=4)
    real = VLLMSampler.sync

    def forged(self, weights, policy_version):
        if policy_version < 4:
            return real(self, weights, policy_version)
        self.policy_version = policy_version

    monkeypatch.setattr(VLLMSampler, "sync", forged)
    with pytest.raises(StaleWeightsError, match=r"differ from the trainer's by .* does not hold"):
        train(config, store, say=lambda text: None)
    monkeypatch.undo()
    run = train(config, store, say=lambda text: None)  # goes on from its last checkpoint
    assert run.complete
    assert run.metrics("sampler_probe_gap_nats").max().item() < FLOAT32_GAP_NATS
