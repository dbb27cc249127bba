"""The sections of ``gpu_check``: each returns rows for a table and facts for a line."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from gpu_work import (
    DEVICE,
    GPU,
    LONGEST,
    build,
    configuration,
    matmul_tflops,
    peak_gib,
    peak_tflops,
    random_model,
    rollout,
    seconds,
    settle,
    update_flops,
)

from entropy_mech.config import TrainConfig
from entropy_mech.objectives import logprobs_and_entropy
from entropy_mech.sampling.sampler import SamplingRequest
from entropy_mech.sampling.torch_sampler import TorchSampler
from entropy_mech.train.update import update_policy

LOSSES = {
    "Clip-Cov": {"method": "clip_cov", "clip_fraction": 0.01, "cov_low": 0.0, "cov_high": 100.0},
    "KL-Cov": {"method": "kl_cov", "penalty_fraction": 0.01},
}
BUDGETS = (8192, 16384, 32768) if GPU else (256, 512, 2048)


class LeftOut(Exception):
    """A section cannot run here; the text says why."""


# -- The head ------------------------------------------------------------------------------------

HEAD_SIZES = ((896, 16384), (3584, 16384)) if GPU else ((64, 512),)
VOCABULARY = 151_936 if GPU else 5_000
_MOST_NAIVE_BYTES = 60e9  # logits, their softmax and both gradients


def head() -> dict:
    """Log-probabilities, entropies and gradients of a micro-batch: ours, others, and the floor.

    The floor is four products of hidden states and head: one for the logits, one again for those
    that were not kept, two for the gradients.
    """
    speed, rows, facts = matmul_tflops(), [], {}
    for width, count in HEAD_SIZES:
        floor_ms = 8 * count * width * VOCABULARY / speed / 1e9
        inputs = _head_inputs(width, count)
        for name, form in _head_forms(*inputs[:3]).items():
            passes = partial(_passes, form, *inputs)
            try:
                taken, memory = 1e3 * seconds(passes), peak_gib(passes)
            except torch.OutOfMemoryError:
                rows.append({"D": width, "tokens": count, "form": name, "ms": "out of memory"})
                continue
            rows.append(
                {"D": width, "tokens": count, "form": name, "ms": taken,
                 "over the floor": taken / floor_ms, "peak GiB": memory}
            )  # fmt: skip
        facts |= {f"D = {width}: {key}": value for key, value in _errors(*inputs[:3])}
    return {"rows": rows, "facts": {"product": f"{speed:.3g} TFLOP/s", **facts}}


def _passes(form: Callable, hidden, weight, tokens, up) -> None:
    """Both passes of a form of the head."""
    hidden.grad = weight.grad = None
    (form() * up).sum().backward()


def _head_inputs(width: int, count: int):
    torch.manual_seed(0)
    kind = {"device": DEVICE, "dtype": torch.bfloat16}
    hidden = torch.randn(count, width, **kind).requires_grad_()
    weight = (torch.randn(VOCABULARY, width, **kind) * (3.5 / width**0.5)).requires_grad_()
    tokens = torch.randint(VOCABULARY, (count,), device=DEVICE)
    return hidden, weight, tokens, torch.randn(count, device=DEVICE)


def _head_forms(hidden, weight, tokens) -> dict[str, Callable]:
    from torch.utils.checkpoint import checkpoint

    def naive(hidden, weight, tokens):
        logp = torch.log_softmax((hidden @ weight.T).float(), -1)
        with torch.no_grad():
            entropy = -(logp.exp() * logp).sum(-1)
        return logp.gather(1, tokens[:, None]).squeeze(1), entropy

    def chunked(form):
        size = 4096
        parts = range(0, len(hidden), size)
        cut = [(hidden[i : i + size], weight, tokens[i : i + size]) for i in parts]
        return torch.cat([checkpoint(form, *part, use_reentrant=False)[0] for part in cut])

    compiled = torch.compile(naive, dynamic=False) if GPU else naive
    forms = {
        "tiles (ours)": lambda: logprobs_and_entropy(hidden, weight, tokens)[0],
        "checkpointed chunks": lambda: chunked(naive),
        "compiled chunks" if GPU else "compiled chunks (not compiled)": lambda: chunked(compiled),
    }
    if 14.0 * len(hidden) * VOCABULARY < _MOST_NAIVE_BYTES:
        forms["naive"] = lambda: naive(hidden, weight, tokens)[0]
    return forms


@torch.no_grad()
def _errors(hidden, weight, tokens):
    """Yield the mean and largest error of log-probabilities against float64, in nats."""
    count = 256
    exact = torch.log_softmax(hidden[:count].double() @ weight.double().T, -1)
    exact = exact.gather(1, tokens[:count, None]).squeeze(1)
    ours = logprobs_and_entropy(hidden[:count], weight, tokens[:count])[0]
    rounded = torch.log_softmax((hidden[:count] @ weight.T).float(), -1)
    rounded = rounded.gather(1, tokens[:count, None]).squeeze(1)
    for name, found in (("ours", ours), ("logits in bfloat16", rounded)):
        off = (found - exact).abs()
        yield f"error, {name}", f"{off.mean():.2g} (largest {off.max():.2g}) nats"


# -- The update ----------------------------------------------------------------------------------


def _trained(config: TrainConfig, case: str) -> tuple[dict, torch.Tensor]:
    """Return a row of one update after one that warms up, and the tokens that it touched."""
    engine = build(config)
    batch, measured_s = rollout(engine, config)
    update_policy(engine, batch, config, 0)
    if GPU:
        torch.cuda.reset_peak_memory_stats()
    settle()
    start = time.perf_counter()
    metrics, touched = update_policy(engine, batch, config, 1)
    settle()
    taken, tokens = time.perf_counter() - start, int(batch.lengths().sum())
    row = {
        "case": case,
        "measure, tokens/s": tokens / measured_s,
        "update, s": taken,
        "update, tokens/s": tokens / taken,
        "MFU": update_flops(batch) / taken / peak_tflops()[0] / 1e12,
        "peak GiB": torch.cuda.max_memory_allocated() / 2**30 if GPU else None,
        "gradient norm": metrics["grad_norm"],
        "touched": int(touched.sum()),
    }
    return row, touched.cpu()


def split() -> dict:
    """Clip-Cov and KL-Cov at three micro-batch budgets: the same tokens, the same gradient."""
    rows, facts = [], {"100 % MFU": "{:.4g} TFLOP/s ({})".format(*peak_tflops())}
    for name, loss in LOSSES.items():
        seen = []
        for budget in BUDGETS:
            config = configuration("torch", budget=budget, loss=loss)
            row, touched = _trained(config, f"{name}, {budget:,} tokens")
            rows.append(row)
            seen.append((row["gradient norm"], touched))
            if GPU:
                torch.cuda.empty_cache()
        same = all(torch.equal(touched, seen[0][1]) for _, touched in seen)
        norms = [norm for norm, _ in seen]
        facts[f"{name}: the same tokens at all budgets"] = same
        facts[f"{name}: gradient norms differ by"] = f"{max(norms) / min(norms) - 1:.2%}"
    return {"rows": rows, "facts": facts}


def zero() -> dict:
    """ZeRO 1, 2, 3 on one rank: an update, and a checkpoint that gives the weights back."""
    if importlib.util.find_spec("deepspeed") is None:
        raise LeftOut("DeepSpeed is not installed")
    rows = []
    for stage in (1, 2, 3):
        config = configuration("deepspeed", budget=BUDGETS[1], loss=LOSSES["KL-Cov"], stage=stage)
        engine = build(config)
        batch, _ = rollout(engine, config)
        update_policy(engine, batch, config, 0)
        settle()
        start = time.perf_counter()
        metrics, _ = update_policy(engine, batch, config, 1)
        settle()
        taken = time.perf_counter() - start
        rows.append(
            {"case": f"ZeRO {stage}", "update, s": taken,
             "MFU": update_flops(batch) / taken / peak_tflops()[0] / 1e12,
             "gradient norm": metrics["grad_norm"], **_saved(engine, batch, config)}
        )  # fmt: skip
        del engine
        if GPU:
            torch.cuda.empty_cache()
    return {"rows": rows, "facts": {}}


def _saved(engine, batch, config) -> dict:
    """Save, update, load, and compare the weights and the next update with the first time's."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        engine.save(Path(folder))
        saved = time.perf_counter() - start
        before = {name: weight.float().cpu().clone() for name, weight in engine.weights()}
        first, _ = update_policy(engine, batch, config, 2)
        start = time.perf_counter()
        engine.load(Path(folder))
        loaded = time.perf_counter() - start
    same = all(torch.equal(before[name], w.float().cpu()) for name, w in engine.weights())
    again, _ = update_policy(engine, batch, config, 2)
    off = abs(again["grad_norm"] / first["grad_norm"] - 1)
    return {"save, s": saved, "load, s": loaded, "weights back": same, "next norm off by": off}


