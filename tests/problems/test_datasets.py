# ruff: noqa: E501 (rows are easier to read on their own lines)
"""Data sets: columns of every source, repeats, errors with both ways out, contamination."""

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from entropy_mech.errors import UserError
from entropy_mech.grading import GradingPool
from entropy_mech.problems import sources
from entropy_mech.problems.benchmarks import BENCHMARKS, load_benchmark, protocol
from entropy_mech.problems.grading import CodeProblem, MathProblem, grade_many
from entropy_mech.problems.sources import (
    SOURCES,
    TRAINING_SETS,
    LoadedSet,
    contamination_report,
    load_training_set,
    overlaps,
)

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "benchmarks"
SIZES = {
    "math500": (500, 500), "aime24": (30, 30), "aime25": (30, 30), "amc": (83, 83),
    "olympiadbench": (675, 675), "omni_math": (2821, 2816), "minerva_math": (272, 272),
    "kodcode": (232, 231),
}  # fmt: skip
needs_rows = pytest.mark.skipif(not DATA.is_dir(), reason="the real rows are not here")


def write(folder, name, rows):
    text = "\n".join(json.dumps(row) for row in rows)
    (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return folder


@needs_rows
@pytest.mark.parametrize("name", SIZES)
def test_real_benchmarks_load_from_files(name):
    loaded = load_benchmark(name, DATA)
    assert (loaded.rows, len(loaded)) == SIZES[name]
    assert loaded.repeats == loaded.rows - len(loaded)
    assert len({p.id for p in loaded.problems}) == len(loaded)
    assert all(p.text and p.text in p.prompt for p in loaded.problems)


@needs_rows
def test_real_training_sets_load_without_repeats():
    gsm8k, dapo = (load_training_set(name, DATA) for name in ("gsm8k", "dapo_math"))
    assert (len(gsm8k), gsm8k.repeats) == (2000, 0)
    assert (dapo.rows, len(dapo), dapo.repeats, dapo.contradictions) == (3000, 2948, 50, 2)


HUB_ROWS = {
    "dapo_math": (
        {"prompt": [{"role": "user", "content": "Solve the following math problem step by step. The "
                     "last line ... Answer: $Answer.\n\nWhat is 6*7?\n\nRemember to put your answer on "
                     "its own line after \"Answer:\"."}],
         "reward_model": {"ground_truth": "42"}, "data_source": "math_dapo"},
        "What is 6*7?", "42",
    ),
    "gsm8k": ({"question": "How many?", "answer": "So 2*3.\n#### 1,006"}, "How many?", "1006"),
    "eurus_math": (
        {"prompt": [{"role": "system", "content": "Think."}, {"role": "user", "content": "x?"}],
         "ability": "math", "data_source": "numina_olympiads", "reward_model": {"ground_truth": "\\pi"}},
        "x?", r"\pi",
    ),
    "eurus_math_difficult": (
        {"prompt": [{"role": "user", "content": "x?"}], "ability": "math",
         "data_source": "numina_olympiads", "reward_model": {"ground_truth": "2"}}, "x?", "2",
    ),
    "math500": ({"problem": "1+1?", "answer": "2", "unique_id": "a/1", "level": 3}, "1+1?", "2"),
    "aime24": ({"id": 60, "problem": "1+1?", "answer": "002", "year": "2024"}, "1+1?", "002"),
    "aime25": ({"problem": "1+1?", "answer": "2", "id": "0"}, "1+1?", "2"),
    "amc": ({"id": 0, "problem": "1+1?", "answer": 2.0}, "1+1?", "2"),
    "olympiadbench": (
        {"id": 7, "question": "Which?", "final_answer": ["$2$.", "$\\frac{1}{2}$"], "error": "1e-1"},
        "Which?", r"2, \frac{1}{2}",
    ),
    "omni_math": ({"problem": "1+1?", "answer": "2", "difficulty": 4.5}, "1+1?", "2"),
    "minerva_math": ({"question": "How far?", "answer": "3e8"}, "How far?", "3e8"),
}  # fmt: skip


@pytest.mark.parametrize("name", HUB_ROWS)
def test_columns_of_the_hub(tmp_path, name):
    row, text, answer = HUB_ROWS[name]
    load = load_training_set if name in TRAINING_SETS else load_benchmark
    (problem,) = load(name, write(tmp_path, name, [row])).problems
    assert (problem.text, problem.reference) == (text, answer)
    assert r"\boxed{}" in problem.prompt
    assert problem.grade(rf"\boxed{{{answer}}}").name == "correct"
    assert problem.grade(r"\boxed{123456}").name == "wrong"
    if name == "olympiadbench":
        assert problem.grade(r"\boxed{0.55, 2.05}").name == "correct"
    if name == "minerva_math":
        assert problem.grade(r"\boxed{3.0001 \times 10^8}").name == "correct"


CODE_ROWS = {
    "eurus_code": {"prompt": [{"role": "user", "content": "Add."}], "ability": "code",
                   "reward_model": {"ground_truth": '{"inputs": ["1 2"], "outputs": ["3"]}'}},
    "acecode": {"question": "Add.", "test_cases": ["assert add(1, 2) == 3"], "source": "oss"},
    "kodcode": {"question": "Add.", "test": "from solution import add\ndef test(): assert add(1, 2) == 3",
                "style": "instruct", "solution": "def add(a, b): return a + b"},
}  # fmt: skip


@pytest.mark.parametrize("name", CODE_ROWS)
def test_code_sets(tmp_path, name):
    other = {**CODE_ROWS[name], "style": "online_judge", "ability": "math", "question": "Other."}
    loaded = load_training_set(name, write(tmp_path, name, [CODE_ROWS[name], other]))
    problem = loaded.problems[0]
    assert len(loaded) == (2 if name == "acecode" else 1)
    assert isinstance(problem, CodeProblem)
    program = "def add(a, b): return a + b\nif __name__ == '__main__':\n    print(add(*map(int, input().split())))"
    assert problem.grade(f"```python\n{program}\n```").name == "correct"
    assert problem.grade("```python\npass\n```").name == "wrong"


def test_parquet_files_load_too(tmp_path):
    import pandas

    frame = pandas.DataFrame([{"question": "Add.", "test_cases": ["assert add(1, 2) == 3"]}])
    frame.to_parquet(tmp_path / "acecode.parquet")
    (problem,) = load_training_set("acecode", tmp_path).problems
    assert problem.grade("def add(a, b): return a + b").name == "correct"


def test_repeats_are_kept_once_and_contradictions_dropped(tmp_path):
    rows = [{"problem": t, "answer": a} for t, a in
            [("A b", "1"), ("a  B", "1"), ("C", "1"), ("c", "2"), ("D", "3")]]  # fmt: skip
    loaded = load_benchmark("omni_math", write(tmp_path, "omni_math", rows))
    assert [p.text for p in loaded.problems] == ["A b", "D"]
    assert (loaded.rows, loaded.repeats, loaded.contradictions) == (5, 1, 2)


def one_line(error):
    text = str(error.value)
    assert "\n" not in text
    return text


def test_errors_name_the_field_and_both_ways_out(tmp_path):
    with pytest.raises(UserError, match="unknown benchmark 'aime2025': did you mean 'aime25'"):
        load_benchmark("aime2025")
    with pytest.raises(UserError, match="unknown training set 'dapo': did you mean 'dapo_math'"):
        load_training_set("dapo")
    with pytest.raises(UserError, match="no such folder"):
        load_benchmark("amc", tmp_path / "nowhere")
    with pytest.raises(UserError) as error:
        load_benchmark("amc", tmp_path)
    assert "no amc.jsonl" in one_line(error)
    assert "AI-MO/aimo-validation-amc" in one_line(error)
    with pytest.raises(UserError) as error:
        load_benchmark("amc", write(tmp_path, "amc", [{"problem": "1+1?", "solution": "2"}]))
    text = one_line(error)
    assert "none of the columns answer" in text
    assert "it has problem, solution" in text
    assert "--data-dir" in text
    (tmp_path / "amc.jsonl").write_text("{not json", encoding="utf-8")
    with pytest.raises(UserError, match="cannot be read"):
        load_benchmark("amc", tmp_path)
    with pytest.raises(UserError, match="one JSON object a row"):
        load_benchmark("amc", write(tmp_path, "amc", [[1]]))
    (tmp_path / "amc.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="no row is left"):
        load_benchmark("amc", tmp_path)


MISSING = {
    "none": None, "not a number": float("nan"), "empty": " ", "empty list": [], "empty box": r"\boxed{}",
    "a list with none": ["1", None], "missing as text": "nan", "a table": {"value": 3},
}  # fmt: skip


@pytest.mark.parametrize("bad", MISSING)
@pytest.mark.parametrize(
    ("name", "column"),
    [("math500", "answer"), ("dapo_math", "reward_model.ground_truth"), ("acecode", "test_cases")],
)
def test_a_row_without_a_reference_is_refused_by_row_and_column(tmp_path, name, column, bad):
    if name == "acecode" and bad not in ("none", "not a number", "empty list"):
        pytest.skip("tests have forms of their own")
    good = ["assert f() == 1"] if name == "acecode" else "5"
    top, _, below = column.partition(".")
    rows = [
        {"question": f"q {i}?", top: {below: value} if below else value}
        for i, value in enumerate([good, good, MISSING[bad], good])
    ]
    load = load_training_set if name in TRAINING_SETS else load_benchmark
    with pytest.raises(UserError) as error:
        load(name, write(tmp_path, name, rows))
    text = one_line(error)
    assert f"{name}.jsonl, row 3, column {column}: " in text
    assert "give it one, or leave the row out" in text


def test_missing_numbers_of_a_table_are_refused_too(tmp_path):
    import pandas

    frame = pandas.DataFrame({"problem": ["a", "b"], "answer": [1, None]})
    frame.to_parquet(tmp_path / "amc.parquet")
    with pytest.raises(UserError, match=r"amc.parquet, row 2, column answer: nan is no reference"):
        load_benchmark("amc", tmp_path)
    frame.iloc[:1].to_parquet(tmp_path / "amc.parquet")
    assert [p.reference for p in load_benchmark("amc", tmp_path).problems] == ["1"]


def test_without_the_hub_the_error_comes_soon_and_helps(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    start_s = time.monotonic()
    with pytest.raises(UserError) as error:
        load_benchmark("aime25")
    text = one_line(error)
    assert "the hub cannot be reached" in text
    assert "go online" in text
    assert "--data-dir FOLDER with aime25.jsonl" in text
    assert time.monotonic() - start_s < 30


def test_the_hub_is_asked_for_a_pinned_revision(monkeypatch):
    import datasets

    asked = []

    def fake(hub_id, config, *, split, revision):
        asked.append((hub_id, config, split, revision))
        return [{"problem": "1+1?", "answer": "2"}] * 100

    monkeypatch.setattr(sources, "hub_answers", lambda: True)
    monkeypatch.setattr(datasets, "load_dataset", fake)
    loaded = load_benchmark("math500")
    revision = "ff5b20257d8185524591543f8ff5993951537bb8"
    assert asked == [("HuggingFaceH4/MATH-500", None, "test", revision)]
    assert (loaded.origin, len(loaded)) == (f"HuggingFaceH4/MATH-500@{revision}", 1)


def test_kodcode_is_split_by_text_alone(monkeypatch):
    rows = [{"question": f"Problem {i}", "test": "def test(): assert f()", "style": "instruct"}
            for i in range(1000)]  # fmt: skip
    monkeypatch.setattr(sources, "_from_hub", lambda source: (rows, "hub"))
    train = {p.text for p in load_training_set("kodcode").problems}
    test = {p.text for p in load_benchmark("kodcode").problems}
    assert not train & test
    assert len(train | test) == 1000
    assert 5 <= len(test) <= 50


def test_protocols_are_the_papers():
    assert set(BENCHMARKS) - {"gsm8k"} == {"math500", "aime24", "aime25", "amc", "olympiadbench", "omni_math",
                               "minerva_math", "eurus_code", "kodcode"}  # fmt: skip
    for name in BENCHMARKS:
        way = protocol(name)
        sampled = name in ("aime24", "aime25", "amc")
        assert (way.temperature, way.samples) == ((0.6, 32) if sampled else (0.0, 1))
        assert way.max_new_tokens == 8192


def test_every_source_says_where_it_is_from_and_under_what_licence():
    for source in SOURCES.values():
        assert "/" in source.hub_id
        assert source.licence
        assert source.revision == "main" or len(source.revision) == 40


def as_set(name, texts):
    return LoadedSet(
        name,
        tuple(MathProblem(f"{name}-{i}", t, "1") for i, t in enumerate(texts)),
        "",
        len(texts),
        0,
        0,
    )


def test_contamination_finds_exact_and_near_copies():
    long = "A farmer has seventeen sheep and buys four more at the market on Monday morning how many are there"
    training = as_set("train", [long.upper() + "?!", "Find $x$.", "Something else entirely here"])
    benchmark = as_set("bench", [long, long.replace("Monday", "Friday"), "find x", "find y",
                                 "Nobody wrote this sentence about mathematics before today I hope so"])  # fmt: skip
    (found,) = overlaps(training, [benchmark])
    assert [(o.problem_id, o.training_id, o.exact) for o in found] == [
        ("bench-0", "train-0", True), ("bench-2", "train-1", True)]  # fmt: skip
    (loose,) = overlaps(training, [benchmark], least_similarity=0.5)
    assert [(o.problem_id, o.exact) for o in loose if not o.exact] == [("bench-1", False)]
    assert "| train | bench | 5 | 2 | 0 |" in contamination_report([training], [benchmark])
    with pytest.raises(UserError, match="least_similarity = 70"):
        overlaps(training, [benchmark], least_similarity=70)


def _runs_of_five(text):
    words = text.split()
    return {tuple(words[i : i + 5]) for i in range(len(words) - 4)} if len(words) >= 8 else set()


def _nearest_by_trying_all(training, problem):
    """The share of runs that the most similar training problem has; the first of equals."""
    best = (0.0, "")
    for other in training.problems:
        ours, theirs = _runs_of_five(problem.text), _runs_of_five(other.text)
        share = len(ours & theirs) / min(len(ours), len(theirs)) if ours and theirs else 0.0
        best = max(best, (share, other.id), key=lambda pair: pair[0])
    return best


def test_contamination_of_all_benchmarks_is_one_pass_over_the_training_set():
    """Random texts over three words, which share many runs; each benchmark as by itself."""
    draws = np.random.default_rng(0)

    def texts(count):
        return [
            " ".join(draws.choice(["a", "b", "c"], draws.integers(5, 30))) for _ in range(count)
        ]

    class Once(tuple):
        passes = 0

        def __iter__(self):
            Once.passes += 1
            return super().__iter__()

    training = as_set("train", texts(60))
    benchmarks = [as_set("one", texts(20)), as_set("two", [*texts(20), training.problems[7].text])]
    counted = replace(training, problems=Once(training.problems))
    together = overlaps(counted, benchmarks, least_similarity=0.3)
    assert Once.passes == 1
    for benchmark, found in zip(benchmarks, together, strict=True):
        assert [found] == overlaps(training, [benchmark], least_similarity=0.3)
        near = {o.problem_id: (o.similarity, o.training_id) for o in found if not o.exact}
        assert len(near) > 5
        for problem in benchmark.problems:
            share, twin = _nearest_by_trying_all(training, problem)
            if problem.id in near:
                assert near[problem.id] == (share, twin)
            else:
                assert share < 0.3 or any(o.exact for o in found if o.problem_id == problem.id)
    assert ("two-20", "train-7", True) in [
        (o.problem_id, o.training_id, o.exact) for o in together[1]
    ]


@needs_rows
def test_contamination_of_the_real_sets():
    dapo = load_training_set("dapo_math", DATA)
    (omni,) = overlaps(dapo, [load_benchmark("omni_math", DATA)])
    assert sum(o.exact for o in omni) == 69
    assert len(omni) == 125
    assert overlaps(dapo, [load_benchmark("aime25", DATA)]) == [[]]


def test_mixed_problems_are_graded_on_one_pool():
    problems = [
        MathProblem("a", "?", "2"),
        CodeProblem("b", "?", ["assert f() == 1"]),
        MathProblem("c", "?", ("3", "4"), relative_tolerance=0.1),
        MathProblem("d", "?", "5"),
    ]
    responses = [r"\boxed{2}", "def f(): return 1", r"\boxed{4.1}", "none"]
    with GradingPool(workers=2) as pool:
        names = [v.name for v in grade_many(problems, responses, pool)]
        with pytest.raises(ValueError, match="shorter"):
            grade_many(problems, responses[:2], pool)
    assert names == ["correct", "correct", "correct", "no_answer"]
    assert [p.grade(r).name for p, r in zip(problems, responses, strict=True)] == names
