"""The entropy doctor names the planted cause, and is silent where nothing is wrong."""

import json

import numpy as np
import pandas as pd
import pytest

from entropy_mech.cli import main
from entropy_mech.config import ClipCov, KLCov, TrainConfig
from entropy_mech.config.files import make_config
from entropy_mech.grading import Verdict
from entropy_mech.integrations.diagnose import diagnose
from entropy_mech.integrations.trainer_settings import TRAINERS, read_settings
from entropy_mech.paper.law_in_the_wild import kept_runs
from entropy_mech.problems.toy import ToyProblem
from entropy_mech.runs.store import RunStore
from entropy_mech.train.loop import train
from tests.grading.real_rows import DATA
from tests.integrations.diagnose_world import (
    ACTOR,
    NAMES,
    POLICY_LOSS,
    SETTINGS,
    curves,
    write_log,
    write_settings,
)

LOGS = DATA.parent / "logs"


def causes(folder, trainer, values, keys, form=""):
    log = write_log(folder, trainer, values)
    settings = write_settings(folder, trainer, keys, form) if keys else ""
    return [cause.name for cause in diagnose(log, settings).causes]


# -- Silence -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("trainer", NAMES)
def test_a_healthy_run_has_no_cause(tmp_path, trainer, seed):
    assert causes(tmp_path, trainer, curves(seed), SETTINGS[trainer]) == []
    assert causes(tmp_path, trainer, curves(seed, 25), {}) == []


KL_COV = {POLICY_LOSS + "loss_mode": "kl_cov", POLICY_LOSS + "kl_cov_ratio": 2e-3}
# Settings that look like a fault and are none: trainer, what is changed in settings, in the log.
NEAR = {
    "plain PPO with one update a rollout": (
        "verl", {ACTOR + "ppo_mini_batch_size": 256}, {"clipped": 0.0, "kl": 0.0}),
    "REINFORCE with one update": (
        "ours", {"loss.method": "policy_gradient", "update.updates_per_rollout": 1}, {}),
    "clip-higher with eight updates": ("verl", {ACTOR + "clip_ratio_high": 0.28}, {}),
    "clip-higher with one update a rollout, which clips": (
        "TRL", {"epsilon_high": 0.28, "steps_per_generation": 8}, {}),
    "KL-Cov has no PPO clip": (
        "ours", {"loss.method": "kl_cov", "loss.penalty_fraction": 2e-3}, {"clipped": None}),
    "KL-Cov in micro-batches of 32": ("verl", KL_COV, {}),
    "KL-Cov over the rollout, one response a micro-batch": (
        "verl", {**KL_COV, POLICY_LOSS + "loss_mode": "kl_cov_rollout_batch",
                 ACTOR + "ppo_micro_batch_size_per_gpu": 1}, {}),
    "one response a micro-batch without a covariance": (
        "verl", {ACTOR + "ppo_micro_batch_size_per_gpu": 1}, {}),
    "a token budget that holds many responses": (
        "verl", {**KL_COV, ACTOR + "use_dynamic_bsz": True, "data.max_prompt_length": 200,
                 ACTOR + "ppo_max_token_len_per_gpu": 32768, ACTOR + "clip_ratio_high": 0.2}, {}),
    "a tenth of a small batch": (
        "ours", {"loss.method": "kl_cov", "loss.penalty_fraction": 0.1, "rollout.prompts": 32},
        {"length": 20.0, "clipped": None}),
    "a small bonus": ("TRL", {"entropy_coef": 0.001}, {}),
    "a bonus that is off": ("verl", {ACTOR + "entropy_coeff": 0}, {}),
    "a spent entropy that is raised": (
        "verl", {}, {"entropy": np.r_[np.full(9, 0.01), np.full(71, 0.2)]}),
    "two entropies that agree": (
        "verl", {}, {"actor/entropy_raw": lambda v: 1.01 * v["entropy"]}),
    "a hundredth": (
        "ours", {"loss.method": "kl_cov", "loss.penalty_fraction": 0.02, "rollout.prompts": 64},
        {"length": 38.0}),
    "our entropy is at temperature 1 whatever the sampler's": (
        "ours", {"rollout.temperature": 0.7}, {}),
    "masks that are on": ("verl", {"algorithm.state_masking": True, "data.mask_tool_output": True},
                          {}),
    "four epochs": ("OpenRLHF", {"max_epochs": 4}, {}),
    "no reward at times": ("TRL", {}, {"reward": np.tile([0.0, 0.4, 0.5, 0.9], 20)}),
    "a reward that ends at its best": ("verl", {}, {"reward": np.linspace(0.5, 1.0, 80)}),
    "a reward of some other scale": ("TRL", {}, {"reward": np.linspace(1.9, 2.0, 80)}),
    "responses cut off at times": ("TRL", {}, {"completions/clipped_ratio": 0.4}),
}  # fmt: skip


