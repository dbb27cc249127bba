"""A run that starts from an earlier run's policy, changed at once."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from entropy_mech.config.files import load_config, run_id
from entropy_mech.errors import UserError
from entropy_mech.runs.launch import training_jobs
from entropy_mech.train.loop import train
from entropy_mech.train.pretrain import base_model, changed_policy
from tests.conftest import TINY, tiny

EARLIER = TINY | {"steps": 2}


def _after(earlier=EARLIER, **start):
    return tiny(steps=2, start={"run": earlier, **start})


@pytest.fixture
def earlier(store):
    return train(tiny(steps=2), store)


def _weights(run):
    return AutoModelForCausalLM.from_pretrained(run.newest_model()).state_dict()


def test_temperature_divides_the_logits_and_nothing_else(store, earlier):
    model, _ = changed_policy(_after(temperature=2.5), store.root)
    before = AutoModelForCausalLM.from_pretrained(earlier.newest_model())
    tokens = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        torch.testing.assert_close(model(tokens).logits * 2.5, before(tokens).logits)


def test_a_mixture_lies_on_the_line_between_the_policy_and_its_base_model(store, earlier):
    model, _ = changed_policy(_after(base_share=0.25), store.root)
    policy, base = _weights(earlier), base_model(store.root, earlier.config)[0].state_dict()
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(weight, 0.75 * policy[name] + 0.25 * base[name])
    assert any(not torch.equal(policy[name], base[name]) for name in policy)


def test_training_goes_on_from_the_earlier_policy(store):
    train(tiny(steps=2, seed=5), store)
    config = _after().model_copy(update={"seed": 5})
    first = train(config, store).metrics("entropy_nats", "validation_greedy_accuracy").iloc[0]
    longer = train(tiny(steps=3, seed=5), store).metrics(
        "entropy_nats", "validation_greedy_accuracy"
    )
    # Step 0 draws other responses than step 2 does, from the same weights.
    assert first["validation_greedy_accuracy"] == longer["validation_greedy_accuracy"].iloc[2]
    assert first["entropy_nats"] == pytest.approx(longer["entropy_nats"].iloc[2], rel=0.2)
    assert first["entropy_nats"] != longer["entropy_nats"].iloc[0]
    # The earlier run has gone on since: another one cannot start from where it was.
    with pytest.raises(UserError, match="no policy after its step 2; train it first"):
        changed_policy(config, store.root)


def test_the_earlier_run_has_the_seed_and_another_length_is_another_run():
    config = _after()
    other = config.model_copy(update={"seed": 7})
    assert other.earlier.seed == 7
    assert run_id(other) != run_id(config)
    assert run_id(_after(EARLIER | {"steps": 3})) != run_id(config)
    assert run_id(_after(EARLIER | {"checkpoint": {"every": 1}})) == run_id(config)
    assert run_id(_after(temperature=2.0)) != run_id(config)


def test_jobs_come_in_order_and_each_run_at_its_longest(store, tmp_path):
    chain = tiny(steps=2, start={"run": _after(temperature=2.0).model_dump(mode="json")})
    jobs = training_jobs(
        [tiny(steps=1, seed=9), *[c.model_copy(update={"seed": 9}) for c in (chain, _after())]],
        store,
    )
    place = {job.name: i for i, job in enumerate(jobs)}
    assert len(place) == len(jobs)
    for job in jobs:
        assert all(place[need] < place[job.name] for need in job.needs if need in place)
    first = run_id(tiny(steps=1, seed=9))
    # The run of one step is the beginning of the one of two that others start from.
    assert '"steps":2' in jobs[place[f"run {first}"]].stdin


def test_a_file_names_the_run_by_its_path(tmp_path):
    (tmp_path / "first.toml").write_text("steps = 5\nseed = 3\n[update]\nlearning_rate = 1e-3\n")
    (tmp_path / "then.toml").write_text('extends = "first.toml"\n[start]\nrun = "first.toml"\n')
    config = load_config(tmp_path / "then.toml")
    assert config.earlier == load_config(tmp_path / "first.toml")
    (tmp_path / "first.toml").write_text('[start]\nrun = "then.toml"\n')
    with pytest.raises(UserError, match="in a circle"):
        load_config(tmp_path / "then.toml")


@pytest.mark.parametrize(
    ("start", "words"),
    [
        ({"temperature": 2.0}, "start.run"),
        ({"run": TINY, "temperature": 0}, "start.temperature = 0"),
        ({"run": TINY, "base_share": 1.5}, "start.base_share = 1.5"),
        ({"run": TINY | {"model": {"layers": 2}}}, "a run of the same"),
        ({"run": TINY, "share": 0.5}, "start.share"),
        ({"run": TINY | {"updates": 3}}, "updates"),
    ],
)
def test_what_cannot_be_started_from_is_refused(start, words):
    with pytest.raises(UserError, match=words) as error:
        tiny(start=start)
    assert "\n" not in str(error.value)


def test_scaling_keeps_greedy_answers_and_raises_entropy(store, earlier):
    cold, warm = (train(_after(temperature=t), store) for t in (1.0, 2.0))
    first = [run.metrics().iloc[0] for run in (cold, warm)]
    assert first[0]["validation_greedy_accuracy"] == first[1]["validation_greedy_accuracy"]
    assert np.diff([row["entropy_nats"] for row in first]) > 0
