"""Frames like ``Report.metrics()``: runs whose ends are known, with noise as real ones have."""

import numpy as np
import pandas as pd


def runs(ends, *, seeds=(1, 2, 3), steps=60, start_nats=0.6, noise=0.0):
    """Return runs that decay to given ends.

    ``ends``: run name to (entropy_nats, length_tokens, accuracy) at the end, the same for all
    seeds but for ``noise`` on the logarithm of the entropy and a tenth of it on the rest.
    """
    frames = []
    for number, (name, (entropy, length, accuracy)) in enumerate(ends.items()):
        for seed in seeds:
            rng = np.random.default_rng([number, seed])
            step = np.arange(steps)
            decay = np.exp(-12 * step / steps)
            shift = noise * rng.normal()
            wiggle = 1 + 0.1 * noise * rng.normal(size=(3, steps))
            h = (entropy * np.exp(shift) * (1 - decay) + start_nats * decay) * wiggle[0]
            r = (accuracy + 0.05 * shift) * (1 - decay) + 0.2 * decay
            frames.append(
                pd.DataFrame(
                    {
                        "run": name,
                        "seed": seed,
                        "profile": "toy",
                        "step": step,
                        "entropy_nats": h,
                        "response_length_mean": (length * (1 - decay) + 8 * decay) * wiggle[1],
                        "validation_accuracy": np.where(step % 4 == 0, r * wiggle[2], np.nan),
                        "validation_greedy_accuracy": np.where(step % 4 == 0, r, np.nan),
                        "selected_fraction": 0.05,
                    }
                )
            )
    return pd.concat(frames, ignore_index=True)


FOUR_METHODS = {
    "fig11_7b_grpo": (0.02, 10.0, 0.90),
    "fig11_7b_clip_higher": (0.03, 10.0, 0.90),
    "fig11_7b_clip_cov": (0.06, 11.0, 0.93),
    "fig11_7b_kl_cov": (0.01, 12.0, 0.87),
    "fig11_32b_grpo": (0.01, 14.0, 0.95),
    "fig11_32b_clip_higher": (0.02, 14.0, 0.95),
    "fig11_32b_clip_cov": (0.04, 15.0, 0.96),
    "fig11_32b_kl_cov": (0.10, 16.0, 0.97),
}


def covariance_runs(slope):
    rng = np.random.default_rng(0)
    frames = []
    for seed in range(1, 4):
        step = np.arange(100)
        c = np.exp(-step / 30) + 0.02 * rng.normal(size=100)
        frames.append(
            pd.DataFrame(
                {
                    "run": "on_policy",
                    "seed": seed,
                    "step": step,
                    "group_covariance_theorem1": c,
                    "entropy_change_nats": -slope * c + 0.02 * rng.normal(size=100),
                    "group_covariance_theorem1_accuracy_1_of_8": 0.1 * c,
                    "group_covariance_theorem1_accuracy_4_of_8": 0.2 * c,
                    "group_covariance_theorem1_accuracy_7_of_8": 0.3 * c,
                }
            )
        )
    return pd.concat(frames, ignore_index=True)
