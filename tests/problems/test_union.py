"""The union of training sets: each text once, contradictions between sets dropped."""

import json

import pytest

from entropy_mech.config.files import make_config
from entropy_mech.problems.sources import load_training_set, load_training_sets
from entropy_mech.train.tasks import load_tasks

GSM8K = [
    {"question": "What is 1 + 1?", "answer": "One and one. #### 2"},
    {"question": "What is 2 + 2?", "answer": "#### 4"},
    {"question": "What is 3 + 3?", "answer": "#### 7"},
]
DAPO = [
    {"problem": "what is  1 + 1?", "answer": "2"},  # the same text, but for case and spacing
    {"problem": "What is 3 + 3?", "answer": "6"},  # another answer: one of the two is wrong
    {"problem": "What is 4 + 4?", "answer": "8"},
    {"problem": "What is 4 + 4?", "answer": "8"},
]


@pytest.fixture
def folder(tmp_path):
    for name, rows in (("gsm8k", GSM8K), ("dapo_math", DAPO), ("math500", GSM8K[:1])):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / f"{name}.jsonl").write_text(text.replace("#### ", "####"))
    return tmp_path


def test_repeats_and_contradictions_between_sets(folder):
    both = load_training_sets(["gsm8k", "dapo_math"], folder)
    assert [p.text for p in both.problems] == ["What is 1 + 1?", "What is 2 + 2?", "What is 4 + 4?"]
    assert [p.reference for p in both.problems] == ["2", "4", "8"]
    assert both.name == "gsm8k + dapo_math"
    assert both.rows == 7
    # 1 + 1 in both sets, 4 + 4 twice in one; 3 + 3 in each.
    assert (both.repeats, both.contradictions) == (2, 2)
    assert both.rows == len(both) + both.repeats + both.contradictions


def test_one_set_is_itself(folder):
    assert load_training_sets(["gsm8k"], folder) == load_training_set("gsm8k", folder)


def test_a_run_takes_the_union(folder):
    config = make_config(
        {
            "model": {"path": "Qwen/Qwen2.5-0.5B"},
            "problems": {"training_set": ["gsm8k", "dapo_math"], "data_dir": str(folder)},
        }
    )
    said = []
    tasks = load_tasks(config, said.append)
    assert len(tasks.training) == 3
    assert said[0].startswith("gsm8k + dapo_math: 3 problems of 7 rows")
    assert said[1] == "math500: 1 of 1 problems stand in gsm8k + dapo_math"
