"""Memory and disk of a run: sums that can be done by hand."""

import json

import pytest

from entropy_mech.cli import main
from entropy_mech.config.files import load_config, make_config
from entropy_mech.config.memory import (
    GIB,
    HEAD_TILE_LOGITS,
    OTHER_BYTES,
    block_bytes,
    check_memory,
    report,
)
from entropy_mech.config.shapes import MODELS
from entropy_mech.objectives.logprobs import TILE_LOGITS

SEVEN_B = MODELS["Qwen/Qwen2.5-7B"]
# A run whose every number can be worked out below; 16 sequences of 1,000 tokens.
RUN = {
    "steps": 10,
    "model": {"path": "Qwen/Qwen2.5-7B"},
    "problems": {"training_set": "gsm8k", "max_prompt_tokens": 200},
    "rollout": {"prompts": 16, "responses": 8, "max_new_tokens": 800, "group_filter": False},
    "update": {"updates_per_rollout": 2, "micro_batch_size": 4},
    "engine": {"kind": "deepspeed", "dtype": "bfloat16", "gradient_checkpointing": True},
    "sampler": {"kind": "vllm", "max_sequences": 8},
}


def _run(**changes):
    table = {}
    for key, value in changes.items():
        other_kind = value.get("kind", "vllm") != "vllm" and key == "sampler"
        table[key] = value if other_kind or key not in RUN else {**RUN[key], **value}
    return make_config({**RUN, **table})


