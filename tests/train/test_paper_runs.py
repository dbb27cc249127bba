"""The paper's runs as files: all load without a network, and say what the paper says."""

import re
from pathlib import Path

import pytest

from entropy_mech.config.files import load_config, run_id
from entropy_mech.config.memory import check_memory
from entropy_mech.config.run import StartConfig
from entropy_mech.config.sections import TorchSamplerConfig
from entropy_mech.config.shapes import MODELS

FOLDER = Path(__file__).parents[2] / "reproduce" / "runs" / "paper"
FILES = sorted(path for path in FOLDER.glob("*.toml") if not path.name.startswith("_"))
RUNS = {path.stem: load_config(path) for path in FILES}
BASES = {c.model.path for name, c in RUNS.items() if name.startswith("fig03_")}
# GPUs of 80 GiB on which a run is meant to fit, where 8 are too few.
GPUS = {"mistralai/Mistral-Small-24B-Base-2501": 16, "Qwen/Qwen2.5-32B": 32}


def _of(figure: str) -> dict[str, object]:
    return {name: config for name, config in RUNS.items() if name.startswith(f"{figure}_")}


def _differences(one, other) -> set[str]:
    """Return the keys (section.key) in which two runs differ."""
    a, b = one.model_dump(mode="json"), other.model_dump(mode="json")
    found = set()
    for section in a:
        if isinstance(a[section], dict) and isinstance(b[section], dict):
            keys = a[section].keys() | b[section].keys()
            found |= {f"{section}.{k}" for k in keys if a[section].get(k) != b[section].get(k)}
        elif a[section] != b[section]:
            found.add(section)
    return found


def test_the_paper_has_eleven_base_and_three_instruct_models():
    assert len(BASES) == 11
    assert len({c.model.path for c in _of("fig14").values()} & set(MODELS) - BASES) == 3
    assert set(MODELS) >= BASES


def test_each_file_is_a_run_of_its_own():
    ids = {name: run_id(config) for name, config in RUNS.items()}
    assert ids.pop("tab01") == ids["fig11_7b_grpo"]  # its first rollout
    assert len(set(ids.values())) == len(ids)


@pytest.mark.parametrize("name", RUNS)
def test_what_every_run_shares(name):
    run = RUNS[name]
    assert (run.rollout.responses, run.rollout.temperature) == (8, 1.0)
    assert run.rollout.group_filter
    assert run.validation.every == 4
    assert (run.sampler.kind, run.engine.kind, run.engine.dtype) == (
        "vllm",
        "deepspeed",
        "bfloat16",
    )
    if name.startswith(("fig11", "fig12", "tab01")):
        assert (run.rollout.prompts, run.rollout.max_new_tokens) == (256, 8192)
        assert run.rollout.max_generation_rounds == 10
        assert run.problems.training_sets == ("dapo_math",)
        assert len(run.problems.validation) == 7
    else:
        assert run.rollout.prompts == 512
        assert run.update.learning_rate == 5e-7
    assert run.update.updates_per_rollout == (1 if name == "fig08_on_policy" else 8)
    assert (run.update.optimizer, run.update.weight_decay) == ("adamw", 0.0)
    assert run.update.max_grad_norm == 1.0
    assert run.model.revision is None or re.fullmatch("[0-9a-f]{40}", run.model.revision)


@pytest.mark.parametrize("name", RUNS)
def test_every_run_fits_its_gpus(name):
    run = RUNS[name]
    found = check_memory(run, gpus=GPUS.get(run.model.path, 8), gpu_memory_gib=80)
    assert found.problems == []


def test_figures_3_and_4_take_the_data_of_appendix_a():
    maths, code = _of("fig03"), _of("fig04")
    assert {name[6:] for name in maths} == {name[6:] for name in code}
    for name, run in maths.items():
        harder = "Qwen" in run.model.path or "Small-24B" in run.model.path
        assert run.problems.training_set == ("eurus_math" if harder else "gsm8k")
        assert run.problems.validation == (
            "math500",
            "aime24",
            "amc",
            "olympiadbench",
            "omni_math",
        )
        twin = code[name.replace("fig03", "fig04")]
        assert twin.problems.training_sets == ("acecode", "eurus_code", "kodcode")
        assert {d.split(".")[0] for d in _differences(run, twin)} == {"problems"}


