"""Where a rollout's wall time goes on GPUs that are not at hand: a discrete-event model.

    python benchmarks/rollout_model.py [--out FOLDER] [--measured rates.json] [--lengths FILE]

Models the 7B and 32B runs of Figure 11 on 8, 32 and 256 GPUs: engines that decode their share of
the responses, each step as long as its weights and caches take to read (tails and queues come out
of the simulation), rounds of the group filter, validation every fourth rollout, the pass for old
log-probabilities, updates, and the way of the weights to the engines. Then one change at a time is
taken back, which says what it is worth. Nothing here was measured on a GPU: ``Rates`` are
assumptions, each with its reason; ``--measured`` replaces those that a machine has measured, and
``--lengths`` takes response lengths (one a line) in place of the lognormal around Figure 11's mean.
"""

from __future__ import annotations

import argparse
import heapq
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np

from entropy_mech.config.shapes import MODELS, Architecture
from entropy_mech.paper import published
from entropy_mech.problems.benchmarks import protocol

# Problems of the seven benchmarks of Table 2.
PROBLEMS = {
    "aime24": 30, "aime25": 30, "amc": 83, "math500": 500, "omni_math": 4428,
    "olympiadbench": 675, "minerva_math": 272,
}  # fmt: skip
PROMPTS, RESPONSES, LONGEST, PROMPT_TOKENS, VALIDATE_EVERY = 256, 8, 8192, 250, 4


@dataclass(frozen=True)
class Rates:
    """What a GPU does, and what the software costs: an H100 of 80 GB, assumed, not measured."""

    bandwidth: float = 3.35e12  # bytes a second: the data sheet's HBM3
    flops: float = 989e12  # bfloat16, dense: the data sheet's
    decode_bandwidth_share: float = 0.65  # of it reached while decoding: typical of vLLM's reports
    forward_mfu: float = 0.5  # of flops, in a pass without gradients
    update_mfu: float = 0.4  # of flops, in a forward and backward pass at some 16,000 tokens
    step_overhead_s: float = 0.004  # a decode step's scheduling and launches, with CUDA graphs
    cache_bytes: float = 40e9  # for keys and values on a GPU that also trains
    link: float = 50e9  # bytes a second into a GPU over the network, as weights are gathered
    fixed_s: float = 12.0  # sleep, wake, probe and grading's tail, a rollout: guessed
    kept_share: float = 0.6  # of groups that are neither all right nor all wrong
    length_sigma: float = 0.9  # of log lengths: 1 % of responses are then cut off at 8,192


@dataclass(frozen=True)
class Code:
    """How the trainer goes about it; the first value of each is the better one."""

    merged_validation: bool = True  # one sampling call, not one a benchmark
    oversampling: bool = True  # a round draws what it must to keep enough, not what is missing
    measure_trained_only: bool = True  # old log-probabilities of trained rows, not of all sampled
    max_sequences: int = 1024  # an engine's; 256 before


BEFORE = Code(False, False, False, 256)


@dataclass(frozen=True)
class Job:
    """A run of Figure 11 on a number of GPUs."""

    model: str
    gpus: int
    tensor_parallel: int

    @property
    def shape(self) -> Architecture:
        return MODELS[self.model]

    @property
    def engines(self) -> int:
        return self.gpus // self.tensor_parallel


def cache_bytes_a_token(shape: Architecture) -> int:
    """Return the bytes of a token's keys and values in bfloat16."""
    return 2 * 2 * shape.layers * shape.key_width


def decode_s(lengths: Sequence[int], job: Job, rates: Rates, slots: int) -> float:
    """Return how long one engine takes for these responses, started in their order.

    All sequences that it holds advance by a token a step. A step takes what reading the weights
    and the caches takes, or what multiplying takes, whichever is longer, and its overhead.
    """
    width, shape = job.tensor_parallel, job.shape
    bandwidth = rates.bandwidth * rates.decode_bandwidth_share * width
    flops, cache = rates.flops * rates.forward_mfu * width, cache_bytes_a_token(shape)
    room = rates.cache_bytes * width / cache
    slots = max(1, min(slots, int(room / (PROMPT_TOKENS + np.mean(lengths)))))
    waiting, ends, now, held, total = list(lengths)[::-1], [], 0, 0.0, 0.0
    while waiting or ends:
        while waiting and len(ends) < slots:
            heapq.heappush(ends, now + waiting.pop())
            held += PROMPT_TOKENS
            total += PROMPT_TOKENS * 2 * shape.parameters / flops
        steps, batch = ends[0] - now, len(ends)
        read = (2 * shape.parameters + cache * (held + batch * steps / 2)) / bandwidth
        multiply = 2 * shape.parameters * batch / flops
        total += steps * (rates.step_overhead_s + max(read, multiply))
        now, held = ends[0], held + batch * steps
        while ends and ends[0] == now:
            heapq.heappop(ends)
            held *= len(ends) / (len(ends) + 1)
    return total


def sample_s(lengths: Sequence[int], job: Job, rates: Rates, code: Code) -> float:
    """Return how long it takes until the last engine is done: responses are dealt in turn."""
    shares = [lengths[i :: job.engines] for i in range(job.engines)]
    return max(decode_s(share, job, rates, code.max_sequences) for share in shares if len(share))


