"""Configurations: one clear line for each fault, and a hash of what matters."""

import re
import typing

import pytest

from entropy_mech.config import Section, TrainConfig
from entropy_mech.config.files import base_model_id, load_config, make_config, run_id
from entropy_mech.errors import UserError

MATHS = {
    "model": {"path": "deepseek-ai/deepseek-math-7b-base"},
    "problems": {"training_set": "gsm8k"},
}
# The paper's value of what the paper sets; where text and released code differ, both.
PAPER = {
    "rollout.prompts": ("512", "256"),
    "rollout.responses": ("8",),
    "rollout.temperature": ("1",),
    "rollout.max_new_tokens": ("8,192",),
    "rollout.group_filter": ("true",),
    "rollout.max_generation_rounds": ("10",),
    "update.updates_per_rollout": ("8", "1"),
    "update.micro_batch_size": ("128",),
    "update.learning_rate": ("5e-7", "1e-6"),
    "update.weight_decay": ("0",),
    "update.max_grad_norm": ("1.0",),
    "validation.every": ("4",),
    "engine.dtype": ("bfloat16",),
    "problems.max_prompt_tokens": ("2,048",),
    "loss.entropy_bonus": ("0", "1e-4", "0.01"),
    "loss.reference_kl": ("0", "0.1"),
    "loss.clip_low": ("0.2", "epsilon"),
    "loss.clip_high": ("0.28", "1"),
    "loss.clip_fraction": ("2e-4",),
    "loss.cov_low": ("1",),
    "loss.cov_high": ("5",),
    "loss.penalty_fraction": ("2e-3", "2e-4"),
    "loss.penalty_coefficient": ("1",),
    "loss.covariance_scope": ("rollout_batch", "micro_batch"),
    "algorithm.std_correction": ("1",),
    "algorithm.prm_learning_rate": ("1e-6",),
    "algorithm.prm_beta": ("0.05",),
}


def _fields(section=TrainConfig, path=""):
    """Yield (path, field, whether it only names or holds a section) of all arms of all sections."""
    for name, field in section.model_fields.items():
        place = f"{path}.{name}" if path else name
        inner = _sections(field.annotation)
        for one in inner:
            yield from _fields(one, place)
        yield place, field, bool(inner) or (name in ("method", "name", "kind") and bool(path))


def _sections(annotation) -> list[type[Section]]:
    if annotation is TrainConfig:  # the run that another starts from: the same settings again
        return []
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [s for part in typing.get_args(annotation) for s in _sections(part)]


def test_every_setting_has_a_sentence():
    fields = list(_fields())
    assert len(fields) > 100
    assert [path for path, field, names in fields if not names and not field.description] == []
    sections = {s for _, field, _ in fields for s in _sections(field.annotation)}
    assert [s.__name__ for s in sections if not s.__doc__] == []


