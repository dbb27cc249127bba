"""Who answers an evaluation: which kind is chosen, and that vLLM answers as the model does."""

import importlib.util
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import BloomConfig, PreTrainedTokenizerFast

from entropy_mech.errors import UserError
from entropy_mech.evaluation import suite
from entropy_mech.evaluation.suite import Evaluation, FoundModel, find_model, open_sampler
from entropy_mech.problems.benchmarks import load_sets
from entropy_mech.train.pretrain import prepare_base_model
from entropy_mech.train.pretrained import positions_of
from tests.conftest import VLLM_MODEL, tiny
from tests.needs import needs_vllm


@pytest.fixture
def folder(store):
    return str(prepare_base_model(store.root, tiny(model=VLLM_MODEL)))


def _greedy_set():
    (one,), _ = load_sets(["toy_maths_5"], limit=12)
    return replace(one, protocol=replace(one.protocol, temperature=0.0, samples=1))


@needs_vllm
def test_vllm_answers_as_the_model_itself(folder, store, tmp_path):
    """Greedy, so that only the model decides; in float32 the two agree but for ties."""
    found, one, scores = find_model(folder, store), _greedy_set(), {}
    for kind in ("torch", "vllm"):
        with open_sampler(found, [one], kind=kind) as opened:
            assert opened.kind == kind
            evaluation = Evaluation(
                tmp_path / kind, opened.sampler, opened.tokenizer, sampled_by=kind
            )
            scores[kind] = evaluation.run(one.name, one.problems, one.protocol)
    rows = {
        kind: [json.loads(row) for row in (tmp_path / kind / f"{one.name}.jsonl").open()]
        for kind in scores
    }
    assert rows["vllm"] == rows["torch"]
    assert len({row["response"] for row in rows["torch"]}) > 1  # the model says different things
    assert scores["vllm"] == scores["torch"]


def test_samples_of_another_kind_are_not_added_to(folder, store, tmp_path):
    one = _greedy_set()
    with open_sampler(find_model(folder, store), [one], kind="torch") as opened:
        arguments = (tmp_path, opened.sampler, opened.tokenizer)
        Evaluation(*arguments).run(one.name, one.problems, one.protocol)
        with pytest.raises(UserError, match="holds samples of other problems or settings"):
            Evaluation(*arguments, sampled_by="vllm").run(one.name, one.problems, one.protocol)


@pytest.mark.parametrize(
    ("gpu", "installed", "toy", "kind"),
    [
        (True, True, False, "vllm"),
        (True, True, True, "torch"),
        (True, False, False, "torch"),
        (False, True, False, "torch"),
    ],
)
def test_auto_is_vllm_where_it_is_fast(monkeypatch, gpu, installed, toy, kind):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: installed or None)
    assert suite.chosen_kind("auto", FoundModel("some/model", "hf-0", toy=toy)) == kind


def test_vllm_asked_for_and_not_installed(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="--sampler = vllm: vLLM is not installed"):
        suite.chosen_kind("vllm", FoundModel("some/model", "hf-0"))


@pytest.mark.parametrize(
    ("gpus", "ranks", "fix"),
    [
        (1, 1, "there are 1 GPUs here; give as many or less"),
        (8, 3, "the launcher started 3 processes; give a number that divides it"),
    ],
)
def test_an_engine_over_more_gpus_than_it_can_have(monkeypatch, gpus, ranks, fix):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with pytest.raises(UserError, match=f"--tensor-parallel = 2: {fix}"):
        suite._check_gpus(2, SimpleNamespace(size=ranks))
    suite._check_gpus(1, SimpleNamespace(size=ranks))


@pytest.mark.parametrize("kind", ["torch", pytest.param("vllm", marks=needs_vllm)])
def test_a_model_with_too_few_positions_is_refused(folder, store, kind):
    """Before an engine is started; the line says what fits."""
    one = _greedy_set()
    one = replace(one, protocol=replace(one.protocol, max_new_tokens=10**6))
    with (
        pytest.raises(UserError, match=r"--max-new-tokens = 1000000: with a prompt of toy_maths_5"),
        open_sampler(find_model(folder, store), [one], kind=kind),
    ):
        pass


def test_a_model_that_sets_no_limit_has_room_for_everything():
    """Bloom marks positions by distance (ALiBi): its configuration has no most of them."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel({"?": 0}, unk_token="?")), unk_token="?"
    )
    one = _greedy_set()
    assert positions_of(BloomConfig()) is None
    assert suite._longest([one], tokenizer, positions_of(BloomConfig())) == (
        1 + one.protocol.max_new_tokens
    )
