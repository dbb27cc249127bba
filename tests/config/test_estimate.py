"""Estimates of memory, tokens, operations, hours and disk: sums that can be done by hand."""

import json

import pytest

from entropy_mech.cli import main
from entropy_mech.config.estimate import (
    GIB,
    HEAD_TILE_LOGITS,
    OTHER_BYTES,
    PROBLEMS,
    Assumptions,
    block_bytes,
    counts,
    estimate,
    report,
    sequence_flops,
)
from entropy_mech.config.files import load_config, make_config
from entropy_mech.config.shapes import MODELS
from entropy_mech.objectives.logprobs import TILE_LOGITS
from entropy_mech.problems.benchmarks import BENCHMARKS

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
    found = estimate(_run(), gpus=gpus, gpu_memory_gib=80)
    assert found.memory.state == {"weights": 2 * n, "optimizer": 12 * n // gpus}
    update = found.memory.update
    assert update["gradients"] == 2 * n // gpus
    assert update["gradients as float32"] == 4 * n // gpus
    assert update["reduction buckets"] == 2 * 2 * 500_000_000
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
        ({"zero_stage": 1}, 2, 12 / 8, 2, 0),
        ({"zero_stage": 2}, 2, 12 / 8, 2 / 8, 0),
        ({"zero_stage": 3}, 2 / 8, 12 / 8, 2 / 8, 0),
        ({"zero_stage": 3, "offload_optimizer": True}, 2 / 8, 0, 2 / 8, 12 / 8),
        (
            {"zero_stage": 3, "offload_optimizer": True, "offload_weights": True},
            0, 0, 2 / 8, 14 / 8,
        ),
    ],
)  # fmt: skip
def test_what_each_zero_stage_shards(engine, weights, optimizer, gradients, host):
    memory = estimate(_run(engine=engine), gpus=8).memory
    n = SEVEN_B.parameters
    assert memory.state == {"weights": weights * n, "optimizer": optimizer * n}
    assert memory.update["gradients"] == gradients * n
    assert memory.host == host * n


def test_the_whole_model_must_fit_a_gpu_once():
    """With more and more GPUs a share goes to nothing; what is moved before sharding does not."""
    run = _run(
        engine={"zero_stage": 3, "offload_optimizer": True, "forward_tokens": 1024},
        update={"micro_batch_tokens": 1024},
        sampler={"kind": "vllm", "placement": "separate"},
    )
    memory = estimate(run, gpus=4096).memory
    assert sum(memory.state.values()) + sum(memory.update.values()) < 2 * SEVEN_B.parameters
    assert memory.peak == 2 * SEVEN_B.parameters + OTHER_BYTES


def test_copies_of_the_model():
    n = SEVEN_B.parameters
    kl = estimate(_run(loss={"method": "ppo_clip", "reference_kl": 0.1})).memory
    assert (kl.reference, kl.host, kl.loading) == (2 * n, 2 * n, 4 * n)
    prime = estimate(_run(algorithm={"name": "prime"})).memory
    assert prime.state["PRM's optimizer"] == prime.state["optimizer"]
    assert (prime.reference, prime.loading) == (2 * n, 6 * n)
    own = estimate(_run(engine={"zero_stage": 3}, sampler={"kind": "torch"})).memory
    assert own.state["sampler's copy"] == 2 * n
    torch_engine = estimate(_run(engine={"kind": "torch"}), gpus=8)
    assert torch_engine.gpus == 1
    assert torch_engine.memory.state == {"weights": 4 * n, "optimizer": 8 * n}


def test_tokens_and_operations_by_hand():
    assume = Assumptions(response_tokens=300, prompt_tokens=100)
    found = estimate(_run(), gpus=8, assume=assume)
    assert (found.counts.sampled, found.counts.trained) == (128, 128)
    one = sequence_flops(SEVEN_B, 100, 300)
    assert one == pytest.approx(
        2 * 6_525_621_760 * 400 + 2 * 152064 * 3584 * 300 + 2 * 28 * 3584 * 400**2
    )
    # MATH-500 greedily, every fourth rollout.
    assert found.flops == pytest.approx(
        {"sample": 128 * one, "validate": 500 * one / 4, "measure": 128 * one, "update": 512 * one}
    )
    # 8 responses at once on each of 8 engines: a step reads 2 bytes a weight and 57,344 bytes for
    # each token of context, of which there are 100 + 150.
    step_s = (2 * SEVEN_B.parameters + 8 * 250 * 57_344) / (0.4 * 3.35e12)
    assert found.seconds["sample"] == pytest.approx(128 * 300 / (8 * 8 / step_s))
    assert found.seconds["update"] == pytest.approx(512 * one / (8 * 0.35 * 989e12))
    assert found.gpu_hours == pytest.approx(10 * sum(found.seconds.values()) * 8 / 3600)


