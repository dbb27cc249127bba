"""Whole GRPO cycles (rollout and updates) against TRL's GRPOTrainer, in turns in one process.

    python -m pip install trl==1.16.*          # beside this package
    python benchmarks/cycle_vs_trl.py [--threads 1 2] [--sizes 1M 0.1M] [--cycles 5]

Both train the same Qwen2 model (a short supervised stage has taught it to end after about a third
of the token limit) on 32 prompts x 8 responses of at most 64 tokens, 4 optimizer steps a rollout,
AdamW, ratio clip 0.2, old log-probabilities recomputed by both. ``forced`` lengths: the
end-of-sequence id is one that the model does not have, so that every response has 64 tokens.

Prints medians of wall time, TRL's over ours from cycles next to each other, what each cycle did
(tokens, optimizer steps), and our distance to the time that the cycle's multiplications alone
would take at this machine's matmul speed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from cycle_models import SIZES, save_model
from cycle_work import PROMPTS, RESPONSES, UPDATES, flops, matmul_gflops

LENGTHS = ("natural", "forced")


def run_case(folder: Path, case: dict) -> dict:
    """Measure one case in this process: one warm-up pair of cycles, then ``cycles`` pairs."""
    import torch
    from cycle_ours import Ours
    from cycle_trl import train_beside

    torch.set_num_threads(case["threads"])
    ours = Ours(folder, forced=case["lengths"] == "forced", threads=case["threads"])
    ceilings, pairs = [], []

    def our_turn() -> dict:
        ceilings.append(matmul_gflops())
        return ours.cycle()

    for theirs, mine in train_beside(folder, our_turn, case):
        pairs.append({"trl": theirs, "ours": mine})
    return {**case, "pairs": pairs[1:], "matmul_gflops": max(ceilings), "model": ours.shape()}


def summary(result: dict) -> dict:
    """Return the numbers of one case."""
    pairs = result["pairs"]
    middle = {
        side: {
            key: statistics.median(pair[side][key] for pair in pairs)
            for key in pairs[0][side]
            if isinstance(pairs[0][side][key], int | float)
        }
        for side in ("trl", "ours")
    }
    work = statistics.median(flops(pair["ours"]["lengths"], result["model"]) for pair in pairs)
    floor_s = work / 1e9 / result["matmul_gflops"]
    ratios = {
        clock: statistics.median(pair["trl"][clock] / pair["ours"][clock] for pair in pairs)
        for clock in ("wall_s", "cpu_s")
    }
    return {
        "size": result["size"],
        "lengths": result["lengths"],
        "threads": result["threads"],
        "ratio": ratios["wall_s"],
        "ratio_lowest": min(p["trl"]["wall_s"] / p["ours"]["wall_s"] for p in pairs),
        "ratio_cpu": ratios["cpu_s"],
        "trl": middle["trl"],
        "ours": middle["ours"],
        "gflop": work / 1e9,
        "matmul_gflops": result["matmul_gflops"],
        "floor_s": floor_s,
        "limit": middle["trl"]["wall_s"] / floor_s,
        "over_floor": middle["ours"]["wall_s"] / floor_s,
    }


def show(row: dict) -> None:
    """Print one case in three lines."""
    trl, ours = row["trl"], row["ours"]
    print(
        f"{row['size']:>5} {row['lengths']:>8} {row['threads']} thread(s): "
        f"TRL {trl['wall_s']:.2f} s (rollout {trl['rollout_s']:.2f}), "
        f"ours {ours['wall_s']:.2f} s (rollout {ours['rollout_s']:.2f}, "
        f"old log-probabilities {ours['measure_s']:.2f}, updates {ours['update_s']:.2f}): "
        f"{row['ratio']:.2f} times as fast (lowest pair {row['ratio_lowest']:.2f}; "
        f"by processor time {row['ratio_cpu']:.2f})"
    )
    print(
        f"      work: tokens {trl['tokens']:.0f} and {ours['tokens']:.0f}, optimizer steps "
        f"{trl['optimizer_steps']:.0f} and {ours['optimizer_steps']:.0f}, mean length "
        f"{trl['tokens'] / (PROMPTS * RESPONSES):.1f} and "
        f"{ours['tokens'] / (PROMPTS * RESPONSES):.1f}"
    )
    print(
        f"      ceiling: {row['gflop']:.0f} GFLOP at {row['matmul_gflops']:.0f} GFLOP/s is "
        f"{row['floor_s']:.2f} s; ours takes {row['over_floor']:.2f} times that; nobody could be "
        f"more than {row['limit']:.1f} times as fast as TRL"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=SIZES)
    parser.add_argument("--lengths", nargs="+", default=list(LENGTHS), choices=LENGTHS)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--cycles", type=int, default=5, help="measured pairs a case")
    parser.add_argument("--trl-micro-batch", type=int, default=256 // UPDATES)
    parser.add_argument("--models", type=Path, help="folder to keep the models in")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        case = json.loads(arguments.case)
        result = run_case(Path(case.pop("folder")), case)
        Path(case["answer"]).write_text(json.dumps(result))
        return
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for size in arguments.sizes:
            folder = (arguments.models or Path(temporary)) / size
            if not (folder / "config.json").exists():
                save_model(folder, size)
            for threads in arguments.threads:
                for lengths in arguments.lengths:
                    case = {
                        "folder": str(folder),
                        "answer": f"{temporary}/answer.json",
                        "size": size,
                        "threads": threads,
                        "lengths": lengths,
                        "cycles": arguments.cycles,
                        "trl_micro_batch": arguments.trl_micro_batch,
                    }
                    command = [sys.executable, __file__, "--case", json.dumps(case)]
                    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
                    rows.append(summary(json.loads(Path(case["answer"]).read_text())))
                    show(rows[-1])
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
