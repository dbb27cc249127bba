"""Evaluations: eight toy sets, the paper's from local files, and no sample drawn twice."""

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from entropy_mech.cli import main
from entropy_mech.errors import UserError
from entropy_mech.evaluation import suite
from entropy_mech.evaluation.suite import Evaluation
from entropy_mech.problems.benchmarks import TOY_BENCHMARKS, load_sets, load_toy_benchmark
from entropy_mech.problems.toy import ToyCodeProblem
from entropy_mech.sampling.torch_sampler import TorchSampler
from entropy_mech.train.loop import train
from entropy_mech.train.pretrain import base_model
from tests.conftest import TINY, tiny

ROOT = Path(__file__).parents[2]
BENCHMARK_ROWS = ROOT.parent / "shared" / "data" / "benchmarks"


@pytest.fixture
def trained(store, monkeypatch, tmp_path):
    """A trained tiny run: the path of its configuration, as a user would give it."""
    train(tiny(), store)
    monkeypatch.setenv("ENTROPY_MECH_RUNS", str(store.root))
    path = tmp_path / "tiny.toml"
    lines = [f"{k} = {json.dumps(v)}" for k, v in TINY.items() if not isinstance(v, dict)]
    for section, table in TINY.items():
        if isinstance(table, dict):
            lines.append(f"[{section}]")
            for key, value in table.items():
                text = json.dumps(value)
                if isinstance(value, dict):
                    text = "{" + ", ".join(f"{k} = {v}" for k, v in value.items()) + "}"
                lines.append(f"{key} = {text}")
    path.write_text("\n".join(lines))
    return path


def _evaluator(store, folder):
    model, tokenizer = base_model(store.root, tiny())
    sampler = TorchSampler(
        model, pad_token=tokenizer.pad_token_id, eos_token=tokenizer.eos_token_id
    )
    return Evaluation(folder, sampler, tokenizer, batch_size=16)


def test_all_eight_toy_benchmarks_run(trained, tmp_path, capsys):
    out = tmp_path / "scores"
    words = ["evaluate", str(trained), "--limit", "6", "--out", str(out)]
    assert main(words) == 0
    scores = json.loads((out / "scores.json").read_text())["scores"]
    assert [s["benchmark"] for s in scores] == list(TOY_BENCHMARKS)
    assert len(scores) == 8
    for score in scores:
        rows = [json.loads(row) for row in (out / f"{score['benchmark']}.jsonl").open()]
        assert len(rows) == 6 * score["samples"] == sum(score["verdicts"].values())
        right = sum(row["verdict"] == "correct" for row in rows)
        assert score["accuracy"] == pytest.approx(right / len(rows))
    assert "8 benchmarks done" in capsys.readouterr().out


def test_references_are_right_and_nothing_held_out_is_trained_on():
    for name in TOY_BENCHMARKS:
        problems, _ = load_toy_benchmark(name)
        assert len({p.prompt for p in problems}) == len(problems)
        assert all(problem.held_out for problem in problems)
        assert all(p.grade(p.solution).name == "correct" for p in problems[:3])


def test_toy_code_is_really_run():
    problem = ToyCodeProblem("d", "f")
    assert problem.grade("f=d+d+d+d+d;").name == "correct"
    assert problem.grade("f=d*4+1;").name == "wrong"  # agrees at f(1) alone
    assert problem.grade("f=(5*d").name == "wrong"
    assert problem.grade(" ").name == "no_answer"


KILLED = """
import json, os, signal, sys
from pathlib import Path
from entropy_mech.evaluation import suite
from entropy_mech.cli import main

append, count = suite.MetricsFile.append, [0]

def watched(self, row):
    count[0] += 1
    if count[0] == int(sys.argv[1]):
        with self.path.open("ab") as file:
            file.write(json.dumps(row).encode()[:20])  # torn in the middle of a line
        os.kill(os.getpid(), signal.SIGKILL)
    append(self, row)

suite.MetricsFile.append = watched
main(sys.argv[2:])
"""