# -- Sampling ------------------------------------------------------------------------------------


def sampler() -> dict:
    """The torch sampler on 256 rows, beside transformers' own static cache."""
    rows, steps = (256, 128) if GPU else (4, 4)
    model = random_model().to(DEVICE).to(torch.bfloat16)
    requests = [SamplingRequest(tuple(range(2, 102)), i) for i in range(rows)]
    eager = TorchSampler(model, pad_token=0, eos_token=-1)
    table = [_decoded("eager", eager, requests, steps)]
    ids = torch.tensor([request.prompt_tokens for request in requests], device=DEVICE)

    def static() -> None:
        model.generate(
            ids, max_new_tokens=steps, min_new_tokens=steps, do_sample=True, eos_token_id=1,
            cache_implementation="static", disable_compile=not GPU,
        )  # fmt: skip

    taken = seconds(static, rounds=1)
    table.append(
        {"case": "transformers' generate, static cache", "ms a step": 1e3 * taken / steps,
         "tokens/s": rows * steps / taken}
    )  # fmt: skip
    return {"rows": table, "facts": {"rows": rows, "tokens a row": steps, "dtype": "bfloat16"}}


def _decoded(name: str, one: TorchSampler, requests: list, steps: int) -> dict:
    settings = {"temperature": 1.0, "max_new_tokens": steps}
    taken = seconds(lambda: one.sample(requests, **settings), rounds=1)
    return {"case": name, "ms a step": 1e3 * taken / steps,
            "tokens/s": len(requests) * steps / taken}  # fmt: skip