def changed(trainer, keys, columns, seed=0):
    values = curves(seed)
    for name, value in columns.items():
        if value is None:
            del values[name]
        elif callable(value):
            values[name] = value(values)
        else:
            values[name] = np.broadcast_to(np.asarray(value, float), values["entropy"].shape)
    return values, SETTINGS[trainer] | keys


@pytest.mark.parametrize("case", NEAR)
def test_what_is_near_a_fault_is_none(tmp_path, case):
    trainer, keys, columns = NEAR[case]
    assert causes(tmp_path, trainer, *changed(trainer, keys, columns)) == []


@pytest.mark.parametrize("run", kept_runs()["run"])
def test_public_runs(run):
    """Named where the run's class says that it went wrong, and silent everywhere else."""
    path = LOGS / f"{run}.csv"
    if not path.is_file():
        pytest.skip("no public series beside the project")
    kind = kept_runs().set_index("run").loc[run, "class"]
    expected = {"exploding": ["entropy_explosion"], "collapsing": ["performance_collapse"]}
    assert [cause.name for cause in diagnose(path).causes] == expected.get(kind, [])


# -- One fault at a time -------------------------------------------------------------------------


def padded(values):
    """An entropy averaged over all columns of the batch, padding as 0."""
    return values["entropy"] * values["length"] / values["longest"]


def with_tools(values):
    """An entropy in which the words of tools count, which are none of the policy's choice."""
    share = values["tools/call_frequency"]
    return (1 - share) * values["entropy"].mean() + share * 2.5