def test_memory_by_hand():
    n, gpus = SEVEN_B.parameters, 4
    found = check_memory(_run(), gpus=gpus, gpu_memory_gib=80)
    assert found.memory.state == {"weights": 2 * n, "optimizer": 12 * n // gpus}
    update = found.memory.update
    assert update["gradients"] == 4 * n // gpus
    assert update["gradients as float32"] == 4 * n // gpus
    assert update["reduction buckets"] == 2 * 4 * 500_000_000
    # 4 sequences of 1,000 tokens in a micro-batch, but passes without gradient hold 8,192 tokens:
    # one block of them is more than all block inputs and one block of the micro-batch.
    block = block_bytes(SEVEN_B, 2)
    assert update["activations"] == max(4000 * (2 * 3584 * 28 + block), 8192 * block)
    assert update["head"] == 2 * 4 * 2**26 + (4 + 2) * 152064 * 3584
    assert found.memory.sampler == 40 * GIB
    rest = max(sum(update.values()), found.memory.sampler)
    assert found.memory.peak == 2 * n + 3 * n + OTHER_BYTES + rest
    assert found.memory.loading == 2 * n


@pytest.mark.parametrize(
    ("engine", "weights", "optimizer", "gradients", "host"),
    [
        ({"zero_stage": 0}, 2, 12, 2, 0),
        ({"zero_stage": 1}, 2, 12 / 8, 4, 0),
        ({"zero_stage": 2}, 2, 12 / 8, 4 / 8, 0),
        ({"zero_stage": 3}, 2 / 8, 12 / 8, 4 / 8, 0),
        ({"zero_stage": 3, "offload_optimizer": True}, 2 / 8, 0, 4 / 8, 12 / 8),
        (
            {"zero_stage": 3, "offload_optimizer": True, "offload_weights": True},
            0, 0, 4 / 8, 14 / 8,
        ),
    ],
)  # fmt: skip
def test_what_each_zero_stage_shards(engine, weights, optimizer, gradients, host):
    memory = check_memory(_run(engine=engine), gpus=8).memory
    n = SEVEN_B.parameters
    assert memory.state == {"weights": weights * n, "optimizer": optimizer * n}
    assert memory.update["gradients"] == gradients * n
    assert memory.host == host * n


def test_the_whole_model_must_fit_a_gpu_once():
    """With more and more GPUs a share goes to nothing; what is moved before sharding does not."""
    run = _run(
        engine={"zero_stage": 3, "offload_optimizer": True, "forward_tokens": 1024},
        update={"micro_batch_tokens": 1024},
        sampler={"kind": "vllm", "gpu_memory_fraction": 0.01},
    )
    memory = check_memory(run, gpus=4096).memory
    assert sum(memory.state.values()) + sum(memory.update.values()) < 2 * SEVEN_B.parameters
    assert memory.peak == 2 * SEVEN_B.parameters + OTHER_BYTES


def test_copies_of_the_model():
    n = SEVEN_B.parameters
    kl = check_memory(_run(loss={"method": "ppo_clip", "reference_kl": 0.1})).memory
    assert (kl.reference, kl.host, kl.loading) == (2 * n, 2 * n, 4 * n)
    prime = check_memory(_run(algorithm={"name": "prime"})).memory
    assert prime.state["PRM's optimizer"] == prime.state["optimizer"]
    assert (prime.reference, prime.loading) == (2 * n, 6 * n)
    own = check_memory(_run(engine={"zero_stage": 3}, sampler={"kind": "torch"})).memory
    assert own.state["sampler's copy"] == 2 * n
    torch_engine = check_memory(_run(engine={"kind": "torch"}), gpus=8)
    assert torch_engine.gpus == 1
    assert torch_engine.memory.state == {"weights": 4 * n, "optimizer": 8 * n}


def test_disk_by_hand():
    n = SEVEN_B.parameters
    assert check_memory(_run()).disk == {
        "a checkpoint": 14 * n,  # bfloat16, its float32 copy and two moments
        "checkpoints": 3 * 14 * n,  # two are kept, and one is being written
        "exported policy": 2 * 2 * n,
    }
    assert check_memory(_run(engine={"kind": "torch"})).disk["a checkpoint"] == 12 * n


def test_what_does_not_fit_is_said_with_a_way_out():
    alone = check_memory(_run(), gpus=1, gpu_memory_gib=80)
    (line,) = [text for text in report(alone) if text.startswith("warning")]
    assert "does not fit" in line
    gpus = int(line.split("it would on ")[1].split(" ")[0])
    assert not check_memory(_run(), gpus=gpus).problems
    assert check_memory(_run(), gpus=gpus // 2).problems
    assert "engine.offload_optimizer = true" in line
    assert not check_memory(_run(engine={"offload_optimizer": True}), gpus=1).problems
    # Weights of 14.2 GiB leave nothing of a share of 14.4 for the cache of a sequence.
    tight = check_memory(_run(sampler={"gpu_memory_fraction": 0.18}))
    assert "room for 0 tokens of cache" in tight.problems[0]
    odd = check_memory(_run(sampler={"tensor_parallel": 4}), gpus=6)
    assert odd.problems == ["6 GPUs do not divide into engines of 4"]


def test_numbers_that_live_elsewhere_are_the_same():
    assert TILE_LOGITS["cuda"] == HEAD_TILE_LOGITS


def test_dry_run_needs_no_network(capsys, monkeypatch):
    monkeypatch.setattr("socket.socket.connect", lambda *args: pytest.fail("it asked the network"))
    path = "reproduce/runs/paper/fig11_32b_kl_cov.toml"
    words = ["train", path, "--dry-run", "--gpus"]
    assert main([*words, "32"]) == 0
    out, error = capsys.readouterr()
    resolved = json.loads(out)
    assert resolved["loss"]["penalty_fraction"] == 2e-4
    assert make_config(resolved) == load_config(path)
    assert "32,763,876,352 parameters" in error
    assert "warning" not in error
    assert main([*words, "8"]) == 0
    assert "warning: does not fit" in capsys.readouterr().err
    unknown = ["--set", 'model.path="someone/unheard-of"', "--set", "sampler.tensor_parallel=1"]
    assert main([*words, "8", *unknown]) == 0
    assert "no check: the shape of someone/unheard-of is not known" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--gpus", "0", "'--gpus': '0'; give a whole number from 1 on"),
        ("--gpu-memory-gib", "-1", "'--gpu-memory-gib': '-1'; give a number above 0"),
    ],
)
def test_impossible_questions_are_one_line(capsys, flag, value, message):
    path = "reproduce/runs/paper/fig11_7b_grpo.toml"
    code = main(["train", path, "--dry-run", flag, value])
    out, error = capsys.readouterr()
    assert code == 2
    assert message in error
    assert not out
