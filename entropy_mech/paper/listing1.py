"""Listing 1 written out, checked against the trainer's losses. Claims and drawing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from torch import Tensor

from entropy_mech.errors import bad_value, fraction_fix
from entropy_mech.objectives import (
    PolicyLoss,
    clip_cov_loss,
    group_advantages,
    kl_cov_loss,
    select_in_band,
    select_largest,
    token_covariance,
)
from entropy_mech.paper import listing1
from entropy_mech.paper.claims import Fact
from entropy_mech.paper.fig11 import METHODS
from entropy_mech.paper.style import METHOD_COLOURS

# -- The listing ---------------------------------------------------------------------------------
# Each takes the N response tokens of a batch as flat tensors, without padding, and returns the
# loss and the places of the tokens it touched.


def token_covariances(logp: Tensor, advantages: Tensor) -> Tensor:
    """Eq. 10: each token's product of deviations from the mean; N values."""
    return (logp - logp.mean()) * (advantages - advantages.mean())


def clip_cov(
    logp_new: Tensor,
    logp_old: Tensor,
    advantages: Tensor,
    lottery: Tensor,
    *,
    clip_fraction: float,
    cov_low: float,
    cov_high: float,
) -> tuple[Tensor, Tensor]:
    """Some tokens of high covariance, drawn at random, lose their gradient."""
    covariance = token_covariances(logp_new, advantages)
    band = ((cov_low < covariance) & (covariance < cov_high)).nonzero().flatten()
    count = int(clip_fraction * len(covariance))
    touched = band[lottery[band].argsort()[:count]]  # lottery: a random number for every token

    ratio = torch.exp(logp_new - logp_old)
    loss = -torch.minimum(ratio * advantages, ratio.clamp(0, 2) * advantages)
    loss[touched] = loss[touched].detach()
    return loss.mean(), touched


def kl_cov(
    logp_new: Tensor,
    logp_old: Tensor,
    advantages: Tensor,
    *,
    penalty_fraction: float,
    penalty_coefficient: float,
) -> tuple[Tensor, Tensor]:
    """The tokens of the highest covariance pay for moving, in either direction."""
    covariance = token_covariances(logp_new, advantages)
    count = int(penalty_fraction * len(covariance))
    touched = covariance.topk(count).indices

    loss = -torch.exp(logp_new - logp_old) * advantages
    loss[touched] = loss[touched] + penalty_coefficient * (logp_new - logp_old)[touched].abs()
    return loss.mean(), touched


# -- Tokens of a rollout to compare on -----------------------------------------------------------

_MOVE_NATS = 0.1  # how far log-probabilities are moved, so that ratios differ from 1


