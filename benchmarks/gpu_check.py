"""What a GPU says about the trainer, within eight minutes: one command, a table, JSON beside it.

    python benchmarks/gpu_check.py --out FOLDER [--sections head split ...] [--keep]

Each section is a process of its own under a time limit, so that one that fails or hangs leaves the
rest; a section is left out once the budget is used up. Neither data sets nor vLLM, DeepSpeed or a
network are needed: weights and tokens are random, and ZeRO is measured where DeepSpeed can be
imported. Without a GPU the same sections run at small sizes on the CPU, and the table says so:
that shows that they run, and nothing of a GPU.

    head      log-probabilities of 16,384 tokens at V = 151,936: tiles against other forms
    split     Clip-Cov and KL-Cov at three micro-batch budgets: the same tokens, the same gradient
    zero1..3  ZeRO at one rank: an update, a checkpoint, the same update after it was loaded
    sampler   the torch sampler at 256 rows, eagerly and captured; Hugging Face's own generation
    resume    a toy killed with SIGKILL that goes on, and the evaluation of its exported policy
    profile   the kernels of one update

``--keep`` appends the table to benchmarks/RESULTS-gpu.md.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import torch

RESULTS = Path(__file__).with_name("RESULTS-gpu.md")
GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if GPU else "cpu")
WORDS = 151_936 if GPU else 600
BUDGET_S = 480.0
PEAK_FLOPS = 989e12  # dense bfloat16 of an H100 or H200, by its maker
# Tiny enough for a minute on one core; a toy of another size would say no more.
TOY = {
    "steps": 6,
    "model": {"layers": 1, "hidden_size": 16, "intermediate_size": 32, "heads": 2, "kv_heads": 1},
    "problems": {"train_size": 40, "level_shares": {"2": 1.0}, "validation_counts": {"2": 9}},
    "base": {"steps": 60, "noisy_steps": 10, "batch_size": 16, "level_shares": {"2": 1.0}},
    "rollout": {"prompts": 6, "responses": 4, "max_new_tokens": 20},
    "update": {"updates_per_rollout": 2, "micro_batch_size": 8},
    "checkpoint": {"every": 1},
}

# -- Measuring -----------------------------------------------------------------------------------


def settle() -> None:
    """Wait for the device."""
    if GPU:
        torch.cuda.synchronize()


def seconds(act, rounds: int = 5) -> float:
    """Return the median time of ``act``, after one round that warms up."""
    times = []
    for number in range(rounds + 1):
        settle()
        start = time.perf_counter()
        act()
        settle()
        if number:
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def peak_gib(act) -> float:
    """Return what ``act`` allocates at most beside what was there; 0 without a GPU."""
    if not GPU:
        act()
        return 0.0
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    act()
    settle()
    return (torch.cuda.max_memory_allocated() - before) / 2**30


def matmul_flops() -> float:
    """Return the operations a second of one large product, as measured."""
    size = 8192 if GPU else 256
    square = torch.randn(size, size, device=DEVICE).to(torch.bfloat16 if GPU else torch.float32)
    return 2 * size**3 / seconds(lambda: square @ square)


# -- The head ------------------------------------------------------------------------------------


def head() -> list[dict]:
    """Time, peak memory and error of the log-probabilities and their gradients."""
    shapes = ((896, 16384), (3584, 16384)) if GPU else ((32, 256),)
    flops = matmul_flops()
    return [_head_row(*shape, WORDS, flops) for shape in shapes]


def _head_row(hidden: int, tokens: int, words: int, flops: float) -> dict:
    from entropy_mech.objectives import logprobs_and_entropy

    torch.manual_seed(0)
    make = {"device": DEVICE, "dtype": torch.bfloat16}
    states = torch.randn(tokens, hidden, **make).requires_grad_()
    weight = (3.5 / hidden**0.5 * torch.randn(words, hidden, **make)).requires_grad_()
    ids = torch.randint(words, (tokens,), device=DEVICE)
    factors = torch.randn(tokens, device=DEVICE)

    def naive(states, ids):
        logits = (states @ weight.T).float()
        return torch.log_softmax(logits, -1).gather(1, ids[:, None]).squeeze(1)

    def chunks(form, size=4096):
        from torch.utils.checkpoint import checkpoint

        parts = zip(states.split(size), ids.split(size), strict=True)
        return torch.cat([checkpoint(form, *part, use_reentrant=False) for part in parts])

    compiled = torch.compile(naive, dynamic=False) if GPU else naive
    forms = {
        "tiles": lambda: logprobs_and_entropy(states, weight, ids)[0],
        "checkpointed chunks": lambda: chunks(naive),
        "compiled chunks": lambda: chunks(compiled),
        "naive": lambda: naive(states, ids),
    }
    row = {"hidden": hidden, "tokens": tokens, "floor_ms": 8e3 * tokens * hidden * words / flops}
    for name, form in forms.items():

        def step(form=form):
            states.grad = weight.grad = None
            (form() * factors).sum().backward()

        try:
            row[f"{name}, ms"] = 1e3 * seconds(step)
            row[f"{name}, peak GiB"] = peak_gib(step)
        except torch.OutOfMemoryError:
            row[f"{name}, ms"] = "out of memory"
            torch.cuda.empty_cache()
    exact = torch.log_softmax(states[:256].double() @ weight.double().T, -1)
    exact = exact.gather(1, ids[:256, None]).squeeze(1)
    with torch.no_grad():
        gap = (forms["tiles"]()[:256].double() - exact).abs()
    row |= {"error mean": gap.mean().item(), "error max": gap.max().item()}
    row["tiles over floor"] = row["tiles, ms"] / row["floor_ms"]
    return row


# -- Updates -------------------------------------------------------------------------------------

LOSSES = {
    "clip_cov": {"method": "clip_cov", "clip_fraction": 0.01, "cov_low": 0.0, "cov_high": 100.0},
    "kl_cov": {"method": "kl_cov", "penalty_fraction": 0.01},
}


def make_model():
    """Return a Qwen2 of Qwen2.5-0.5B's shape and random weights; without a GPU a small one."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    shape = (WORDS, 896, 4864, 24, 14, 2) if GPU else (WORDS, 32, 64, 2, 2, 1)
    names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
             "num_attention_heads", "num_key_value_heads")  # fmt: skip
    special = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None}
    return Qwen2ForCausalLM(
        Qwen2Config(
            **dict(zip(names, shape, strict=True)),
            **special,
            max_position_embeddings=8192,
            tie_word_embeddings=True,
        )
    )


