"""Time and memory of verifying Lemma 1 on many policies, and how the cost grows.

    python benchmarks/lemma1_scale.py [--threads 2] [--policies 100000]

Prints seconds and peak memory for the full number of policies of 1,000 actions, then seconds for
growing numbers of policies and of actions with the slope of log time against log size: 1 is linear.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np

from entropy_mech.theory import error_slopes, verify_lemma1


def seconds(policies: int, actions: int, threads: int) -> float:
    started = time.perf_counter()
    verify_lemma1(policies=policies, actions=(actions, actions), threads=threads)
    return time.perf_counter() - started


def slope(sizes: list[int], times: list[float]) -> float:
    return float(np.polyfit(np.log(sizes), np.log(times), 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--policies", type=int, default=100_000)
    arguments = parser.parse_args()

    started = time.perf_counter()
    frame = verify_lemma1(
        policies=arguments.policies, actions=(1000, 1000), threads=arguments.threads
    )
    took = time.perf_counter() - started
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # KiB on Linux
    slopes = error_slopes(frame)["slope"]
    print(
        f"{arguments.policies:,} policies x 1,000 actions x {frame['eta'].nunique()} step sizes, "
        f"{arguments.threads} threads: {took:.1f} s, peak {peak_gib:.2f} GiB, "
        f"slopes {slopes.iloc[0]:.4f} and {slopes.iloc[1]:.4f}"
    )
    for name, sizes, run in (
        ("policies", [2000, 4000, 8000, 16000], lambda n: seconds(n, 1000, arguments.threads)),
        ("actions", [1000, 2000, 4000, 8000], lambda n: seconds(2000, n, arguments.threads)),
    ):
        times = [run(size) for size in sizes]
        listed = ", ".join(f"{size:,}: {t:.2f} s" for size, t in zip(sizes, times, strict=True))
        print(f"by {name}: {listed}; slope {slope(sizes, times):.2f}")


if __name__ == "__main__":
    main()