@dataclass(frozen=True)
class Settings:
    """The two methods' settings; fractions in [0, 1]."""

    clip_fraction: float
    cov_low: float
    cov_high: float
    penalty_fraction: float
    penalty_coefficient: float

    def __post_init__(self):
        for name in ("clip_fraction", "penalty_fraction"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise bad_value(name, value, fraction_fix(value))


@dataclass(frozen=True)
class TokenBatch:
    """The tokens of one rollout: B x T tensors, and random numbers of the same shape.

    Attributes:
        name: where they come from.
        logp_old: under the policy that sampled, nats.
        logp_new: the same moved a little at random, as an update would.
        advantages: constant along a response.
        response_mask: True for response tokens.
        lottery: uniform in [0, 1); the lowest win where tokens are drawn.

    """

    name: str
    logp_old: Tensor
    logp_new: Tensor
    advantages: Tensor
    response_mask: Tensor
    lottery: Tensor


def token_batches(tokens: pd.DataFrame) -> list[TokenBatch]:
    """Return the rollout of each seed of ``Report.tokens()``; a made-up one where it is empty."""
    if tokens.empty:
        return [_made_up()]
    batches = []
    for seed, part in tokens.groupby("seed"):
        shape = int(part["row"].max()) + 1, int(part["position"].max()) + 1
        where = part["row"].to_numpy(), part["position"].to_numpy()
        mask = np.zeros(shape, bool)
        logp, advantages = np.zeros((2, *shape), np.float32)
        mask[where], logp[where], advantages[where] = True, part["logp"], part["advantage"]
        name = f"rollout 0, seed {seed}"
        arrays = [torch.from_numpy(array) for array in (logp, advantages, mask)]
        batches.append(_batch(name, *arrays, seed=int(seed)))
    return batches


def select(
    method: str,
    batch: TokenBatch,
    logp: Tensor,
    rows: Tensor,
    settings: Settings,
    minimum_tokens: int = 0,
) -> Tensor:
    """Return the tokens that the library chooses among ``rows``, under ``logp``: rows x T, bool.

    ``method`` is ``clip_cov`` or ``kl_cov``; the rows are the covariance's whole population.
    """
    mask = batch.response_mask[rows]
    covariance = token_covariance(logp[rows], batch.advantages[rows], mask)
    if method == "kl_cov":
        return select_largest(
            covariance,
            mask,
            penalty_fraction=settings.penalty_fraction,
            minimum_tokens=minimum_tokens,
        )
    return select_in_band(
        covariance,
        mask,
        batch.lottery[rows],
        clip_fraction=settings.clip_fraction,
        cov_low=settings.cov_low,
        cov_high=settings.cov_high,
        minimum_tokens=minimum_tokens,
    )


def all_rows(batch: TokenBatch) -> Tensor:
    """Return the places of all responses of a batch."""
    return torch.arange(len(batch.response_mask))


def flat_tokens(batch: TokenBatch) -> dict[str, Tensor]:
    """Return the N response tokens without padding, by name; ``logp_new`` takes a gradient."""
    names = ("logp_new", "logp_old", "advantages", "lottery")
    flat = {name: getattr(batch, name)[batch.response_mask].clone() for name in names}
    flat["logp_new"].requires_grad_()
    return flat


def _made_up() -> TokenBatch:
    """8 responses each to 64 prompts; random lengths, log-probabilities and rewards."""
    generator = torch.Generator().manual_seed(0)
    logp = -torch.empty(512, 12).exponential_(generator=generator)
    lengths = torch.randint(4, 13, (512, 1), generator=generator)
    rewards = (torch.rand(64, 8, generator=generator) < 0.5).float()
    advantages = group_advantages(rewards).flatten()[:, None].expand(512, 12).contiguous()
    mask = torch.arange(12) < lengths
    return _batch("made up: the profile has no runs", logp, advantages, mask, seed=0)


def _batch(name: str, logp: Tensor, advantages: Tensor, mask: Tensor, *, seed: int) -> TokenBatch:
    generator = torch.Generator().manual_seed(seed)
    move = _MOVE_NATS * torch.randn(logp.shape, generator=generator)
    lottery = torch.rand(logp.shape, generator=generator, dtype=torch.float64)
    return TokenBatch(name, logp, logp + move, advantages, mask, lottery)


# -- Claims --------------------------------------------------------------------------------------

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


# -- Drawing -------------------------------------------------------------------------------------

_DRAWN = ("clip_cov", "kl_cov")


def overlaps(scopes: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the share of the rollout's choice that each scope chooses too, a bar a method.

    ``scopes`` is ``findings.listing1_check.scopes``'.
    """
    _bars(scopes, "overlap", ax)
    ax.set(ylim=(0, 1.05), ylabel="share of the rollout's choice")
    ax.set_title("Which tokens: agreement with the scope of the text")
    return ax


def counts(scopes: pd.DataFrame, ax: Axes) -> Axes:
    """Draw how many tokens each scope touches, a bar a method; a logarithmic axis."""
    _bars(scopes, "touched", ax)
    ax.set_yscale("symlog", linthresh=1)
    ax.set(ylim=(0, 3 * scopes["touched"].max()), ylabel="tokens touched (0, then log scale)")
    ax.get_legend().set_loc("upper right")
    ax.set_title("How many: the paper's fractions, at least one a batch as released")
    return ax


def _bars(scopes: pd.DataFrame, column: str, ax: Axes) -> None:
    wide = scopes.pivot(index="scope", columns="method", values=column)
    wide = wide.reindex(index=scopes["scope"].unique())
    for i, method in enumerate(_DRAWN):
        places = [place + 0.4 * (i - 0.5) for place in range(len(wide))]
        label = METHODS[method]
        bars = ax.bar(places, wide[label], width=0.38, color=METHOD_COLOURS[method], label=label)
        spec = "{:.0%}" if column == "overlap" else "{:.0f}"
        ax.bar_label(bars, [spec.format(v) for v in wide[label]], fontsize="x-small")
    names = [name.replace("micro_batch of ", "").replace("_", "\n") for name in wide.index]
    ax.set_xticks(range(len(wide)), names)
    ax.set_xlabel("scope: sequences in a micro-batch, mini-batch, rollout batch")
    ax.legend(frameon=False, fontsize="small", loc="upper left")
