"""The graders as TRL's and verl's reward functions: right verdicts, None where nobody can judge."""

import pytest

from entropy_mech.errors import UserError
from entropy_mech.integrations.rewards import (
    code_reward,
    math_reward,
    verl_code_score,
    verl_math_score,
)
from tests.needs import needs_trl

RIGHT, WRONG = r"so \boxed{\frac{1}{2}}", r"so \boxed{3}"
DOUBLE = "```python\ndef double(x):\n    return 2 * x\n```"
TESTS = ["assert double(4) == 8", "assert double(-1) == -2", "assert double(0) == 1"]


def test_maths_answers_texts_and_conversations():
    logged = {}
    reward = math_reward("solution")
    completions = [RIGHT, WRONG, "no idea", [{"role": "assistant", "content": RIGHT}], RIGHT]
    given = reward(
        completions=completions,
        prompts=["?"] * 5,
        completion_ids=[[1]] * 5,
        solution=["0.5", "0.5", "0.5", "0.5", ""],
        log_metric=logged.__setitem__,
    )
    # The last reference is empty: no completion can be judged by it.
    assert given == [1.0, 0.0, 0.0, 1.0, None]
    assert logged["verdict/correct"] == 0.4
    assert logged["verdict/no_answer"] == 0.2
    assert sum(logged.values()) == pytest.approx(1)


def test_programs_by_either_rule():
    completions, tests = [DOUBLE, "nothing"], [TESTS, TESTS]
    assert code_reward()(completions=completions, tests=tests) == [0.0, 0.0]
    assert code_reward()(completions=[DOUBLE], tests=[TESTS[:2]]) == [1.0]
    shares = code_reward(rule="passed_fraction")(completions=completions, tests=tests)
    assert shares == [pytest.approx(2 / 3), 0.0]


def test_a_missing_column_is_named():
    with pytest.raises(UserError, match="column = answer: the data set has solution"):
        math_reward()(completions=[RIGHT], solution=["0.5"])


def test_verls_signature_gives_the_verdict_too():
    graded = verl_math_score("any", RIGHT, "0.5", extra_info={})
    assert graded == {"score": 1.0, "verdict": "correct"}
    assert verl_math_score("any", "no idea", "0.5")["verdict"] == "no_answer"
    assert verl_code_score("any", DOUBLE, TESTS[:2])["score"] == 1.0


@needs_trl
@pytest.mark.filterwarnings("ignore")
def test_trl_calls_it_and_logs_the_verdicts(tmp_path):
    from datasets import Dataset

    from tests.integrations.trl_world import KL_COV, train

    prompts = [f"{i}+{j}=" for i in range(4) for j in range(4)]
    data = Dataset.from_dict({"prompt": prompts, "answer": ["1"] * 15 + [""]})
    log = train(tmp_path, reward=math_reward(), dataset=data, **KL_COV).log
    rewarded = [row for row in log if "rewards/math_reward/mean" in row]
    assert rewarded
    for row in rewarded:
        verdicts = [value for name, value in row.items() if name.startswith("verdict/")]
        assert sum(verdicts) == pytest.approx(1)
