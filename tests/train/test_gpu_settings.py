"""What a GPU run asks of its libraries: attention, vLLM's sizes, the allocator's segments."""

import importlib.util
import os
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from entropy_mech.config import VLLMSamplerConfig
from entropy_mech.config.files import make_config, run_id
from entropy_mech.errors import UserError
from entropy_mech.hub import prepare_libraries
from entropy_mech.sampling import vllm_sampler
from entropy_mech.train.pretrain import attention_kernel

HUB = {"model": {"path": "someone/model"}, "problems": {"training_set": "gsm8k"}}
HALF = {"kind": "deepspeed", "dtype": "bfloat16"}


@pytest.mark.parametrize(
    ("asked", "dtype", "gpu", "installed", "kernel"),
    [
        ("auto", torch.bfloat16, True, True, "flash_attention_2"),
        ("auto", torch.float32, True, True, "sdpa"),  # it refuses float32
        ("auto", torch.bfloat16, True, False, "sdpa"),
        ("auto", torch.bfloat16, False, True, "sdpa"),
        ("eager", torch.bfloat16, True, True, "eager"),
    ],
)
def test_flash_attention_is_for_bfloat16_weights(monkeypatch, asked, dtype, gpu, installed, kernel):
    found = importlib.util.find_spec

    def find_spec(name, *rest):
        return (object() if installed else None) if name == "flash_attn" else found(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert attention_kernel(asked, dtype) == kernel


@pytest.mark.parametrize("engine", [{}, {"dtype": "bfloat16"}, {**HALF, "dtype": "float32"}])
def test_flash_attention_of_float32_weights_is_refused(engine):
    asked = {"attention": "flash_attention_2"}
    with pytest.raises(UserError, match=r"flash_attention_2.*: takes weights in bfloat16 alone"):
        make_config({**HUB, "engine": engine | asked})
    make_config({**HUB, "engine": HALF | asked})


@pytest.mark.parametrize(
    ("settings", "gpu", "sizes"),
    [
        ({}, True, (None, None)),  # vLLM's own, which knows the GPU
        ({"max_sequences": 64, "max_num_batched_tokens": 4096}, True, (64, 4096)),
        ({}, False, (256, 8192)),
    ],
)
def test_vllm_chooses_its_own_sizes_on_a_gpu(monkeypatch, settings, gpu, sizes):
    vllm, platforms = ModuleType("vllm"), ModuleType("vllm.platforms")
    vllm.LLM = lambda **words: words
    platforms.current_platform = SimpleNamespace(is_cpu=lambda: not gpu)
    monkeypatch.setitem(sys.modules, "vllm", vllm)
    monkeypatch.setitem(sys.modules, "vllm.platforms", platforms)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    for name in vllm_sampler._ENVIRONMENT:
        monkeypatch.setenv(name, "")
    config = VLLMSamplerConfig(**settings)
    for dtype, overrides in (("bfloat16", {"head_dtype": "float32"}), ("float32", None)):
        words = vllm_sampler._start(config, {"max_model_len": 1000, "dtype": dtype})
        assert (words["max_num_seqs"], words["max_num_batched_tokens"]) == sizes
        assert words.get("hf_overrides") == overrides


def test_a_size_that_is_speed_alone_is_no_part_of_a_run_s_name():
    names = {
        run_id(make_config({**HUB, "sampler": {"kind": "vllm", **more}}))
        for more in ({}, {"max_sequences": 256}, {"max_sequences": 7})
    }
    assert len(names) == 1


NAMES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF")


@pytest.mark.parametrize("given", [None, *NAMES])
def test_gpu_memory_grows_in_segments_unless_the_user_says_otherwise(monkeypatch, given):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    if given:
        monkeypatch.setenv(given, "max_split_size_mb:64")
    prepare_libraries()
    found = {name: os.environ[name] for name in NAMES if name in os.environ}
    monkeypatch.delenv("PYTORCH_CUDA_ALLOC_CONF", raising=False)
    if given:
        assert found == {given: "max_split_size_mb:64"}
    else:
        assert found == {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}