# -- Killed and resumed; evaluated ---------------------------------------------------------------

TOY = {
    "steps": 6,
    "model": {"layers": 1, "hidden_size": 16, "intermediate_size": 32, "heads": 2, "kv_heads": 1},
    "problems": {"train_size": 40, "level_shares": {2: 0.6, 3: 0.4}, "validation_counts": {2: 9}},
    "base": {"steps": 60, "noisy_steps": 20, "batch_size": 32, "level_shares": {2: 0.6, 3: 0.4}},
    "rollout": {"prompts": 8, "responses": 8, "max_new_tokens": 20},
    "update": {"updates_per_rollout": 2, "micro_batch_size": 8, "learning_rate": 1e-3},
    "validation": {"every": 2},
    "checkpoint": {"every": 2},
    "loss": {"method": "kl_cov", "penalty_fraction": 0.2},
}


def resume() -> dict:
    """Kill a toy with SIGKILL after two rollouts, start it again, and compare the metrics files."""
    engines = {"torch": {}}
    if importlib.util.find_spec("deepspeed") is not None:
        engines["ZeRO 2"] = {"engine": {"kind": "deepspeed", "zero_stage": 2}}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, engine in engines.items():
            order = json.dumps(TOY | engine)
            alone, killed = Path(folder) / f"{name}-alone", Path(folder) / f"{name}-killed"
            whole_s = _train(order, alone)
            kills = _train_and_kill(order, killed)
            same = _metrics(alone) == _metrics(killed)
            rows.append(
                {"engine": name, "s": whole_s, "kills": kills, "same to the last bit": same}
            )
    return {
        "rows": rows,
        "facts": {"device of toys": "CPU; DeepSpeed takes the GPU if it is there"},
    }