TOOLS = np.random.default_rng(1).uniform(0.05, 0.6, 80)
GROWING = np.linspace(0.01, 0.4, 80)
FAULTS = {
    "inert_kl_cov": [
        ("verl", {**KL_COV, ACTOR + "ppo_mini_batch_size": 256}, {"clipped": None, "kl": 0.0}),
        ("verl", {**KL_COV, POLICY_LOSS + "loss_mode": "kl-cov", ACTOR + "ppo_mini_batch_size":
                  512}, {}),
        ("verl", {**KL_COV, POLICY_LOSS + "ppo_kl_coef": 0.0}, {}),
        ("ours", {"loss.method": "kl_cov", "update.updates_per_rollout": 1}, {}),
        ("TRL", {"loss_type": "kl_cov", "steps_per_generation": 8}, {}),
        ("TRL", {"loss_type": "kl_cov", "steps_per_generation": None}, {}),
    ],
    "inert_clip_higher": [
        ("verl", {ACTOR + "clip_ratio_high": 0.28, ACTOR + "ppo_mini_batch_size": 256},
         {"clipped": 0.0}),
        ("verl", {ACTOR + "clip_ratio_high": 0.28}, {"clipped": 0.0}),
        ("TRL", {"epsilon_high": 0.28, "steps_per_generation": 8}, {"clipped": 0.0}),
        ("TRL", {"epsilon_high": 0.28, "steps_per_generation": 8}, {"clipped": None}),
        ("OpenRLHF", {"eps_clip_low_high": "0.2 0.28", "train_batch_size": 2048},
         {"clipped": 0.0}),
        ("ours", {"loss.clip_high": 0.28, "update.updates_per_rollout": 1}, {"clipped": 0.0}),
    ],
    "micro_batch_scope": [
        ("verl", {**KL_COV, ACTOR + "ppo_micro_batch_size_per_gpu": 1}, {}),
        ("verl", {POLICY_LOSS + "loss_mode": "clip_cov", ACTOR + "ppo_micro_batch_size_per_gpu": 8},
         {}),
        ("verl", {**KL_COV, ACTOR + "use_dynamic_bsz": True, ACTOR + "ppo_max_token_len_per_gpu":
                  4096}, {}),
        ("ours", {"loss.method": "clip_cov", "loss.clip_low": 1, "loss.clip_high": 1,
                  "loss.covariance_scope": "micro_batch", "update.micro_batch_size": 4}, {}),
        ("TRL", {"loss_type": "kl_cov", "covariance_scope": "micro_batch",
                 "per_device_train_batch_size": 2, "gradient_accumulation_steps": 128,
                 "steps_per_generation": 1024}, {}),
    ],
    "fraction_in_percent": [
        ("verl", {**KL_COV, POLICY_LOSS + "kl_cov_ratio": 0.2}, {}),
        ("verl", {**KL_COV, POLICY_LOSS + "kl_cov_ratio": 0.02}, {"length": None}),
        ("verl", {POLICY_LOSS + "loss_mode": "clip_cov", POLICY_LOSS + "clip_cov_ratio": 0.02}, {}),
        ("ours", {"loss.method": "kl_cov", "loss.penalty_fraction": 2}, {}),
        ("ours", {"loss.method": "clip_cov", "loss.clip_fraction": 0.02, "loss.clip_low": 1,
                  "loss.clip_high": 1}, {}),
        ("TRL", {"loss_type": "kl_cov", "penalty_fraction": 0.2}, {}),
        ("ours", {"loss.method": "kl_cov", "loss.penalty_fraction": 0.2, "rollout.prompts": 64},
         {"length": 38.0}),
        ("TRL", {"epsilon": 20}, {}),
        ("OpenRLHF", {"eps_clip": 20}, {}),
    ],
    "temperature_scaled_entropy": [
        ("verl", {"actor_rollout_ref.rollout.temperature": 0.6}, {}),
        ("TRL", {"temperature": 0.9}, {}),
        ("OpenRLHF", {"temperature": 1.2}, {}),
        ("ours", {}, {"entropy_scaled": lambda v: 0.6 * v["entropy"]}),
        ("verl", {}, {"actor/entropy_raw": lambda v: 1.4 * v["entropy"]}),
    ],
    "other_tokens_counted": [
        ("verl", {}, {"entropy": padded}),
        ("TRL", {}, {"entropy": padded}),
        ("TRL", {}, {"tools/call_frequency": TOOLS, "entropy": with_tools}),
        ("verl", {ACTOR + "state_masking": False}, {}),
        ("verl", {"data.mask_tool_output": False}, {}),
        ("TRL", {"train_on_tool_outputs": True}, {}),
    ],
    "entropy_bonus_without_gradient": [
        ("verl", {ACTOR + "entropy_coeff": 0.01},
         {"entropy": lambda v: 0.5 * np.exp(-np.arange(80) / 20)}),
        ("TRL", {"entropy_coef": 0.005}, {"entropy": lambda v: 0.5 * np.exp(-np.arange(80) / 20)}),
        ("TRL", {"entropy_coef": 0.001},
         {"frac_reward_zero_std": np.tile([0.5, 1.0, 0.3, 0.9], 20),
          "norm": np.tile([0.3, 0.0, 0.3, 0.2], 20)}),
        ("OpenRLHF", {"entropy_loss_coef": -0.01}, {}),
        ("ours", {"loss.entropy_bonus": 0.05},
         {"entropy": lambda v: 0.5 * np.exp(-np.arange(80) / 20)}),
    ],
    "stale_rollouts": [
        ("ours", {}, {"gap": GROWING}),
        ("ours", {}, {"gap": np.r_[1e-6, 1e-6, np.full(78, 2e-3)]}),
        ("verl", {}, {"gap": GROWING / 3}),
        ("TRL", {}, {"gap": 0.3}),
        ("OpenRLHF", {}, {"train/staleness": 20.0}),
        ("verl", {ACTOR + "ppo_epochs": 8}, {}),
        ("ours", {"update.updates_per_rollout": 64}, {}),
        ("verl", {}, {"kl": 0.3}),
        ("verl", {"async_training.max_staleness": 32}, {}),
    ],
    "entropy_explosion": [
        ("verl", {}, {"entropy": lambda v: 0.4 * np.exp(np.arange(80) / 25)}),
        ("TRL", {}, {"entropy": lambda v: np.r_[v["entropy"][:60], np.full(20, 6.0)]}),
        ("ours", {"loss.entropy_bonus": 0.01}, {"entropy": np.linspace(0.4, 1.5, 80)}),
    ],
    "early_collapse": [
        ("verl", {}, {"entropy": lambda v: 0.02 + 0.5 * np.exp(-np.arange(80) / 3),
                      "validation": np.linspace(0.2, 0.6, 80)}),
        ("TRL", {}, {"entropy": lambda v: 0.01 + 0.5 * np.exp(-np.arange(80) / 4),
                     "validation": np.random.default_rng(0).normal(0.2, 0.01, 80)}),
        ("ours", {}, {"entropy": lambda v: 0.02 + 0.5 * np.exp(-np.arange(80) / 5),
                      "validation": 0.2 + 0.4 / (1 + np.exp(-(np.arange(80) - 40) / 6))}),
    ],
    "unmissable_reward": [
        ("verl", {}, {"reward": 1.0}),
        ("TRL", {}, {"reward": 2.0, "frac_reward_zero_std": 1.0}),
        ("OpenRLHF", {}, {"reward": lambda v: 1 - 0.02 * np.random.default_rng(2).random(80)}),
    ],
    "unreachable_reward": [("verl", {}, {"reward": 0.0}), ("TRL", {}, {"reward": -1.0})],
    "performance_collapse": [
        ("verl", {}, {"validation": np.r_[np.linspace(0.2, 0.6, 40), np.full(40, 0.02)]}),
    ],
    "entropy_is_no_token_mean": [
        ("verl", {}, {"entropy": lambda v: 400 * v["entropy"]}),
        ("TRL", {}, {"entropy": lambda v: -v["entropy"]}),
    ],
    "no_token_chosen": [
        ("TRL", {"loss_type": "clip_cov"}, {"cov/selected_fraction": 0.0}),
        ("ours", {"loss.method": "kl_cov"}, {"selected_fraction": 0.0}),
    ],
}  # fmt: skip
CASES = [(name, n) for name, cases in FAULTS.items() for n in range(len(cases))]