def test_the_filter_takes_half_and_rounds_make_up_for_it():
    half = {"group_filter": True}
    one_round = counts(_run(rollout=half), Assumptions())
    assert (one_round.sampled, one_round.trained) == (128, 64)
    rounds = counts(_run(rollout={**half, "max_generation_rounds": 10}), Assumptions())
    assert (rounds.sampled, rounds.trained) == (256, 128)
    few = counts(
        _run(rollout={**half, "max_generation_rounds": 10}), Assumptions(kept_fraction=0.01)
    )
    assert (few.sampled, few.trained) == (1280, 8)


def test_passes_that_settings_add():
    assume = Assumptions(response_tokens=300)
    plain = estimate(_run(), assume=assume).flops
    more = {"loss": {"method": "kl_cov", "covariance_scope": "mini_batch"}}
    assert estimate(_run(**more), assume=assume).flops["measure"] == 1.5 * plain["measure"]
    prime = estimate(_run(algorithm={"name": "prime"}), assume=assume).flops
    assert prime["PRM"] == 1.25 * plain["update"]
    assert prime["reference"] == plain["update"] / 4
    fast = estimate(_run(engine={"gradient_checkpointing": False}), assume=assume).flops
    assert fast["update"] == 0.75 * plain["update"]


def test_disk_by_hand():
    n = SEVEN_B.parameters
    assert estimate(_run()).disk == {
        "a checkpoint": 14 * n,  # bfloat16, its float32 copy and two moments
        "checkpoints": 3 * 14 * n,  # two are kept, and one is being written
        "exported policy": 2 * 2 * n,
    }
    assert estimate(_run(engine={"kind": "torch"})).disk["a checkpoint"] == 12 * n


def test_what_does_not_fit_is_said_with_a_way_out():
    alone = estimate(_run(), gpus=1, gpu_memory_gib=80)
    (line,) = [text for text in report(alone) if text.startswith("warning")]
    assert "does not fit" in line
    gpus = int(line.split("it would on ")[1].split(" ")[0])
    assert not estimate(_run(), gpus=gpus).problems
    assert estimate(_run(), gpus=gpus // 2).problems
    assert "engine.offload_optimizer = true" in line
    assert not estimate(_run(engine={"offload_optimizer": True}), gpus=1).problems
    # Weights of 14.2 GiB leave nothing of a share of 14.4 for the cache of a sequence.
    tight = estimate(_run(sampler={"gpu_memory_fraction": 0.18}))
    assert "room for 0 tokens of cache" in tight.problems[0]
    odd = estimate(_run(sampler={"tensor_parallel": 4}), gpus=6)
    assert odd.problems == ["6 GPUs do not divide into engines of 4"]


def test_separate_engines_come_on_top():
    separate = {"placement": "separate", "engines": 2, "tensor_parallel": 2}
    found = estimate(_run(sampler=separate), gpus=4)
    assert (found.sampling_gpus, found.memory.sampler) == (4, 0)
    hours = 10 * sum(found.seconds.values()) * 8 / 3600
    assert found.gpu_hours == pytest.approx(hours)


def test_numbers_that_live_elsewhere_are_the_same():
    assert TILE_LOGITS["cuda"] == HEAD_TILE_LOGITS
    assert set(PROBLEMS) == set(BENCHMARKS)


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
    assert "GPU hours" in error
    assert "warning" not in error
    assert main([*words, "8"]) == 0
    assert "warning: does not fit" in capsys.readouterr().err
    unknown = ["--set", 'model.path="someone/unheard-of"', "--set", "sampler.tensor_parallel=1"]
    assert main([*words, "8", *unknown]) == 0
    assert "no estimate: the shape of someone/unheard-of is not known" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--gpus", "0", "--gpus = 0: give 1 or more"),
        ("--gpu-memory-gib", "-1", "--gpu-memory-gib = -1.0: give more than 0"),
        ("--response-tokens", "9000", "--response-tokens = 9000: give 1 to 8192, the longest"),
    ],
)
def test_impossible_questions_are_one_line(capsys, flag, value, message):
    path = "reproduce/runs/paper/fig11_7b_grpo.toml"
    try:
        code = main(["train", path, "--dry-run", flag, value])
    except SystemExit as stop:
        code = stop.code
    out, error = capsys.readouterr()
    assert code == 2
    assert message in error
    assert not out


def test_without_vllm_no_speed_is_guessed():
    found = estimate(make_config({}))
    assert found.seconds == {}
    assert not any(line.startswith(("time", "seconds")) for line in report(found))