def _start(order: str, store: Path) -> subprocess.Popen:
    child = subprocess.Popen(
        [sys.executable, "-m", "entropy_mech.train", "--store", str(store)],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    child.stdin.write(order)
    child.stdin.close()
    child.stdin = None
    return child


def _train(order: str, store: Path) -> float:
    start = time.perf_counter()
    child = _start(order, store)
    _, errors = child.communicate()
    if child.returncode:
        raise RuntimeError(errors.strip().splitlines()[-1])
    return time.perf_counter() - start


def _train_and_kill(order: str, store: Path) -> int:
    """Kill the run once, after its second rollout, then let it end; return the kills."""
    child = _start(order, store)
    while child.poll() is None and len(_metrics(store)) < 2:
        time.sleep(0.02)
    alive = child.poll() is None
    if alive:
        os.killpg(child.pid, signal.SIGKILL)
    child.communicate()
    _train(order, store)
    return int(alive)


def _metrics(store: Path) -> list[bytes]:
    found = list(store.glob("*/metrics.jsonl"))
    return found[0].read_bytes().splitlines() if found else []


def evaluate() -> dict:
    """``entropy-mech evaluate`` of an exported model, on this device with the torch sampler."""
    from entropy_mech.problems.toy import ALPHABET, character_tokenizer

    limit, new = (64, 64) if GPU else (2, 8)
    with tempfile.TemporaryDirectory() as folder:
        model, tokenizer = random_model(), character_tokenizer(ALPHABET)
        model.save_pretrained(f"{folder}/model")
        tokenizer.save_pretrained(f"{folder}/model")
        words = f"evaluate {folder}/model --benchmarks toy --sampler torch --out {folder}/out"
        words += f" --limit {limit} --max-new-tokens {new}"
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "entropy_mech", *words.split()],
            env=os.environ | {"ENTROPY_MECH_RUNS": f"{folder}/runs"},
            capture_output=True,
            text=True,
        )
        taken = time.perf_counter() - start
        if done.returncode:
            raise RuntimeError((done.stderr or done.stdout).strip().splitlines()[-1])
        found = json.loads((Path(folder) / "out" / "scores.json").read_text())["scores"]
    samples = sum(score["problems"] * score["samples"] for score in found)
    return {"rows": [{"benchmarks": len(found), "samples": samples, "s, with loading": taken}],
            "facts": {"tokens a response, at most": new}}  # fmt: skip


# -- One update, kernel by kernel ----------------------------------------------------------------

_ATTENTION = ("flash", "fmha", "attention", "sdpa", "cudnn_generated")


def profile() -> dict:
    """The fifteen kernels that take most of one update, and the one that attends."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as record

    config = configuration("torch", budget=BUDGETS[1], loss=LOSSES["KL-Cov"])
    engine = build(config)
    batch, _ = rollout(engine, config)
    update_policy(engine, batch, config, 0)
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if GPU else [])]
    with record(activities=kinds) as found:
        update_policy(engine, batch, config, 1)
        settle()
    column = "self_device_time_total" if GPU else "self_cpu_time_total"
    events = sorted(found.key_averages(), key=lambda e: getattr(e, column), reverse=True)
    total = sum(getattr(event, column) for event in events)
    attends = [e.key for e in events if any(word in e.key.lower() for word in _ATTENTION)]
    rows = [
        {"kernel": event.key[:90], "calls": event.count, "ms": getattr(event, column) / 1e3,
         "share": getattr(event, column) / total}
        for event in events[:15]
    ]  # fmt: skip
    return {"rows": rows, "facts": {"attention": attends[0][:120] if attends else "none seen",
                                    "longest response": LONGEST}}  # fmt: skip


SECTIONS: dict[str, Callable[[], dict]] = {
    function.__name__: function
    for function in (head, split, zero, sampler, resume, evaluate, profile)
}
