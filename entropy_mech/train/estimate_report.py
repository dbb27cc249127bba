"""An estimate as lines for a reader."""

from __future__ import annotations

from collections.abc import Mapping

from entropy_mech.train.estimate import Estimate
from entropy_mech.train.estimate_memory import (
    OTHER_BYTES,
    gib,
    longest_sequence,
    micro_batch_tokens,
)


def report(found: Estimate) -> list[str]:
    """Return the estimate, a subject a line; the last lines warn of what does not fit."""
    rows = [*_memory(found), *_work(found), ("disk", _sizes(found.disk)), _assumed(found)]
    return [f"{subject:<14}{text}" for subject, text in rows] + [
        f"warning: {problem}" for problem in found.problems
    ]


def _memory(found: Estimate) -> list[tuple[str, str]]:
    config, memory = found.config, found.memory
    name = "toy" if config.toy else config.model.path
    others = f", and {found.sampling_gpus} that sample" if found.sampling_gpus else ""
    turns = {
        "update": _sizes(memory.update)
        + f" (micro-batches of {micro_batch_tokens(config):,} tokens)",
        "reference": gib(memory.reference) if memory.reference else "",
        "sampling": f"{gib(memory.sampler)} for the engine" if memory.sampler else "",
    }
    rows = [
        (
            "model",
            f"{name}: {found.model.parameters:,} parameters, "
            f"{found.model.body_parameters:,} without embedding and head",
        ),
        ("GPUs", f"{found.gpus} of {gib(found.gpu_memory_bytes)}{others}"),
        ("memory a GPU", f"{gib(memory.peak)} at the peak"),
        ("  always", f"{_sizes(memory.state)}, allowance {gib(OTHER_BYTES)}"),
        *((f"  {turn}", text) for turn, text in turns.items() if text),
        (
            "host memory",
            f"for each GPU at most {gib(memory.loading)} while loading"
            + (f", then {gib(memory.host)}" if memory.host else ""),
        ),
    ]
    if found.seconds:
        whole = found.cache_tokens // longest_sequence(config)
        rows.append(
            (
                "cache",
                f"{found.cache_tokens:,} tokens an engine: {whole:,} sequences of full length",
            )
        )
    return rows


def _work(found: Estimate) -> list[tuple[str, str]]:
    config, count = found.config, found.counts
    sampled, trained = count.sampled * count.response, count.trained * count.response
    rows = [
        (
            "a rollout",
            f"{count.sampled:,} responses sampled ({sampled:,} tokens), "
            f"{count.trained:,} trained on ({trained:,})",
        ),
        (
            "the run",
            f"{config.steps:,} rollouts, "
            f"{config.steps * config.update.updates_per_rollout:,} updates, "
            f"{config.steps * sampled:,} tokens sampled, {config.steps * trained:,} trained on",
        ),
        ("operations", _amounts(found.flops, ".2e") + " a rollout"),
    ]
    if found.seconds:
        total, hours = sum(found.seconds.values()), found.gpu_hours
        clock = hours / (found.gpus + found.sampling_gpus)
        rows += [
            ("seconds", f"{_amounts(found.seconds, '.0f')}; {total:.0f} a rollout"),
            ("time", f"{hours:,.0f} GPU hours, {clock:,.1f} hours on the clock"),
        ]
    return rows


def _assumed(found: Estimate) -> tuple[str, str]:
    assume, count = found.assume, found.counts
    text = f"responses of {count.response} tokens, prompts of {count.prompt}"
    if found.config.rollout.group_filter:
        text += f", the filter keeps {assume.kept_fraction:.0%}"
    if found.seconds:
        text += (
            f"; {assume.training_mfu:.0%} of {assume.peak_flops:.3g} operations a second in "
            f"passes, {assume.bandwidth_fraction:.0%} of {assume.bandwidth:.3g} bytes a second in "
            "sampling; grading, weight sync and checkpoints not counted"
        )
    return "assumed", text


def _sizes(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {gib(size)}" for name, size in sizes.items() if size)


def _amounts(amounts: Mapping[str, float], form: str) -> str:
    return ", ".join(f"{name} {amount:{form}}" for name, amount in amounts.items())