def test_killed_and_started_again_it_repeats_no_sample(trained, tmp_path):
    words = ["evaluate", str(trained), "--limit", "9", "--batch-size", "8"]
    words += ["--benchmarks", "toy_maths_5", "toy_maths_8"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert main([*words, "--out", str(whole)]) == 0
    for moment in ("4", "20"):
        done = subprocess.run(
            [sys.executable, "-c", KILLED, moment, *words, "--out", str(parts)],
            env={**os.environ},
            capture_output=True,
            timeout=120,
        )
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert main([*words, "--out", str(parts)]) == 0
    for name in ("toy_maths_5", "toy_maths_8"):
        rows = [json.loads(row) for row in (parts / f"{name}.jsonl").open()]
        pairs = [(row["problem"], row["sample"]) for row in rows]
        assert len(set(pairs)) == len(pairs)
        other = [json.loads(row) for row in (whole / f"{name}.jsonl").open()]
        assert sorted(rows, key=str) == sorted(other, key=str)


def test_samples_do_not_depend_on_the_batch(store, tmp_path):
    problems, protocol = load_toy_benchmark("toy_maths_8")
    one = _evaluator(store, tmp_path / "one")
    other = _evaluator(store, tmp_path / "other")
    other.batch_size = 5
    problems = problems[:8]
    assert one.run("a", problems, protocol) == other.run("a", problems, protocol)
    assert (tmp_path / "one" / "a.jsonl").read_text() == (
        tmp_path / "other" / "a.jsonl"
    ).read_text()


def test_other_settings_do_not_mix_with_stored_samples(store, tmp_path):
    problems, protocol = load_toy_benchmark("toy_maths_8")
    _evaluator(store, tmp_path).run("a", problems[:4], protocol)
    with pytest.raises(UserError, match="holds samples of other problems or settings"):
        _evaluator(store, tmp_path).run("a", problems[:4], replace(protocol, temperature=0.5))


def _llama(folder):
    """Return the path of a small model that reads long prompts."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from entropy_mech.problems.toy import ALPHABET, character_tokenizer

    tokenizer = character_tokenizer(ALPHABET)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return str(folder / "model")


def test_the_papers_benchmarks_from_local_files(store, tmp_path, monkeypatch):
    monkeypatch.setenv("ENTROPY_MECH_RUNS", str(store.root))
    if not BENCHMARK_ROWS.is_dir():
        pytest.skip(f"no benchmark rows at {BENCHMARK_ROWS}")
    words = [
        "evaluate",
        _llama(tmp_path),
        "--benchmarks",
        "paper",
        "--data-dir",
        str(BENCHMARK_ROWS),
    ]
    words += ["--limit", "2", "--samples", "1", "--max-new-tokens", "8", "--out", str(tmp_path)]
    assert main(words) == 0
    scores = json.loads((tmp_path / "scores.json").read_text())["scores"]
    assert {"math500", "aime24", "aime25", "amc", "olympiadbench", "omni_math"} <= {
        score["benchmark"] for score in scores
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere.toml"], "config = nowhere.toml: no such file"),
        (["no/such-model"], "model = no/such-model: cannot be loaded"),
        (["x.toml", "--benchmarks", "math5000"], "did you mean 'math500'?"),
        (["x.toml", "--limit", "-1"], "'--limit': '-1'; give a whole number from 0 on"),
        (["x.toml", "--batch-size", "-1"], "'--batch-size': '-1'; give a whole number from 0 on"),
        (
            ["x.toml", "--tensor-parallel", "0"],
            "'--tensor-parallel': '0'; give a whole number from 1 on",
        ),
        (["some/model", "--sampler", "vlm"], "did you mean 'vllm'?"),
    ],
)
def test_wrong_input_is_one_line(capsys, monkeypatch, tmp_path, words, message):
    monkeypatch.setenv("ENTROPY_MECH_RUNS", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert main(["evaluate", *words]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert error.count("\n") == 0


def test_a_run_that_is_not_trained_says_how_to_train_it(trained, capsys):
    text = trained.read_text().replace("steps = 6", "steps = 6\nseed = 77", 1)
    trained.write_text(text)
    assert main(["evaluate", str(trained)]) == 2
    assert f"is not trained yet; run: entropy-mech train {trained}" in capsys.readouterr().err


def test_a_folder_in_hugging_face_format_is_a_model(store, tmp_path, capsys, monkeypatch):
    """A Llama this time: the sampler asks only for a decoder and a head."""
    monkeypatch.setenv("ENTROPY_MECH_RUNS", str(store.root))
    words = [_llama(tmp_path), "--benchmarks", "toy_maths_2", "--out", str(tmp_path / "out")]
    assert main(["evaluate", *words]) == 0
    assert "toy_maths_2" in capsys.readouterr().out


def test_sampling_does_not_wait_for_graders(store, tmp_path, monkeypatch):
    """The first batch's grading ends only once the second batch is being sampled."""
    second, evaluation = threading.Event(), _evaluator(store, tmp_path)
    stream, batches = evaluation.sampler.stream, []

    def watched(requests, **settings):
        batches.append(len(requests))
        if len(batches) == 2:
            second.set()
        yield from stream(requests, **settings)

    def patient(problems, texts, pool=None):
        assert second.wait(timeout=60)
        return [problem.grade(text) for problem, text in zip(problems, texts, strict=True)]

    monkeypatch.setattr(evaluation.sampler, "stream", watched)
    monkeypatch.setattr(suite, "grade_many", patient)
    problems, protocol = load_toy_benchmark("toy_maths_8")
    assert sum(evaluation.run("a", problems[:8], protocol).verdicts.values()) == 32
    assert batches == [16, 16]


def test_all_benchmarks_are_one_queue_of_a_sampler_that_streams(store, tmp_path, monkeypatch):
    """Handed over once, with a temperature a request; the samples are those of one by one."""
    sets, _ = load_sets(["toy_maths_2", "toy_maths_8", "toy_maths_5"], limit=6)
    apart = _evaluator(store, tmp_path / "apart")
    expected = [apart.run(one.name, one.problems, one.protocol) for one in sets]
    together = _evaluator(store, tmp_path / "together")
    together.batch_size = None
    stream, calls, said = together.sampler.stream, [], []

    def in_pieces(requests, **settings):
        """Responses as they finish: three at a time, the last asked first."""
        calls.append(len(requests))
        places = list(range(len(requests)))[::-1]
        for start in range(0, len(places), 3):
            some = places[start : start + 3]
            (_, out), = stream([requests[place] for place in some], **settings)  # fmt: skip
            yield some, out

    monkeypatch.setattr(together.sampler, "stream", in_pieces)
    found = together.run_together(sets, lambda *words: said.append(words))
    assert calls == [6 + 6 * 4 + 6]
    assert found == expected
    assert {name: (done, total) for name, done, total in said} == {
        one.name: (6 * one.protocol.samples,) * 2 for one in sets
    }
    for one in sets:
        rows = [
            (tmp_path / place / f"{one.name}.jsonl").read_text() for place in ("apart", "together")
        ]
        assert rows[0] == rows[1]
    assert together.run_together(sets) == expected  # all is there: nothing is sampled again
    assert len(calls) == 1


@pytest.mark.parametrize(("kind", "groups"), [("torch", [1, 1, 1]), ("vllm", [2, 1])])
def test_vllm_takes_benchmarks_of_one_length_together(store, tmp_path, monkeypatch, kind, groups):
    sets, _ = load_sets(["toy_maths_2", "toy_maths_8", "toy_maths_5"], limit=2)
    sets[2] = replace(sets[2], protocol=replace(sets[2].protocol, max_new_tokens=20))
    made, sizes = _evaluator(store, tmp_path / "samples"), []

    class Opened:
        sampler, tokenizer = made.sampler, made.tokenizer

    Opened.kind = kind

    def watched(self, some, report):
        sizes.append(len(some))
        return [one.name for one in some]

    monkeypatch.setattr(suite, "open_sampler", lambda *_, **__: nullcontext(Opened))
    monkeypatch.setattr(suite.Evaluation, "run_together", watched)
    names = list(suite.evaluate_sets(None, sets, tmp_path, graders=1))
    assert names == [one.name for one in sets]
    assert sizes == groups