@pytest.mark.parametrize(("name", "number"), CASES)
def test_the_planted_cause_is_named_and_no_other(tmp_path, name, number):
    trainer, keys, columns = FAULTS[name][number]
    for seed in range(3):
        values, settings = changed(trainer, keys, columns, seed)
        assert causes(tmp_path, trainer, values, settings) == [name]


@pytest.mark.parametrize(
    ("trainer", "form"),
    [("verl", "yaml"), ("verl", "overrides"), ("verl", "sh"), ("verl", "json"), ("TRL", "yaml"),
     ("TRL", "json"), ("ours", "json"), ("ours", "toml"), ("OpenRLHF", "yaml"), ("OpenRLHF", "sh")],
)  # fmt: skip
def test_every_form_of_settings_says_the_same(tmp_path, trainer, form):
    path = write_settings(tmp_path, trainer, SETTINGS[trainer], form)
    settings = read_settings(path)
    assert settings.trainer == trainer.replace("ours", "this package")
    assert (settings.updates, settings.responses) == (8, 2048)
    assert settings.clip_range == (0.2, 0.2)


def test_defaults_are_this_packages_own():
    """A TOML file says little; the rest is what the configuration fills in."""
    config, ours = TrainConfig(), TRAINERS["this package"]
    given = {ours["keys"][name]: value for name, value in ours["defaults"].items()}
    for key, value in given.items():
        section, _, name = key.partition(".")
        if section != "loss":
            assert value == getattr(getattr(config, section), name), key
    for method, keys in (
        (KLCov(), ["penalty_fraction", "penalty_coefficient", "covariance_scope"]),
        (ClipCov(), ["clip_fraction", "cov_low", "cov_high", "minimum_tokens"]),
    ):
        assert all(getattr(method, key) == given[f"loss.{key}"] for key in keys)


