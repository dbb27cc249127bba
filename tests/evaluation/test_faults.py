"""Faults that an evaluation names: token ids beyond the embedding, holes, what nobody judged."""

import json

import pytest
from transformers import LlamaConfig, LlamaForCausalLM

from entropy_mech.cli import main
from entropy_mech.errors import UserError
from entropy_mech.evaluation import suite
from entropy_mech.evaluation.suite import Evaluation
from entropy_mech.grading import GraderAlarm, Verdict
from entropy_mech.problems.benchmarks import Protocol
from entropy_mech.problems.grading import MathProblem
from entropy_mech.problems.toy import ALPHABET, character_tokenizer
from entropy_mech.problems.tripwire import OneAnswerTwoReferences
from entropy_mech.sampling.torch_sampler import TorchSampler
from entropy_mech.train.pretrain import base_model, load_policy, prepare_base_model
from entropy_mech.train.pretrained import load_pretrained, load_without_weights
from tests.conftest import tiny

PROTOCOL = Protocol(samples=2, temperature=1.0, max_new_tokens=4)
PROBLEMS = [MathProblem(f"p{i}", f"{i}+{i}=", str(2 * i), template="bare") for i in range(8)]


def save_model(folder, tokenizer, rows):
    config = LlamaConfig(
        vocab_size=rows,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        eos_token_id=min(tokenizer.eos_token_id, rows - 1),
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


ADDED = {
    "a padding": (lambda t: t.add_special_tokens({"pad_token": "[PAD]"}), "pad token [PAD]"),
    "an end": (lambda t: t.add_special_tokens({"eos_token": "<|end|>"}), "eos token <|end|>"),
    "tokens": (lambda t: t.add_tokens(["<think>", "</think>"]), "</think>"),
}


@pytest.mark.parametrize("load", [load_pretrained, load_without_weights])
@pytest.mark.parametrize("name", ADDED)
def test_a_token_beyond_the_embedding_is_refused_when_the_model_is_loaded(tmp_path, name, load):
    add, token = ADDED[name]
    tokenizer = character_tokenizer(ALPHABET)
    rows = len(tokenizer)
    add(tokenizer)
    with pytest.raises(UserError) as error:
        load(save_model(tmp_path, tokenizer, rows), field="model.path")
    text = str(error.value)
    assert text.startswith(f"model.path = {tmp_path}: its tokenizer gives {token!r} the id ")
    assert f"the id {len(tokenizer) - 1}, and its embedding has {rows} rows" in text
    assert "resize_token_embeddings" in text
    assert "\n" not in text


@pytest.mark.parametrize("load", [load_pretrained, load_without_weights])
@pytest.mark.parametrize("more", [0, 100])
def test_an_embedding_with_rows_to_spare_is_fine(tmp_path, load, more):
    tokenizer = character_tokenizer(ALPHABET)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    load(save_model(tmp_path, tokenizer, len(tokenizer) + more))


def test_the_commands_and_a_toys_base_model_are_checked_too(store, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("ENTROPY_MECH_RUNS", str(tmp_path / "runs"))
    tokenizer = character_tokenizer(ALPHABET)
    rows = len(tokenizer)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    model = save_model(tmp_path / "model", tokenizer, rows)
    assert main(["evaluate", model, "--benchmarks", "toy_maths_2", "--sampler", "torch"]) == 2
    assert "'pad token [PAD]'" in capsys.readouterr().err
    prepare_base_model(store.root, tiny())
    with monkeypatch.context() as patch:
        patch.setattr("entropy_mech.train.pretrain.embedding_rows", lambda model: 5)
        with pytest.raises(UserError, match="its embedding has 5 rows"):
            load_policy(tiny(), store.root)


@pytest.fixture
def evaluation(store, tmp_path):
    def make(name="scores"):
        model, tokenizer = base_model(store.root, tiny())
        sampler = TorchSampler(
            model, pad_token=tokenizer.pad_token_id, eos_token=tokenizer.eos_token_id
        )
        return Evaluation(tmp_path / name, sampler, tokenizer, batch_size=5)

    return make


def graded(name):
    return lambda problems, texts, pool=None: [Verdict(name, "why")] * len(texts)


@pytest.mark.filterwarnings("ignore::entropy_mech.problems.tripwire.OneAnswerTwoReferences")
def test_a_hole_is_in_the_scores_of_an_evaluation_that_was_cut_too(evaluation, monkeypatch):
    monkeypatch.setattr(suite, "grade_many", graded("correct"))
    monkeypatch.setattr(MathProblem, "final_answer", lambda self, text: "one")
    whole = evaluation().run("a", PROBLEMS, PROTOCOL)
    assert whole.answers_right_for_different_references > 0
    again = evaluation()
    assert again.run("a", PROBLEMS, PROTOCOL) == whole  # from the samples that are there
    assert again.run("b", PROBLEMS[:1], PROTOCOL).answers_right_for_different_references == 0


def test_it_is_warned_of_by_answer_and_problems(evaluation, monkeypatch):
    monkeypatch.setattr(suite, "grade_many", graded("correct"))
    monkeypatch.setattr(MathProblem, "final_answer", lambda self, text: r"0^{-1}")
    with pytest.warns(OneAnswerTwoReferences, match=r"problem p0 .*problem p1 "):
        score = evaluation().run("a", PROBLEMS, PROTOCOL)
    assert score.answers_right_for_different_references == 1


def test_a_sound_grader_trips_nothing(evaluation):
    assert evaluation().run("a", PROBLEMS, PROTOCOL).answers_right_for_different_references == 0


def test_what_nobody_judged_ends_the_evaluation_and_is_drawn_again(evaluation, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(suite, "grade_many", graded("error"))
        with pytest.raises(GraderAlarm, match=r"16 of the last 16 verdicts are 'error'.*: why"):
            evaluation().run("a", PROBLEMS, PROTOCOL)
    mended = evaluation()
    score = mended.run("a", PROBLEMS, PROTOCOL)
    assert "error" not in score.verdicts
    assert score == evaluation("other").run("a", PROBLEMS, PROTOCOL)
    rows = [json.loads(line) for line in (mended.folder / "a.jsonl").open()]
    assert len({(row["problem"], row["sample"]) for row in rows}) == len(rows) == 16