@pytest.mark.parametrize(
    ("figure", "baseline", "key", "values"),
    [
        ("fig09", "fig03_qwen2.5_7b", "loss.entropy_bonus", {1e-4, 1e-3, 5e-3, 1e-2}),
        ("fig10", "fig03_qwen2.5_7b", "loss.reference_kl", {1e-3, 1e-2, 0.05, 0.1}),
        ("fig12_clip_cov", "fig11_7b_clip_cov", "loss.clip_fraction", {4e-4, 5e-4, 7e-4}),
        ("fig12_kl_cov", "fig11_7b_kl_cov", "loss.penalty_coefficient", {0.0, 0.05, 0.1, 0.5}),
        (
            "fig13",
            "fig03_qwen2.5_7b",
            "problems.training_set",
            {"dapo_math", "gsm8k", "eurus_math_difficult"},
        ),
    ],
)
def test_sweeps_differ_in_one_number(figure, baseline, key, values):
    section, field = key.split(".")
    found = set()
    for run in _of(figure).values():
        assert _differences(run, RUNS[baseline]) == {key}
        found.add(getattr(getattr(run, section), field))
    assert found == values


def test_figure_6_changes_the_algorithm():
    runs = _of("fig06")
    assert {run.algorithm.name for run in runs.values()} == {"rloo", "reinforce_pp", "prime"}
    for run in runs.values():
        changed = {d.split(".")[0] for d in _differences(run, RUNS["fig03_qwen2.5_7b"])}
        assert changed <= {"algorithm", "engine"}  # and what a second model needs
    assert runs["fig06_prime"].algorithm.prm_learning_rate == 1e-6


@pytest.mark.parametrize(
    ("size", "learning_rate", "penalty_fraction"), [("7b", 5e-7, 2e-3), ("32b", 1e-6, 2e-4)]
)
def test_the_four_methods_of_table_2(size, learning_rate, penalty_fraction):
    runs = _of(f"fig11_{size}")
    grpo, higher, clip, kl = (
        runs[f"fig11_{size}_{method}"].loss
        for method in ("grpo", "clip_higher", "clip_cov", "kl_cov")
    )
    assert (grpo.method, grpo.clip_low, grpo.clip_high) == ("ppo_clip", 0.2, 0.2)
    assert (higher.method, higher.clip_low, higher.clip_high) == ("ppo_clip", 0.2, 0.28)
    assert (clip.clip_fraction, clip.cov_low, clip.cov_high) == (2e-4, 1.0, 5.0)
    assert (clip.clip_low, clip.clip_high) == (1.0, 1.0)
    assert (kl.penalty_fraction, kl.penalty_coefficient) == (penalty_fraction, 1.0)
    assert {clip.covariance_scope, kl.covariance_scope} == {"rollout_batch"}
    for run in runs.values():
        assert run.update.learning_rate == learning_rate
        assert {d.split(".")[0] for d in _differences(run, runs[f"fig11_{size}_grpo"])} <= {"loss"}


def test_figure_8_has_no_surrogate_and_figure_14_talks_by_template():
    assert RUNS["fig08_on_policy"].loss.method == "policy_gradient"
    assert all(run.problems.chat_template for run in _of("fig14").values())
    assert not any(c.problems.chat_template for n, c in RUNS.items() if not n.startswith("fig14"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_files_are_small_and_say_what_they_are(path):
    text = path.read_text()
    assert re.match(r"# (Figure|Table) \d", text)
    assert len(text.splitlines()) <= 20


def test_the_guide_names_settings_and_files_that_exist():
    text = (FOLDER.parents[2] / "docs" / "guides" / "training.md").read_text()
    keys = {k for k in re.findall(r"`([a-z]+\.[a-z_]+)(?: = [^`]*)?`", text) if "." in k}
    keys -= {k for k in keys if k.endswith((".json", ".jsonl"))}
    assert len(keys) > 20
    # No run of the paper's starts from another one or samples without vLLM.
    others = {"start": StartConfig.model_fields, "sampler": TorchSamplerConfig.model_fields}
    tables = [others, *(config.model_dump() for config in RUNS.values())]
    for section, key in (k.split(".") for k in keys):
        assert any(key in (table.get(section) or {}) for table in tables), f"{section}.{key}"
    patterns = re.findall(r"`((?:fig|tab)\d\d\w*(?:\*)?)`", text)
    named = {path.stem for p in patterns for path in FOLDER.glob(f"{p}.toml")}
    assert all(list(FOLDER.glob(f"{p}.toml")) for p in patterns)
    assert named == set(RUNS)
