"""Our side of ``gpu_phases``: the trainer's own parts, one phase after the other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from gpu_meter import Meter, sequence_flops
from gpu_work import SHAPES, SIZES, LastTokenEven, configuration, load_tokenizer, prompt_texts

from entropy_mech.config import ClipCov, KLCov, PPOClip
from entropy_mech.objectives import logprobs_and_entropy, token_advantages
from entropy_mech.train.distributed import join_ranks
from entropy_mech.train.engine import measure
from entropy_mech.train.models import build_engine, load_policy
from entropy_mech.train.rollouts import RolloutBatch, RolloutMaker
from entropy_mech.train.sampler import build_sampler
from entropy_mech.train.tasks import Grader, Prompts, Tasks
from entropy_mech.train.update import update_policy

# Large enough fractions that tokens are touched at the small size too; speed does not see them.
LOSSES = {
    "ppo_clip": PPOClip(),
    "clip_cov": ClipCov(clip_fraction=0.02, cov_low=0.0, cov_high=100.0),
    "kl_cov": KLCov(penalty_fraction=0.02),
}


class _Measured:
    """A sampler whose ``sample`` is a phase, apart from the text and rewards around it."""

    def __init__(self, sampler, meter: Meter):
        self.sampler, self.meter = sampler, meter

    def sample(self, requests, **settings):
        with self.meter.phase("sample") as self.done:
            out = self.sampler.sample(requests, **settings)
            self.done["tokens"] = int(out.response_mask.sum())
        return out


def run_case(case: dict) -> dict:
    """Train for some rounds and return a row a phase.

    A round: sync, sample, then for each loss old log-probabilities and one update of the policy.
    """
    shape, sizes = SHAPES[case["size"]], SIZES[case["size"]]
    config = configuration(case["folder"], sizes, case)
    tokenizer = load_tokenizer(case["folder"])
    loaded = replace(load_policy(config, Path(case["folder"]).parent), tokenizer=tokenizer)
    ranks = join_ranks(timeout_s=600.0)
    engine = build_engine(loaded.model, config.engine, config.update, ranks)
    sampler = build_sampler(config, engine, loaded, None, sizes.longest + 1)
    meter = Meter(engine.device)
    problems = [
        LastTokenEven(text) for text in prompt_texts(4 * sizes.prompts, sizes, shape.vocabulary)
    ]
    watched = _Measured(sampler, meter)
    tasks = Prompts(tokenizer, config).of_tasks(Tasks(problems, ()), ranks)
    rollouts = RolloutMaker(config, tasks, tokenizer, watched, Grader(ranks))
    cursor, version, touched, gaps = 0, 0, {}, []
    for number in range(1 + case["rounds"]):
        with meter.phase("sync"):
            sampler.sync(version)
        rollout = rollouts.make(number, cursor, version)
        assert (rollout.batch.prompt_length == sizes.prompt_tokens).all(), "a word is a token"
        watched.done["flops"] = _flops(shape, rollout.batch)
        sampler.rest()
        for name, loss in LOSSES.items():
            batch = _with_old(engine, rollout.batch, config, meter, shape)
            if len(gaps) == number:  # before the first update the sampler's weights are these
                gaps.append((batch.logp_old - batch.logp_sampler)[batch.response_mask].abs())
            with meter.phase(f"update, {name}") as done:
                metrics, chosen = update_policy(engine, batch, config, number, loss=loss)
            done |= {"tokens": _tokens(batch), "flops": 3 * _flops(shape, batch)}
            touched[name] = int(chosen.sum())
            version += sizes.updates
        cursor = rollout.cursor
    sampler.close()
    last = {"loss": metrics["loss"], "grad_norm": metrics["grad_norm"], "touched": touched}
    last |= {"gap_mean": torch.cat(gaps).mean().item(), "gap_max": torch.cat(gaps).max().item()}
    return {"rows": _rows(meter), "last": last}


def _with_old(engine, batch: RolloutBatch, config, meter: Meter, shape) -> RolloutBatch:
    with meter.phase("measure") as done:
        logp, entropy = measure(engine, batch)
    done |= {"tokens": _tokens(batch), "flops": _flops(shape, batch)}
    rewards = batch.rewards.view(-1, config.rollout.responses)
    advantages = token_advantages(config.algorithm, rewards, batch.response_mask, None)
    return replace(batch, logp_old=logp, entropy=entropy, advantages=advantages)


def _tokens(batch: RolloutBatch) -> int:
    return int(batch.lengths().sum())


def _flops(shape, batch: RolloutBatch) -> float:
    """Operations of one forward pass over all sequences, padding not counted."""
    responses = batch.response_mask.sum(dim=1).tolist()
    pairs = zip(batch.prompt_length.tolist(), responses, strict=True)
    return sum(sequence_flops(shape, prompt, response) for prompt, response in pairs)


def _rows(meter: Meter) -> list[dict]:
    """Return the phases; a sync that has nothing to do is left out."""
    return [row for row in meter.summary() if row["phase"] != "sync" or row["seconds"] > 1e-3]


def run_head(case: dict) -> dict:
    """Measure the head alone: log-probabilities, entropies and gradients of one micro-batch."""
    shape, sizes = SHAPES[case["size"]], SIZES[case["size"]]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype, count = getattr(torch, case["dtype"]), sizes.micro_batch * sizes.response_tokens
    torch.manual_seed(0)
    make = {"device": device, "dtype": dtype}
    hidden = torch.randn(count, shape.hidden, **make).requires_grad_()
    weight = (0.02 * torch.randn(shape.vocabulary, shape.hidden, **make)).requires_grad_()
    tokens = torch.randint(shape.vocabulary, (count,), device=device)
    meter = Meter(device)
    forward = 2.0 * shape.head_parameters * count
    for _ in range(1 + case["rounds"]):
        hidden.grad = weight.grad = None
        with meter.phase("head, forward") as done:
            logp, _ = logprobs_and_entropy(hidden, weight, tokens)
        done |= {"tokens": count, "flops": forward}
        with meter.phase("head, backward") as done:
            logp.mean().backward()
        done |= {"tokens": count, "flops": 2 * forward}
    return {"rows": meter.summary()}
