"""Validation is one call of the sampler, whose responses are those of a call a benchmark."""

import numpy as np
import pytest
import torch

from entropy_mech.problems.benchmarks import BenchmarkSet, Protocol
from entropy_mech.random_streams import stream_key
from entropy_mech.sampling.sampler import EvalRequest, evaluate, evaluate_together, requests_of
from entropy_mech.sampling.torch_sampler import TorchSampler
from entropy_mech.train.distributed import Ranks
from entropy_mech.train.metrics import Validation
from entropy_mech.train.pretrain import base_model
from entropy_mech.train.sampler import SharedSampler, deal_prompts
from entropy_mech.train.tasks import Grader, Prompts, load_tasks
from tests.conftest import tiny

CONFIG = tiny(rollout={"max_new_tokens": 20})


class Counted:
    """A sampler that keeps the requests of each call."""

    def __init__(self, sampler):
        self.sampler, self.calls = sampler, []

    def sample(self, requests, **settings):
        self.calls.append(list(requests))
        return self.sampler.sample(requests, **settings)


@pytest.fixture
def loaded(store):
    model, tokenizer = base_model(store.root, CONFIG)
    tokens = {"pad_token": tokenizer.pad_token_id, "eos_token": tokenizer.eos_token_id}
    return Counted(TorchSampler(model, **tokens)), tokenizer


def _validation(loaded, sets):
    sampler, tokenizer = loaded
    prompts, grader = Prompts(tokenizer, CONFIG), Grader(Ranks())
    return Validation(CONFIG, sets, prompts, sampler, grader)


def test_benchmarks_of_any_protocol_are_one_call(loaded):
    problems = load_tasks(CONFIG).validation[0].problems
    protocols = {
        "hot": Protocol(0.6, 3, 20),
        "greedy": Protocol(0.0, 1, 20),
        "one": Protocol(1.0, 1, 20),
    }
    sets = [BenchmarkSet(name, problems[:5], how) for name, how in protocols.items()]
    metrics = _validation(loaded, sets).metrics(4)
    (call,) = loaded[0].calls
    assert [request.temperature for request in call] == [0.6] * 15 + [0.0] * 5 + [1.0] * 5
    for name, how in protocols.items():
        alone = evaluate(
            *loaded, problems[:5], temperature=how.temperature, samples=how.samples,
            max_new_tokens=20, stream=(CONFIG.seed, 4),
        )  # fmt: skip
        assert metrics[f"validation_accuracy_{name}"] == alone.accuracy
    assert metrics["validation_accuracy"] == np.mean(
        [metrics[f"validation_accuracy_{name}"] for name in protocols]
    )


def test_a_toy_is_one_call_too_greedy_answers_included(loaded):
    sets = load_tasks(CONFIG).validation
    metrics = _validation(loaded, sets).metrics(0)
    (call,) = loaded[0].calls
    assert len(call) == len(sets[0].problems) * (CONFIG.validation.samples + 1)
    greedy = evaluate(
        *loaded, sets[0].problems, temperature=0.0, samples=1, max_new_tokens=20, stream=(1, 0)
    )
    assert metrics["validation_greedy_accuracy"] == greedy.accuracy


def test_a_temperature_a_request_changes_no_response(loaded):
    """Each response is that of a call at its temperature alone, whatever lies beside it."""
    sampler, tokenizer = loaded
    prompts = Prompts(tokenizer, CONFIG).encode(load_tasks(CONFIG).training[:12])
    keys = stream_key("sampling", 1, 0, np.arange(12), 0)
    temperatures = [(1.0, 0.5, 0.0)[place % 3] for place in range(12)]
    mixed = sampler.sample(
        requests_of(prompts, keys, temperatures), temperature=9.0, max_new_tokens=12
    )
    for place, temperature in enumerate(temperatures):
        alone = sampler.sample(
            requests_of(prompts[place : place + 1], keys[place : place + 1]),
            temperature=temperature,
            max_new_tokens=12,
        )
        row = mixed.tokens[place][mixed.response_mask[place]]
        assert row.tolist() == alone.tokens[0].tolist()
        logp = mixed.logp_sampler[place, : len(row)]
        torch.testing.assert_close(logp, alone.logp_sampler[0], rtol=0, atol=1e-5)
        assert mixed.finished[place] == alone.finished[0]


class TwoRanks:
    """Two ranks in one process: the other one's share is sampled when it is gathered."""

    size = 2

    def __init__(self, rank, sampler):
        self.rank, self.sampler, self.first = rank, sampler, rank == 0

    def gather(self, mine):
        other = self.sampler.sample(self.asked[1 - self.rank], temperature=1.0, max_new_tokens=12)
        theirs = {k: v for k, v in vars(other).items() if isinstance(v, torch.Tensor)}
        return [mine, theirs] if self.first else [theirs, mine]


@pytest.mark.parametrize("rank", [0, 1])
def test_two_ranks_return_the_responses_in_the_order_asked(loaded, rank):
    sampler, tokenizer = loaded
    prompts = Prompts(tokenizer, CONFIG).encode(load_tasks(CONFIG).training[:5])
    prompts = [prompts[i] for i in (0, 0, 0, 1, 2, 2, 3, 4, 4, 4)]
    requests = requests_of(prompts, stream_key("sampling", 1, 0, np.arange(10), 0))
    whole = sampler.sample(requests, temperature=1.0, max_new_tokens=12)
    ranks = TwoRanks(rank, sampler)
    ranks.asked = [[requests[i] for i in places] for places in deal_prompts(requests, 2)]
    assert [len(part) for part in ranks.asked] == [8, 2]
    shared = SharedSampler(sampler, ranks).sample(requests, temperature=1.0, max_new_tokens=12)
    assert torch.equal(shared.response_mask, whole.response_mask)
    mask = whole.response_mask
    assert torch.equal(shared.tokens[mask], whole.tokens[mask])
    assert torch.equal(shared.finished, whole.finished)


def test_a_rank_that_does_not_grade_is_told_the_verdicts(loaded):
    sampler, tokenizer = loaded
    problems = load_tasks(CONFIG).training[:4]
    asked = [EvalRequest(problems, 1.0, 2)]
    settings = {"max_new_tokens": 12, "stream": (1,)}
    (first,) = evaluate_together(sampler, tokenizer, asked, **settings)
    verdicts = [sample.verdict for sample in first.samples]

    class Second(Ranks):
        """Rank 1, that is told the verdicts."""

        first = False

        def from_first(self, value):
            assert value is None
            return verdicts

    grader = Grader(Second())
    (second,) = evaluate_together(sampler, tokenizer, asked, **settings, grade=grader)
    assert second.accuracy == first.accuracy
