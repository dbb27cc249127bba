"""Configurations: one clear line for each fault, and a hash of what matters."""

import pytest

from entropy_mech.errors import UserError
from entropy_mech.train.config_io import base_model_id, load_config, make_config, run_id


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
    ],
)
def test_unreadable_files_are_one_line(tmp_path, text, overrides, message):
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(UserError, match=message):
        load_config(tmp_path / "c.toml", overrides)
