"""Listing 1 against the trainer's losses, and what the scope of the covariance changes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from entropy_mech.findings import listing1
from entropy_mech.findings.claims import Fact
from entropy_mech.findings.control import METHODS
from entropy_mech.findings.listing1_tokens import (
    Settings,
    TokenBatch,
    all_rows,
    flat_tokens,
    select,
)
from entropy_mech.objectives import PolicyLoss, clip_cov_loss, kl_cov_loss, token_covariance

MICRO_BATCHES = (1, 2, 8, 32)
_UPDATES, _RESPONSES = 8, 8
_SAME = 1e-6
_ROUNDING = 1e-5  # of a product of deviations whose mean is taken in float32


def comparison(batches: list[TokenBatch], settings: Settings) -> pd.DataFrame:
    """Return Listing 1 beside the library on the same tokens, a row a batch and method.

    Columns: batch, method, tokens (N), touched (by the listing), touched_by_both, loss_listing,
    loss_library, loss_of_touched (their share of the library's sum left out: Clip-Cov only),
    gradient_gap (largest difference over the tokens).
    """
    rows = []
    for batch in batches:
        for method in ("clip_cov", "kl_cov"):
            theirs, ours = flat_tokens(batch), batch.logp_new.clone().requires_grad_()
            loss, touched = _listing(method, theirs, settings)
            loss.backward()
            found = _library(method, ours, batch, settings)
            found.loss.backward()
            mask = batch.response_mask
            chosen = torch.zeros(int(mask.sum()), dtype=torch.bool)
            chosen[touched] = True
            left_out = _left_out(batch, touched) if method == "clip_cov" else 0.0
            rows.append(
                {
                    "batch": batch.name,
                    "method": METHODS[method],
                    "tokens": len(chosen),
                    "touched": len(touched),
                    "touched_by_both": int((chosen & found.selected_mask[mask]).sum()),
                    "loss_listing": loss.item(),
                    "loss_library": found.loss.item(),
                    "loss_of_touched": left_out,
                    "gradient_gap": (theirs["logp_new"].grad - ours.grad[mask]).abs().max().item(),
                }
            )
    return pd.DataFrame(rows)


def scopes(
    batches: list[TokenBatch], settings: Settings, *, minimum_tokens: int = 0
) -> pd.DataFrame:
    """Return what each scope chooses under the policy that sampled, means over batches.

    Rows: method and scope (``micro_batch`` by sequences in one, ``mini_batch``: an eighth of the
    prompts, ``rollout_batch``). Columns: touched (tokens), share (of all), overlap (share of the
    rollout's choice that is chosen too; NaN where that is empty).
    """
    rows = []
    for batch in batches:
        for method in ("clip_cov", "kl_cov"):
            whole = _chosen(method, batch, [all_rows(batch)], settings, minimum_tokens)
            for scope, parts in _scopes_of(batch):
                chosen = _chosen(method, batch, parts, settings, minimum_tokens)
                both, reference = int((chosen & whole).sum()), int(whole.sum())
                rows.append(
                    {
                        "method": METHODS[method],
                        "scope": scope,
                        "touched": int(chosen.sum()),
                        "share": int(chosen.sum()) / int(batch.response_mask.sum()),
                        "overlap": both / reference if reference else np.nan,
                    }
                )
    frame = pd.DataFrame(rows)
    return frame.groupby(["method", "scope"], sort=False).mean().reset_index()


def listing_facts(
    batches: list[TokenBatch], settings: Settings, table: pd.DataFrame, by_scope: pd.DataFrame
) -> list[Fact]:
    """Return what the comparison and the scopes say, each true or false by computation.

    ``table`` and ``by_scope`` are those of ``comparison`` and ``scopes``.
    """
    facts = [
        _same(table[table["method"] == METHODS[m]], METHODS[m]) for m in ("clip_cov", "kl_cov")
    ]
    found = by_scope.set_index(["method", "scope"])["overlap"]
    for method in ("clip_cov", "kl_cov"):
        part = found[METHODS[method]]
        facts.append(
            Fact(
                f"{METHODS[method]}: the released scope, each micro-batch, chooses the tokens that "
                "the text's scope chooses, at 1, 2, 8 and 32 sequences (at least 95 % of them)",
                "text: the N tokens of the batch (Eqs. 11, 13); released code: each micro-batch",
                ", ".join(f"{part[_name(n)]:.0%}" for n in MICRO_BATCHES)
                + f"; each mini-batch {part['mini_batch']:.0%}",
                all(part[_name(n)] >= 0.95 for n in MICRO_BATCHES),
            )
        )
    single = max(_single_sequences(batch) for batch in batches)
    facts.append(
        Fact(
            "With one sequence a micro-batch every covariance is 0: Clip-Cov touches nothing",
            "users' reports on the released code (issues 14 and 20 there)",
            f"largest |covariance| {single:.1g}",
            single < _ROUNDING,
        )
    )
    inert = max(_gap_at_ratio_1(batch, settings) for batch in batches)
    facts.append(
        Fact(
            "On the first update of a rollout (ratio 1) KL-Cov's gradient is the policy gradient's",
            "a user's report on the released code (issue 1 there)",
            f"largest difference {inert:.1g}",
            inert < _SAME,
        )
    )
    return facts


def _same(part: pd.DataFrame, name: str) -> Fact:
    touched, both = part["touched"].sum(), part["touched_by_both"].sum()
    loss = (part["loss_listing"] - part["loss_library"] - part["loss_of_touched"]).abs().max()
    gap = part["gradient_gap"].max()
    kept = " (but for the touched tokens' value, which the listing keeps)" * (name == "Clip-Cov")
    return Fact(
        f"{name}: Listing 1 and the trainer's loss touch the same tokens, with one loss{kept} and "
        "one gradient",
        "one method, two programs (section 4.2)",
        f"{both} of {touched} tokens, loss within {loss:.1g}, gradient within {gap:.1g}",
        bool(touched == both and loss < _SAME and gap < _SAME),
    )


def _listing(method: str, flat: dict[str, Tensor], settings: Settings) -> tuple[Tensor, Tensor]:
    inputs = flat["logp_new"], flat["logp_old"], flat["advantages"]
    if method == "clip_cov":
        return listing1.clip_cov(
            *inputs,
            flat["lottery"],
            clip_fraction=settings.clip_fraction,
            cov_low=settings.cov_low,
            cov_high=settings.cov_high,
        )
    return listing1.kl_cov(
        *inputs,
        penalty_fraction=settings.penalty_fraction,
        penalty_coefficient=settings.penalty_coefficient,
    )


def _library(method: str, logp_new: Tensor, batch: TokenBatch, settings: Settings) -> PolicyLoss:
    inputs = logp_new, batch.logp_old, batch.advantages, batch.response_mask
    rows = all_rows(batch)
    chosen = select(method, batch, batch.logp_new, rows, settings, minimum_tokens=0)
    if method == "clip_cov":
        return clip_cov_loss(*inputs, selected_mask=chosen)
    return kl_cov_loss(
        *inputs, selected_mask=chosen, penalty_coefficient=settings.penalty_coefficient
    )


def _chosen(
    method: str, batch: TokenBatch, parts: list[Tensor], settings: Settings, minimum_tokens: int
) -> Tensor:
    """The tokens that are chosen when each part is a population of its own; B x T."""
    chosen = torch.zeros_like(batch.response_mask)
    for rows in parts:
        chosen[rows] = select(method, batch, batch.logp_old, rows, settings, minimum_tokens)
    return chosen


def _scopes_of(batch: TokenBatch) -> Iterator[tuple[str, list[Tensor]]]:
    rows = all_rows(batch)
    groups = rows.split(_RESPONSES)
    per_update = max(1, -(-len(groups) // _UPDATES))
    updates = [torch.cat(groups[i : i + per_update]) for i in range(0, len(groups), per_update)]
    for size in MICRO_BATCHES:
        yield _name(size), [part for update in updates for part in update.split(size)]
    yield "mini_batch", updates
    yield "rollout_batch", [rows]


def _name(sequences: int) -> str:
    return f"micro_batch of {sequences}"


def _left_out(batch: TokenBatch, touched: Tensor) -> float:
    """What the touched tokens add to the listing's mean: it keeps their value, Eq. 12 does not."""
    flat = flat_tokens(batch)
    ratio = (flat["logp_new"] - flat["logp_old"]).exp().detach()
    terms = -torch.minimum(ratio * flat["advantages"], ratio.clamp(0, 2) * flat["advantages"])
    return (terms[touched].sum() / len(terms)).item()


def _single_sequences(batch: TokenBatch) -> float:
    largest = 0.0
    for rows in all_rows(batch).split(1):
        mask = batch.response_mask[rows]
        covariance = token_covariance(batch.logp_old[rows], batch.advantages[rows], mask)
        largest = max(largest, covariance.abs().max().item())
    return largest


def _gap_at_ratio_1(batch: TokenBatch, settings: Settings) -> float:
    flat = flat_tokens(batch)
    gradients = []
    for coefficient in (settings.penalty_coefficient, 0.0):
        logp_new = flat["logp_old"].clone().requires_grad_()
        loss, _ = listing1.kl_cov(
            logp_new,
            flat["logp_old"],
            flat["advantages"],
            penalty_fraction=settings.penalty_fraction,
            penalty_coefficient=coefficient,
        )
        gradients.append(torch.autograd.grad(loss, logp_new)[0])
    return (gradients[0] - gradients[1]).abs().max().item()