def mean_length(model: str) -> float:
    """Return the mean response length of GRPO in Figure 11, over its readings, in tokens."""
    size = model.rpartition("-")[2]
    frame = published.load("fig11")
    of_grpo = (frame["metric"] == "response_length") & (frame["method"] == "GRPO")
    return float(frame.loc[of_grpo & (frame["model"] == size), "value"].mean())


class Lengths:
    """Draws response lengths: from a file, or lognormal with Figure 11's mean, cut off at 8,192."""

    def __init__(self, model: str, rates: Rates, given: np.ndarray | None, seed: int = 0):
        self.rng, self.given, self.sigma = np.random.default_rng(seed), given, rates.length_sigma
        self.mu = np.log(mean_length(model)) - self.sigma**2 / 2

    def draw(self, count: int) -> np.ndarray:
        """Return ``count`` lengths, whole numbers from 1 to 8,192."""
        if self.given is not None:
            drawn = self.rng.choice(self.given, count)
        else:
            drawn = np.exp(self.mu + self.sigma * self.rng.standard_normal(count))
        return np.clip(np.round(drawn), 1, LONGEST).astype(int)


def rollout_s(
    job: Job, rates: Rates, code: Code, given: np.ndarray | None = None
) -> dict[str, float]:
    """Return the seconds of a rollout by phase, validation as its share of every fourth."""
    lengths, shape = Lengths(job.model, rates, given), job.shape
    generation, sampled, kept = 0.0, 0, 0
    while kept < PROMPTS:
        missing = PROMPTS - kept
        groups = int(np.ceil(missing / rates.kept_share)) if code.oversampling else missing
        drawn = lengths.draw(groups * RESPONSES)
        generation += sample_s(drawn, job, rates, code)
        sampled += int(drawn.sum()) + PROMPT_TOKENS * groups * RESPONSES
        found = lengths.rng.random(groups) < rates.kept_share
        kept += int(found.sum())
        if code.oversampling and found.mean() >= 0.9 * rates.kept_share:
            break  # a few prompts fewer than 256 are trained on rather than another round drawn
    trained = PROMPTS * RESPONSES * (int(lengths.draw(4096).mean()) + PROMPT_TOKENS)
    measured = trained if code.measure_trained_only else sampled
    calls = [count * protocol(name).samples for name, count in PROBLEMS.items()]
    calls = [sum(calls)] if code.merged_validation else calls
    validation = sum(sample_s(lengths.draw(n), job, rates, code) for n in calls)
    speed = rates.flops * job.gpus
    return {
        "generation": generation,
        "validation / 4": validation / VALIDATE_EVERY,
        "old log-probabilities": 2 * shape.parameters * measured / (speed * rates.forward_mfu),
        "update": 8 * shape.parameters * trained / (speed * rates.update_mfu),
        "weights to engines": 2 * shape.parameters / rates.link,
        "fixed": rates.fixed_s,
    }


JOBS = [
    Job(model, gpus, width)
    for model, width in (("Qwen/Qwen2.5-7B", 1), ("Qwen/Qwen2.5-32B", 4))
    for gpus in (8, 32, 256)
]


def tables(rates: Rates, given: np.ndarray | None) -> str:
    """Return two Markdown tables: seconds by phase, and what each change is worth."""
    now, before = Code(), BEFORE
    phases = {job: rollout_s(job, rates, now, given) for job in JOBS}
    heads = [f"{job.model.rpartition('-')[2]}, {job.gpus} GPUs" for job in JOBS]
    lines = [["seconds a rollout", *heads]]
    for phase in next(iter(phases.values())):
        lines.append([phase, *(f"{phases[job][phase]:.0f}" for job in JOBS)])
    total = {job: sum(phases[job].values()) for job in JOBS}
    lines.append(["**sum**", *(f"**{total[job]:.0f}**" for job in JOBS)])
    worth = [["taken back alone, it costs (s)", *heads]]
    for field in fields(Code):
        code = replace(now, **{field.name: getattr(before, field.name)})
        costs = [sum(rollout_s(job, rates, code, given).values()) - total[job] for job in JOBS]
        worth.append([field.name, *(f"{cost:+.0f}" for cost in costs)])
    old = [sum(rollout_s(job, rates, before, given).values()) for job in JOBS]
    worth.append(["**all of them: sum before**", *(f"**{seconds:.0f}**" for seconds in old)])
    return "\n\n".join(map(_markdown, (lines, worth)))


def _markdown(rows: list[list[str]]) -> str:
    ruled = [rows[0], ["---", *["---:"] * (len(rows[0]) - 1)], *rows[1:]]
    return "\n".join(f"| {' | '.join(row)} |" for row in ruled)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--measured", type=Path, help="JSON: names of Rates with measured values")
    parser.add_argument("--lengths", type=Path, help="response lengths in tokens, one a line")
    arguments = parser.parse_args()
    measured = json.loads(arguments.measured.read_text()) if arguments.measured else {}
    rates = replace(Rates(), **measured)
    given = np.loadtxt(arguments.lengths, ndmin=1) if arguments.lengths else None
    said = ", ".join(
        f"{name} {value:g}{' (measured)' if name in measured else ''}"
        for name, value in asdict(rates).items()
    )
    text = f"{tables(rates, given)}\n\nRates: {said}.\n"
    print(text)
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "rollout_model.md").write_text(text)


if __name__ == "__main__":
    main()