@pytest.mark.parametrize(("path", "values"), PAPER.items())
def test_what_the_paper_sets_is_in_the_sentence(path, values):
    sentences = [field.description for place, field, _ in _fields() if place == path]
    assert sentences
    together = " ".join(sentences)
    for value in values:
        assert re.search(rf"(?<![\d.]){re.escape(value)}(?![\d])", together)
    assert re.search(r"paper|released|text|Fig\.|epsilon", together)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"updat": {}}, "unknown configuration key 'updat': did you mean 'update'?"),
        (
            {"update": {"learning_rat": 1e-3}},
            "unknown configuration key 'update.learning_rat': did you mean 'update.learning_rate'?",
        ),
        (
            {"loss": {"method": "kl_cov", "penalty_frac": 0.1}},
            "'loss.penalty_frac': did you mean 'loss.penalty_fraction'?",
        ),
        ({"loss": {"method": "klcov"}}, "unknown loss.method 'klcov': did you mean 'kl_cov'?"),
        (
            {"loss": {"method": "clip_cov", "clip_fraction": 2}},
            "loss.clip_fraction = 2: a share is a fraction between 0 and 1; "
            "for 2 percent write 0.02",
        ),
        ({"rollout": {"responses": 1}}, "rollout.responses = 1: a group of 1 has no spread"),
        ({"problems": {"train_size": 0}}, "problems.train_size = 0: the training set is empty"),
        (
            {"loss": {"method": "kl_cov"}, "update": {"updates_per_rollout": 1}},
            "update.updates_per_rollout = 1: KL-Cov's penalty has gradient 0",
        ),
        ({"model": {"heads": 3}}, "heads must divide hidden_size"),
        ({"update": {"learning_rate": -1}}, "update.learning_rate = -1: input should be greater"),
        ({"seed": "one"}, "seed = one: input should be a valid integer"),
        ({"rollout": {"top_p": 0.9}}, "rollout.top_p = 0.9: training needs the distribution"),
        (
            {"rollout": {"old_logp": "sampler"}, "sampler": {"kind": "vllm"}},
            'rollout.old_logp = "sampler": only sampler.kind = "torch"',
        ),
        (
            {"rollout": {"old_logp": "sampler"}, "engine": {"dtype": "bfloat16"}},
            'rollout.old_logp = "sampler": with engine.dtype = "bfloat16"',
        ),
        (
            {
                "rollout": {"old_logp": "sampler"},
                "loss": {"method": "ppo_clip", "importance_cap": 2},
            },
            "loss.importance_cap = 2: corrects for the gap",
        ),
        ({"rollout": {"top_k": 5}}, "'rollout.top_k': did you mean 'rollout.top_p'?"),
        (
            {"update": {"updates_per_rollout": 128}},
            "update.updates_per_rollout = 128: the 64 prompts of a rollout cannot be dealt evenly "
            "to as many updates; give 64",
        ),
        (
            {"rollout": {"prompts": 12}, "update": {"updates_per_rollout": 5}},
            "update.updates_per_rollout = 5: the 12 prompts of a rollout cannot be dealt evenly "
            "to as many updates; give 4",
        ),
        (
            {"update": {"micro_batch_tokens": 39}},
            "update.micro_batch_tokens = 39: smaller than the longest sequence; give at least 40",
        ),
        (
            {**MATHS, "update": {"micro_batch_tokens": 1000}},
            "update.micro_batch_tokens = 1000: smaller than the longest sequence; give at least "
            "2088",
        ),
        (
            {**MATHS, "rollout": {"max_new_tokens": 4000}},
            "rollout.max_new_tokens = 4000: with prompts of up to 2048 tokens it exceeds the "
            "model's 4096 positions; give at most 2048",
        ),
        (
            {"rollout": {"max_new_tokens": 200}},
            "rollout.max_new_tokens = 200: it exceeds the model's 128 positions",
        ),
        (
            {"loss": {"method": "clip_cov", "cov_low": 5.0}},
            "loss.cov_low = 5: the band up to loss.cov_high = 5 is empty",
        ),
        (
            {"loss": {"method": "ppo_clip", "normaliser_tokens": 10}},
            "loss.normaliser_tokens = 10: loss.aggregation = token_mean does not use it",
        ),
        (
            {**MATHS, "validation": {"temperature": 0.6}},
            "validation.temperature = 0.6: benchmarks are measured by their own protocol",
        ),
        (
            {"sampler": {"kind": "vllm", "tensor_parallel": 2}},
            "sampler.tensor_parallel = 2: an engine is shared by that many training processes",
        ),
        ({"sampler": {"kind": "vlm"}}, "unknown sampler.kind 'vlm': did you mean 'vllm'?"),
        (
            {"lemma1_every": 4, "engine": {"kind": "deepspeed"}},
            "lemma1_every = 4: keeps the logits of all tokens",
        ),
        (
            {"engine": {"offload_optimizer": True}},
            'engine.offload_optimizer = true: give kind = "deepspeed"',
        ),
        (
            {"problems": {"training_set": "gsm8k"}},
            "problems.training_set = gsm8k: a toy model knows its own world alone",
        ),
        (
            {**MATHS, "problems": {"training_set": ["gsm8k", "dapo"]}},
            "unknown training set 'dapo': did you mean 'dapo_math'?",
        ),
        (
            {**MATHS, "problems": {"training_set": ["gsm8k", "gsm8k"]}},
            "problems.training_set = ['gsm8k', 'gsm8k']: give one or more names, each once",
        ),
        (
            {**MATHS, "problems": {"training_set": []}},
            "problems.training_set = []: give one or more names, each once",
        ),
        (
            {**MATHS, "problems": {"training_set": "gsm8k", "validation": ["math50"]}},
            "unknown validation 'math50': did you mean 'math500'?",
        ),
    ],
)
def test_faults_are_one_line(table, message):
    with pytest.raises(UserError) as caught:
        make_config(table)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_run_id_is_what_the_results_depend_on():
    one = run_id(make_config({}))
    assert one == run_id(make_config({"steps": 999, "checkpoint": {"every": 5}}))
    assert one != run_id(make_config({"seed": 2}))
    assert one != run_id(make_config({"loss": {"method": "ppo_clip", "clip_high": 0.28}}))


