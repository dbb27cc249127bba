"""Section 4: what Clip-Cov, KL-Cov and clip-higher do to entropy, length and accuracy (Fig. 11)."""

from __future__ import annotations

import pandas as pd

from entropy_mech import published
from entropy_mech.findings.claims import Claim, over_ratios, over_replicates

METHODS = {
    "grpo": "GRPO",
    "clip_higher": "Clip-higher",
    "clip_cov": "Clip-Cov",
    "kl_cov": "KL-Cov",
}
_PAPER = {"grpo": "GRPO", "clip_higher": "Clip_higher", "clip_cov": "Clip_Cov", "kl_cov": "KL_Cov"}
_LAST_SHARE = 1 / 6
_INFINITY = float("inf")


def endings(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the means over each run's last sixth: entropy, response length, accuracy."""
    end = frame[frame["step"] >= (1 - _LAST_SHARE) * (frame["step"].max() + 1)]
    columns = {
        "entropy_nats": "entropy_nats",
        "response_length_mean": "length_tokens",
        "validation_accuracy": "accuracy",
        "validation_greedy_accuracy": "greedy_accuracy",
    }
    means = end.groupby(["run", "seed"], sort=False)[list(columns)].mean()
    return means.rename(columns=columns).reset_index()


def against_grpo(frame: pd.DataFrame, run: str, column: str) -> pd.DataFrame:
    """Return a method's endings beside GRPO's of the same seed: columns ours, grpo."""
    wide = endings(frame).pivot(index="seed", columns="run", values=column)
    return pd.DataFrame({"ours": wide[run], "grpo": wide["grpo"]})


def entropy_claim(frame: pd.DataFrame, run: str, *, least: float = 2.0) -> Claim:
    """Judge whether a method ends with at least ``least`` times GRPO's entropy."""
    pair = against_grpo(frame, run, "entropy_nats")
    return over_ratios(
        f"{METHODS[run]} ends with at least {least:g} times GRPO's entropy (ratio)",
        f"{_paper_ratio(run):.1f} (Qwen2.5-7B, Fig. 11, digitised)",
        pair["ours"] / pair["grpo"],
        holds=(least, _INFINITY),
        contradicted=(-_INFINITY, 1.0),
    )


def control_claims(frame: pd.DataFrame) -> list[Claim]:
    """Judge Fig. 11 on runs of the four methods, seed by seed against GRPO."""
    claims = [entropy_claim(frame, run) for run in ("clip_cov", "kl_cov", "clip_higher")]
    for run in ("clip_cov", "kl_cov"):
        pair = against_grpo(frame, run, "accuracy")
        claims.append(
            over_replicates(
                f"{METHODS[run]} ends with a higher accuracy than GRPO (difference, fraction)",
                f"{_paper_gain(run):+.3f} (Qwen2.5-7B, Fig. 11, digitised)",
                pair["ours"] - pair["grpo"],
                holds=(0.0, _INFINITY),
                contradicted=(-_INFINITY, 0.0),
            )
        )
    for run in ("clip_cov", "kl_cov"):
        pair = against_grpo(frame, run, "length_tokens")
        claims.append(
            over_ratios(
                f"{METHODS[run]} ends with longer responses than GRPO (ratio)",
                f"{_paper_ratio(run, 'response_length'):.2f} (Qwen2.5-7B, Fig. 11, digitised)",
                pair["ours"] / pair["grpo"],
                holds=(1.0, _INFINITY),
                contradicted=(-_INFINITY, 1.0),
            )
        )
    return claims


def _paper_end(run: str, metric: str) -> float:
    """The mean of the last five readings of a 7B curve of Fig. 11."""
    frame = published.load("fig11")
    chosen = (frame["model"] == "7B") & (frame["metric"] == metric)
    return float(frame[chosen & (frame["method"] == _PAPER[run])]["value"].tail(5).mean())


def _paper_ratio(run: str, metric: str = "entropy") -> float:
    return _paper_end(run, metric) / _paper_end("grpo", metric)


def _paper_gain(run: str) -> float:
    return (_paper_end(run, "test_acc_pct") - _paper_end("grpo", "test_acc_pct")) / 100
