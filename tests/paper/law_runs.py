"""Runs that look like those of the law's figures, made from known coefficients."""

import numpy as np
import pandas as pd

from entropy_mech.paper.published import model_of_run

STEPS = 60


def law_run(name, seed, *, a=0.6, b=1.3, noise=0.0, rate=8.0, first_nats=0.4, every=4):
    """Return one run: entropy falls exponentially to a tenth, accuracy is -a exp(H) + b."""
    stream = np.random.default_rng([seed, *name.encode()])
    t = np.arange(STEPS) / STEPS
    entropy = first_nats * (0.05 + 0.95 * np.exp(-rate * t))
    accuracy = b - a * np.exp(entropy) + noise * stream.standard_normal(STEPS)
    return pd.DataFrame(
        {
            "run": name,
            "seed": seed,
            "model": model_of_run(name).name,
            "step": np.arange(STEPS),
            "entropy_nats": entropy,
            "validation_accuracy": np.where(np.arange(STEPS) % every == 0, accuracy, np.nan),
        }
    )


def law_runs(coefficients, *, seeds=3, **more):
    """Return runs of several files; ``coefficients`` maps a file to (a, b)."""
    return pd.concat(
        [
            law_run(name, seed, a=a, b=b, **more)
            for name, (a, b) in coefficients.items()
            for seed in range(1, seeds + 1)
        ],
        ignore_index=True,
    )


def flat_run(name, seed):
    """Return a run whose entropy never moves: no law can be fitted."""
    return law_run(name, seed, rate=0.0)