def test_a_setting_that_came_later_leaves_the_names_of_older_runs_alone():
    assert run_id(make_config({})) == "c31ad915b331f57b"
    clip_cov = {"method": "clip_cov", "reference_kl": 0.1}
    assert run_id(make_config({"loss": clip_cov})) == "5efb448b710d0a4a"
    clamped = run_id(make_config({"loss": {**clip_cov, "log_ratio_clamp": 20}}))
    assert clamped != "5efb448b710d0a4a"
    eager = make_config({"sampler": {"kind": "torch", "cuda_graph": False}})
    assert run_id(eager) != "c31ad915b331f57b"


def test_training_sets_are_one_name_or_a_list():
    one = make_config({**MATHS})
    assert one.problems.training_sets == ("gsm8k",)
    assert one.model_dump(mode="json")["problems"]["training_set"] == "gsm8k"
    several = make_config({**MATHS, "problems": {"training_set": ["gsm8k", "dapo_math"]}})
    assert several.problems.training_sets == ("gsm8k", "dapo_math")
    assert make_config(several.model_dump(mode="json")) == several
    assert run_id(one) != run_id(several)


def test_base_model_is_shared_by_seeds_and_methods():
    one = base_model_id(make_config({}))
    assert one == base_model_id(make_config({"seed": 5, "loss": {"method": "kl_cov"}}))
    assert one != base_model_id(make_config({"base": {"seed": 1}}))
    assert one != base_model_id(make_config({"model": {"layers": 3}}))


def test_files_extend_each_other_and_set_overrides(tmp_path):
    (tmp_path / "base.toml").write_text(
        '[loss]\nmethod = "clip_cov"\ncov_low = 0.5\n[problems.level_shares]\n2 = 1.0\n'
    )
    (tmp_path / "same.toml").write_text('extends = "base.toml"\n[loss]\nclip_fraction = 0.1\n')
    (tmp_path / "other.toml").write_text(
        'extends = "base.toml"\n[loss]\nmethod = "kl_cov"\n[problems.level_shares]\n3 = 1.0\n'
    )
    same = load_config(tmp_path / "same.toml", ["update.learning_rate=1e-2", "seed=7"])
    assert (same.loss.cov_low, same.loss.clip_fraction) == (0.5, 0.1)
    assert (same.update.learning_rate, same.seed) == (1e-2, 7)
    other = load_config(tmp_path / "other.toml", ["loss.covariance_scope=mini_batch"])
    assert (other.loss.method, other.loss.covariance_scope) == ("kl_cov", "mini_batch")
    assert other.problems.level_shares == {3: 1.0}


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        ("steps = ", [], "cannot be read as TOML"),
        ("", ["steps"], "--set = steps: write it as section.key=value"),
        ("seed = 1", ["seed.x=2"], "seed is a value, not a section"),
        ('extends = "c.toml"', [], "extend each other in a circle"),
        ('extends = "none.toml"', [], "no such file"),
        ("extends = 3", [], "extends = 3: give the path of one TOML file"),
        ("extends = []", [], r"extends = \[\]: give the path of one TOML file"),
        ('extends = ""', [], "extends = '': give the path of one TOML file"),
        ("", ["a..b=1"], "--set = a..b=1: write it as section.key=value"),
        ("", ["seed=1\nsteps=2"], "give text of one line"),
        ("[loss]\nreference_kl = true\nmethod = 'ppo_clip'", [], "loss.reference_kl = true"),
    ],
)
def test_unreadable_files_are_one_line(tmp_path, text, overrides, message):
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(UserError, match=message):
        load_config(tmp_path / "c.toml", overrides)


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path):
    (tmp_path / "c.toml").write_bytes(b"\xef\xbb\xbfseed = 3\n")
    assert load_config(tmp_path / "c.toml").seed == 3
    (tmp_path / "d.toml").write_text("seed = 3\n", encoding="utf-16")
    with pytest.raises(UserError, match="cannot be read as TOML"):
        load_config(tmp_path / "d.toml")
