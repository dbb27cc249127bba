"""Every setting with every kind of wrong value: one clear line, or a value that means something."""

import math
import typing

import pytest

from entropy_mech.config import Section, TrainConfig
from entropy_mech.config.files import make_config, run_id
from entropy_mech.errors import UserError

WRONG = (
    True, False, None, math.nan, math.inf, -math.inf, -1, -0.5, 1.5, 0, 10**30, -(10**30), 2**40,
    1e300, "", " ", "\n", "a\0b", "nonsense", "KL_COV", "Torch", "TOKEN_MEAN", b"x", 3 + 0j,
    object(), [], {}, [[]], [True], [None], ["a", "a"], [-1], {"a": True}, {"": 1}, {"x": -1},
    {2: -1}, {2: 0}, {2: 0.0}, {2: math.nan}, {2: True}, {1: 1}, {10**9: 1},
    {"one": -1}, {1: "x"},
)  # fmt: skip
TAGS = {"loss": "method", "algorithm": "name", "sampler": "kind"}
NEEDED = {
    "PretrainedModelConfig": {"model": {"path": "a/b"}, "problems": {"training_set": "gsm8k"}},
    "TrainingSetConfig": {"model": {"path": "a/b"}, "problems": {"training_set": "gsm8k"}},
    "StartConfig": {"start": {"run": {}}},
    "EntropyTargetConfig": {"loss": {"method": "kl_cov", "entropy_target": {"target_nats": 0.5}}},
}


def sections(annotation):
    if annotation is TrainConfig:  # the run that another starts from: the same settings again
        return []
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [s for part in typing.get_args(annotation) for s in sections(part)]


def settings(section=TrainConfig, path=(), around=None):
    """Yield the path of every setting of every arm, its field, and tables in which it is read."""
    for name, field in section.model_fields.items():
        yield (*path, name), field, around or {}
        for inner in sections(field.annotation):
            place = (*path, name)
            tables = NEEDED.get(inner.__name__, around or {})
            if len(place) == 1 and name in TAGS:
                tables = {name: {TAGS[name]: inner.model_fields[TAGS[name]].default}}
            yield from settings(inner, place, tables)


def table_with(path, value, around):
    table = {name: dict(inner) for name, inner in around.items()}
    inner = table
    for name in path[:-1]:
        inner[name] = dict(inner.get(name, {}))
        inner = inner[name]
    inner[path[-1]] = value
    return table


SETTINGS = {f"{i} {'.'.join(path)}": (path, *more) for i, (path, *more) in enumerate(settings())}


def kinds(annotation):
    parts = typing.get_args(annotation)
    if not parts:
        return {annotation if isinstance(annotation, type) else type(annotation)}
    return set().union(*map(kinds, parts))


def leaves(value):
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list | tuple):
        return [leaf for one in value for leaf in leaves(one)]
    return [value]


def test_there_are_settings_of_every_arm():
    assert len(SETTINGS) > 130
    assert {path[0] for path, *_ in SETTINGS.values()} == set(TrainConfig.model_fields)


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_wrong_value_is_one_line_or_means_something(setting):
    path, field, around = SETTINGS[setting]
    allowed = kinds(field.annotation)
    for value in WRONG:
        try:
            config = make_config(table_with(path, value, around))
        except UserError as error:
            line = str(error)
            assert line.isprintable(), line
            assert len(line) < 500
            assert path[0] in line or "configuration key" in line or "unknown" in line, line
            assert "'" not in line or line.count("Error") == 0
            continue
        assert run_id(config)
        for leaf in leaves(value):
            assert not isinstance(leaf, bool) or bool in allowed, (path, value)
            assert leaf is None or isinstance(leaf, bool | int | float | str), (path, value)
            assert not isinstance(leaf, float) or math.isfinite(leaf)
            assert not isinstance(leaf, int | float) or abs(leaf) <= 1e300
            assert not isinstance(leaf, int) or abs(leaf) < 2**53
        run = field.annotation is TrainConfig
        assert value != {} or run or sections(field.annotation), "an empty table of shares"


@pytest.mark.parametrize("setting", [s for s in SETTINGS if s.split(".")[-1].endswith("rate")])
def test_a_learning_rate_is_a_rate(setting):
    path, _, around = SETTINGS[setting]
    for value in (0, -1e-3, 1e6, math.nan, math.inf, True, "fast", None):
        with pytest.raises(UserError, match=r"learning_rate|unknown"):
            make_config(table_with(path, value, around))


def test_building_a_configuration_itself_is_one_line_too():
    for table in ({"seed": True}, {"sed": 1}, {"loss": {"method": "kl_cov", "reference_kl": True}}):
        with pytest.raises(UserError) as caught:
            TrainConfig(**table)
        assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"seed": True}, "seed = true: true and false have no meaning here"),
        (
            {"loss": {"method": "ppo_clip", "reference_kl": True}},
            "loss.reference_kl = true: true and false have no meaning here",
        ),
        ({"rollout": {"group_filter": "yes"}}, "rollout.group_filter = yes: give true or false"),
        ({"problems": {"level_shares": {}}}, "problems.level_shares = {}: give 0 or more"),
        ({"problems": {"level_shares": {2: 1, 3: -1}}}, "give 0 or more for each"),
        ({"problems": {"validation_counts": {4: 0}}}, "and more than 0 for one"),
        ({"base": {"level_shares": {21: 1.0}}}, "a level is a number of steps: give 1 to 20"),
        (
            {"loss": {"method": "ppo_clip", "aggregation": "Token-Mean"}},
            "unknown loss.aggregation 'Token-Mean': did you mean 'token_mean'?",
        ),
        ({"loss": {"reference_kl": 0.1}}, "loss.method is missing beside the others: give one of"),
        ({"loss": 3}, "loss = 3: give a table of settings"),
        ({"problems": {"domain": "Code"}}, "problems.domain 'Code': did you mean 'code'?"),
        ({"update": {"learning_rate": 1e9}}, "update.learning_rate = 1000000000.0: input should"),
        ({"seed": 10**30}, "give at most 9007199254740992"),
    ],
)
def test_kinds_of_wrong_values(table, message):
    with pytest.raises(UserError) as caught:
        make_config(table)
    assert message in str(caught.value)