# -- References between settings, and what is on a line ------------------------------------------

SCRIPT = """
set -x
bsz=256   # prompts
mini=$bsz
# actor_rollout_ref.actor.ppo_epochs=16
python3 -m verl.trainer.main_ppo --config-name ppo \\
    data.train_batch_size=${bsz} \\
    actor_rollout_ref.actor.ppo_mini_batch_size=$mini \\
    +actor_rollout_ref.actor.policy_loss.loss_mode="kl_cov" \\
    actor_rollout_ref.rollout.n=8 $@ 2>&1 | tee log
"""


def test_a_script_is_read_with_its_variables(tmp_path):
    path = tmp_path / "train.sh"
    path.write_text(SCRIPT)
    settings = read_settings(path)
    assert (settings.method, settings.updates, settings.scope) == ("kl_cov", 1, "micro_batch")


def test_hydras_references_are_followed(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(
        "data: {train_batch_size: 64}\n"
        "actor_rollout_ref:\n"
        "  rollout: {n: 4, temperature: 1e-0}\n"
        "  actor: {ppo_mini_batch_size: '${data.train_batch_size}',\n"
        "          ppo_epochs: '${oc.select:data.epochs,2}'}\n"
    )
    assert read_settings(path).updates == 2


def test_wandbs_form_of_a_configuration_is_read(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("temperature: {desc: null, value: 0.7}\nnum_generations: {value: 8}\n")
    settings = read_settings(path)
    assert (settings.trainer, settings.get("temperature")) == ("TRL", 0.7)


# -- The command ---------------------------------------------------------------------------------


def run(capsys, *words):
    code = main(["diagnose", *map(str, words)])
    said = capsys.readouterr()
    return code, said.out, said.err.strip()


@pytest.fixture
def log(tmp_path):
    return write_log(tmp_path, "verl", curves(0))


def test_the_command_says_what_was_seen_where_it_stands_and_what_to_do(capsys, log, tmp_path):
    keys = SETTINGS["verl"] | KL_COV | {ACTOR + "ppo_mini_batch_size": 256}
    code, out, _ = run(capsys, log, "--config", write_settings(tmp_path, "verl", keys))
    assert code == 0
    assert "inert_kl_cov: KL-Cov does nothing" in out
    assert "data.train_batch_size = 256" in out
    assert "ppo_epochs = 1 (default)" in out
    assert [line.split(":")[0].strip() for line in out.splitlines()[-3:-1]] == ["seen", "source"]


def test_the_command_says_that_it_found_nothing(capsys, log):
    code, out, _ = run(capsys, log)
    assert code == 0
    assert out.splitlines()[-1].startswith("no cause found")


BAD = {
    "no log": (None, None, "no such file"),
    "no configuration": ("", None, "--config = "),
    "no setting in it": ("a: 1\n", "yaml", "no setting of a known trainer"),
    "YAML that is none": ("a: [1,\n", "yaml", "cannot be read"),
    "JSON that is none": ("{", "json", "cannot be read"),
    "TOML that is none": ("[loss\n", "toml", "cannot be read as TOML"),
    "an empty file": ("", "yaml", "no setting of a known trainer"),
    "a word for a number": ("[update]\nupdates_per_rollout = 'two'\n", "toml", "give a number"),
    "a truth for a number": ("temperature: true\nnum_generations: 8\n", "yaml", "give a number"),
    "a list for a number": ('{"num_generations": [8]}', "json", "give a number"),
    "a batch of none": ("data: {train_batch_size: 8}\nactor_rollout_ref: {actor: "
                        "{ppo_mini_batch_size: 0}}\n", "yaml", "above 0"),
    "one number for two": ("train --rollout_batch_size 8 --eps_clip_low_high 0.2\n", "sh",
                           "give two numbers"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_exit_code_2(capsys, log, tmp_path, case):
    text, form, said = BAD[case]
    path = tmp_path / f"settings.{form}"
    if text is not None and form:
        path.write_text(text)
    code, out, error = run(capsys, log if text is not None else tmp_path / "none", "--config", path)
    assert (code, out) == (2, "")
    assert said in error
    assert "\n" not in error


def test_a_log_of_several_runs_asks_which(capsys, tmp_path):
    values = curves(0, 20)
    frame = pd.DataFrame({"step": range(20), "entropy": values["entropy"],
                          "reward": values["reward"]})  # fmt: skip
    both = pd.concat([frame.assign(seed=seed) for seed in (1, 2)])
    both.to_csv(tmp_path / "log.csv", index=False)
    code, _, error = run(capsys, tmp_path / "log.csv")
    assert code == 2
    assert "--run" in error
    assert run(capsys, tmp_path / "log.csv", "--run", "2")[0] == 0


def test_a_log_without_entropy_still_has_its_other_columns(capsys, tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps({"step": n, "reward": 1.0}) + "\n" for n in range(9)))
    code, out, _ = run(capsys, path)
    assert code == 0
    assert "entropy's course is not judged" in out
    assert "unmissable_reward" in out


# -- Runs of this package ------------------------------------------------------------------------


def tiny_run(store, **settings):
    """Train two rollouts of a tiny policy; return its folder."""
    table = {
        "steps": 6,
        "rollout": {"prompts": 4, "responses": 4, "max_new_tokens": 16},
        "update": {"updates_per_rollout": 2, "micro_batch_size": 8},
        "base": {"steps": 1, "noisy_steps": 1},
        "problems": {"train_size": 32, "validation_counts": {1: 8}},
        "validation": {"samples": 1},
    }
    for section, values in settings.items():
        table[section] = {**table.get(section, {}), **values}
    return train(make_config(table), RunStore(store)).path


def test_real_runs_of_this_package(tmp_path, monkeypatch):
    """Tiny ones: healthy, with a scope of one response, with a grader that accepts everything."""
    healthy = tiny_run(tmp_path / "a")
    assert "unmissable_reward" not in [cause.name for cause in diagnose(healthy).causes]
    scope = {"method": "clip_cov", "covariance_scope": "micro_batch"}
    faulty = tiny_run(tmp_path / "b", loss=scope, update={"micro_batch_size": 1})
    assert "micro_batch_scope" in [cause.name for cause in diagnose(faulty).causes]
    monkeypatch.setattr(ToyProblem, "grade", lambda self, text: Verdict("correct", passed=1))
    lenient = tiny_run(tmp_path / "c")
    assert [cause.name for cause in diagnose(lenient).causes] == ["unmissable_reward"]