class Update:
    """An engine, a rollout of random tokens with its old log-probabilities, and updates by it."""

    def __init__(self, budget: int, loss: str = "clip_cov", **engine):
        from entropy_mech.config.files import make_config
        from entropy_mech.train.distributed import join_ranks
        from entropy_mech.train.pretrain import build_engine

        self.longest, self.prompt = (2000, 100) if GPU else (24, 8)
        self.config = make_config(
            {
                "model": {"path": "built-here"},
                "problems": {"training_set": "gsm8k", "max_prompt_tokens": 128},
                "rollout": {"prompts": 16, "responses": 8, "max_new_tokens": self.longest},
                "update": {
                    "updates_per_rollout": 2,
                    "micro_batch_tokens": budget,
                    "learning_rate": 1e-6,
                },
                "loss": LOSSES[loss],
                "engine": {
                    "dtype": "bfloat16" if GPU else "float32",
                    "gradient_checkpointing": True,
                    "forward_tokens": 32768,
                    **engine,
                },
            }
        )
        model = make_model()
        if self.config.engine.kind == "deepspeed" and GPU:
            model = model.bfloat16()
        self.parameters = sum(p.numel() for p in model.parameters())
        self.head_parameters = model.lm_head.weight.numel()
        ranks = join_ranks(timeout_s=300.0)
        self.engine = build_engine(model, self.config.engine, self.config.update, ranks)
        self.batch = self._batch()

    def _batch(self):
        from entropy_mech.objectives import token_advantages
        from entropy_mech.train.engine import measure
        from entropy_mech.train.rollouts import RolloutBatch, join

        draws, rows = torch.Generator().manual_seed(1), 128
        least = min(20, self.longest // 3)
        lengths = torch.rand(rows, generator=draws) ** 2 * (self.longest - least) + least
        mask = torch.arange(self.longest) < lengths.long()[:, None]
        tokens = torch.randint(2, WORDS, mask.shape, generator=draws)
        prompts = torch.randint(2, WORDS, (16, self.prompt), generator=draws)
        prompts = prompts.repeat_interleave(8, 0)
        ids, prompt_length = join([tuple(row) for row in prompts.tolist()], tokens, mask, 0)
        rewards = (torch.rand(rows, generator=draws) > 0.5).float()
        problem = torch.arange(16).repeat_interleave(8)
        sample = torch.arange(8).repeat(16)
        batch = RolloutBatch(ids, prompt_length, tokens, mask, problem, sample, rewards)
        logp, entropy = measure(self.engine, batch)
        advantages = token_advantages(self.config.algorithm, rewards.view(-1, 8), mask, None)
        return replace(batch, logp_old=logp, entropy=entropy, advantages=advantages)

    def __call__(self, step: int) -> tuple[dict, torch.Tensor]:
        """Train on the rollout; return metrics and the tokens chosen."""
        from entropy_mech.train.update import update_policy

        return update_policy(self.engine, self.batch, self.config, step)

    def measured(self) -> tuple[dict, torch.Tensor]:
        """Return a row of the table, and the tokens chosen; the first update warms up."""
        self(0)
        if GPU:
            torch.cuda.reset_peak_memory_stats()
        settle()
        start = time.perf_counter()
        metrics, chosen = self(1)
        settle()
        took = time.perf_counter() - start
        tokens, predicted = int(self.batch.lengths().sum()), int(self.batch.response_mask.sum())
        body = self.parameters - self.head_parameters
        flops = 6 * (body * tokens + self.head_parameters * predicted)
        return {
            "update s": took,
            "tokens/s": tokens / took,
            "MFU %": 100 * flops / took / PEAK_FLOPS if GPU else 0.0,
            "peak GiB": torch.cuda.max_memory_allocated() / 2**30 if GPU else 0.0,
            "grad norm": metrics["grad_norm"],
            "chosen": int(chosen.sum()),
        }, chosen


def split() -> list[dict]:
    """Measure both methods at three micro-batch budgets: what is chosen must not change."""
    rows = []
    for loss in LOSSES:
        first = None
        for budget in (8192, 16384, 32768) if GPU else (160, 512, 2048):
            row, chosen = Update(budget, loss).measured()
            first = first or (row, chosen)
            gap = abs(row["grad norm"] / first[0]["grad norm"] - 1)
            row |= {"same tokens": bool((chosen == first[1]).all()), "norm gap %": 100 * gap}
            rows.append({"loss": loss, "budget": budget, **row})
    return rows


def zero(stage: int) -> list[dict]:
    """Measure ZeRO at one rank; save, update, load, and update again."""
    update = Update(16384 if GPU else 512, kind="deepspeed", zero_stage=stage)
    row, _ = update.measured()
    with tempfile.TemporaryDirectory() as folder:
        row["save s"] = seconds(lambda: update.engine.save(Path(folder)), rounds=1)
        went_on, _ = update(2)
        row["load s"] = seconds(lambda: update.engine.load(Path(folder)), rounds=1)
        again, _ = update(2)
    same = all(went_on[name] == again[name] for name in went_on)
    gap = max(abs(went_on[name] - again[name]) for name in went_on)
    return [{"stage": stage, **row, "resumed to the bit": same, "largest gap": gap}]


# -- Sampling ------------------------------------------------------------------------------------


def sampler() -> list[dict]:
    """Measure tokens a second of the torch sampler's decoders and of Hugging Face's generation."""
    from entropy_mech.sampling import SamplingRequest
    from entropy_mech.sampling.torch_sampler import (
        HuggingFaceDecoder,
        StaticDecoder,
        TorchSampler,
    )

    rows, tokens = (256, 128) if GPU else (8, 24)
    length = 100 if GPU else 8
    prompts = torch.randint(2, WORDS, (rows, length), generator=torch.Generator().manual_seed(2))
    requests = [SamplingRequest(tuple(row), i) for i, row in enumerate(prompts.tolist())]
    settings = {"max_new_tokens": tokens, "min_new_tokens": tokens, "do_sample": True}
    found = []
    for dtype in ("bfloat16", "float32"):
        model = make_model().to(DEVICE, getattr(torch, dtype)).eval()
        ids = prompts.to(DEVICE)
        kept = {}

        def ours(kind, model=model, kept=kept):
            chosen = TorchSampler(model, pad_token=0, eos_token=WORDS)  # no token ends a row
            chosen._decoder_class = lambda: kind
            kept[kind] = chosen.sample(requests, temperature=1.0, max_new_tokens=tokens)

        cases = {
            "ours, growing cache": lambda ours=ours: ours(HuggingFaceDecoder),
            "ours, static cache": lambda ours=ours: ours(StaticDecoder),
        }
        if dtype == "bfloat16":  # its static cache is compiled first, which takes a while
            cases |= {
                "generate, growing cache": lambda m=model, i=ids: m.generate(i, **settings),
                "generate, static cache": lambda m=model, i=ids: m.generate(
                    i, cache_implementation="static", **settings
                ),
            }
        for name, act in cases.items():
            if GPU:
                torch.cuda.reset_peak_memory_stats()
            with torch.no_grad():
                took = seconds(act, rounds=1)
            row = {"dtype": dtype, "sampler": name, "rows": rows, "tokens/s": rows * tokens / took}
            found.append(row | {"peak GiB": torch.cuda.max_memory_allocated() / 2**30})
        slow, fast = kept[HuggingFaceDecoder], kept[StaticDecoder]
        # From the first token that rounding turned into another on, responses differ.
        same = (slow.tokens == fast.tokens).cumprod(dim=1).bool()
        gap = (slow.logp_sampler - fast.logp_sampler).abs()[same].mean().item()
        row = next(
            row for row in found if (row["dtype"], row["sampler"]) == (dtype, "ours, static cache")
        )
        row |= {"same tokens %": 100 * same.float().mean().item(), "mean gap, nats": gap}
        del model, kept, slow, fast
    return found


# -- Killed and resumed --------------------------------------------------------------------------


def resume() -> list[dict]:
    """Kill a toy in the middle, go on, compare with one left alone; evaluate its export."""
    from entropy_mech.evaluation.suite import evaluate_sets, newest_policy
    from entropy_mech.problems.benchmarks import load_sets

    kinds = ["torch"] + ["deepspeed"] * (importlib.util.find_spec("deepspeed") is not None)
    sets, _ = load_sets(["toy_maths_2"], limit=5)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor() as pool:
        folders = [Path(folder) / kind for kind in kinds]
        rows = []
        # Both at once: most of their time is that of processes which start.
        for own, (row, run) in zip(folders, pool.map(_resumed, kinds, folders), strict=True):
            (score,) = evaluate_sets(newest_policy(run), sets, own / "scores", graders=1)
            rows.append({**row, "evaluated problems": score.problems, "accuracy": score.accuracy})
    return rows


def _resumed(kind: str, folder: Path) -> tuple[dict, object]:
    """Return a row of the table, and the run that went on."""
    from entropy_mech.config.files import make_config
    from entropy_mech.runs import RunStore

    table = {**TOY, "engine": {"kind": kind}}
    config = make_config({**table, "problems": _whole_levels(table["problems"])})
    stores = [RunStore(folder / name) for name in ("alone", "killed")]
    alone, killed = (store.run(config) for store in stores)
    _train(alone, stores[0].root)
    stores[1].root.mkdir()
    (stores[1].root / "base_models").symlink_to(stores[0].root / "base_models")
    steps = _train(killed, stores[1].root, kill_after=2)
    _train(killed, stores[1].root)
    same = alone.metrics_file.lines() == killed.metrics_file.lines()
    return {"engine": kind, "killed at step": steps, "metrics equal to the bit": same}, killed


def _whole_levels(problems: dict) -> dict:
    """Return the table with levels as numbers, which JSON cannot have as keys."""
    whole = {name: {int(k): v for k, v in problems[name].items()}
             for name in ("level_shares", "validation_counts")}  # fmt: skip
    return {**problems, **whole}


def _train(run, store: Path, kill_after: int | None = None) -> int:
    """Train in a process of its own, killed once so many steps are done; return the steps done."""
    command = [sys.executable, "-m", "entropy_mech.train", "--store", str(store)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    child.stdin.write(run.config.model_dump_json())
    child.stdin.close()
    while child.poll() is None:
        if kill_after is not None and run.steps_done >= kill_after:
            child.send_signal(signal.SIGKILL)
            child.wait()
            return run.steps_done
        time.sleep(0.02)
    if child.returncode:
        raise RuntimeError(f"training ended with {child.returncode}")
    return run.steps_done


# -- A profile -----------------------------------------------------------------------------------


def profile() -> list[dict]:
    """Return the 15 operations that take most of an update, and those of attention."""
    from torch.profiler import ProfilerActivity

    update = Update(16384 if GPU else 512)
    update(0)
    kinds = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * GPU
    with torch.profiler.profile(activities=kinds) as found:
        update(1)
        settle()
    time_of = "self_device_time_total" if GPU else "self_cpu_time_total"
    events = sorted(found.key_averages(), key=lambda event: -getattr(event, time_of))
    total = sum(getattr(event, time_of) for event in events)
    rows = [
        {
            "operation": event.key[:90],
            "%": 100 * getattr(event, time_of) / total,
            "calls": event.count,
        }
        for event in events
    ]
    words = ("flash", "attention", "fmha", "sdp")
    attention = [row for row in rows if any(word in row["operation"].lower() for word in words)]
    return rows[:15] + [row for row in attention[:3] if row not in rows[:15]]


# -- The command ---------------------------------------------------------------------------------

# Each with the seconds that it may take on a GPU.
SECTIONS = {
    "head": (head, 110),
    "split": (split, 110),
    "zero1": (lambda: zero(1), 60),
    "zero2": (lambda: zero(2), 60),
    "zero3": (lambda: zero(3), 60),
    "sampler": (sampler, 120),
    "resume": (resume, 150),
    "profile": (profile, 60),
}


def run_section(name: str, out: Path, limit_s: float) -> dict:
    """Run a section in a process of its own; return its rows, or why there are none."""
    print(f"{name}, at most {limit_s:.0f} s ...", file=sys.stderr, flush=True)
    command = [sys.executable, __file__, "--section", name, "--out", str(out)]
    start = time.monotonic()
    # A group of its own: a section that is out of time ends with all that it started.
    child = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        said = child.communicate(timeout=limit_s)[1]
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        return {"error": f"took longer than {limit_s:.0f} s"}
    took = time.monotonic() - start
    if child.returncode:
        (out / f"{name}.err").write_text(said)
        last = (said.strip().splitlines() or [f"exit code {child.returncode}"])[-1]
        return {"error": last[:300], "seconds": took}
    return {"rows": json.loads((out / f"{name}.json").read_text()), "seconds": took}


def hardware() -> str:
    """Return the machine in words."""
    import platform
    from importlib.metadata import version

    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    for name in ("transformers", "deepspeed"):
        if importlib.util.find_spec(name) is not None:
            versions += f", {name} {version(name)}"
    if not GPU:
        return f"no GPU, {os.cpu_count()} cores, small sizes: it runs, no more is said; {versions}"
    properties = torch.cuda.get_device_properties(0)
    return f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB; {versions}"


def table(found: dict[str, dict]) -> str:
    """Return the sections as Markdown."""
    parts = [f"## {datetime.now(UTC):%Y-%m-%d}: {hardware()}"]
    for name, result in found.items():
        if "rows" not in result:
            parts.append(f"**{name}**: {result.get('error') or result['left out']}")
            continue
        columns = list(dict.fromkeys(column for row in result["rows"] for column in row))
        lines = [columns, ["---"] * len(columns)]
        lines += [[_shown(row.get(column, "")) for column in columns] for row in result["rows"]]
        grid = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        parts.append(f"**{name}** ({result['seconds']:.0f} s)\n\n{grid}")
    return "\n\n".join(parts) + "\n"


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main() -> int:
    """Run the sections that fit the budget; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for JSON and the table")
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--budget-s", type=float, default=BUDGET_S, help="for all of them")
    parser.add_argument("--keep", action="store_true", help=f"append to {RESULTS.name}")
    parser.add_argument("--section", choices=SECTIONS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.section:
        torch.set_num_threads(min(os.cpu_count() or 1, 8) if GPU else 1)
        rows = SECTIONS[options.section][0]()
        (options.out / f"{options.section}.json").write_text(json.dumps(rows, indent=1))
        return 0
    end, found = time.monotonic() + options.budget_s, {}
    for name in options.sections:
        left = end - time.monotonic()
        if name.startswith("zero") and importlib.util.find_spec("deepspeed") is None:
            found[name] = {"left out": "DeepSpeed is not installed"}
            continue
        if left < 10:
            found[name] = {"error": "not measured: the time was used up"}
            continue
        # Without a GPU a slow core may take what is left: there only the whole is bounded.
        limit = min(SECTIONS[name][1], left) if GPU else left
        found[name] = run_section(name, options.out, limit)
        (options.out / "results.json").write_text(json.dumps(found, indent=1))
    text = table(found)
    (options.out / "table.md").write_text(text)
    print(text)
    if options.keep:
        with RESULTS.open("a") as file:
            file.write("\n" + text)
    return 1 if any("error" in result for result in found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
