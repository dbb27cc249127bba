"""Listing 1 written out, checked against the trainer's losses. Claims and drawing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from entropy_mech.errors import bad_value, fraction_fix
from entropy_mech.objectives import (
    clip_cov_loss,
    group_advantages,
    kl_cov_loss,
    select_in_band,
    select_largest,
    token_covariance,
)
from entropy_mech.paper import style
from entropy_mech.paper.claims import Fact
from entropy_mech.paper.fig11 import METHODS

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

_SETTINGS = {
    "clip_cov": ("clip_fraction", "cov_low", "cov_high"),
    "kl_cov": ("penalty_fraction", "penalty_coefficient"),
}
_MOVE_NATS = 0.1  # how far log-probabilities are moved, so that ratios differ from 1


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

    def of(self, method: str) -> dict[str, float]:
        """Return one method's settings, as the listing takes them."""
        return {name: getattr(self, name) for name in _SETTINGS[method]}

    def choose(
        self, method: str, batch: TokenBatch, logp: Tensor, parts: Iterable[Tensor], least: int = 0
    ) -> Tensor:
        """Return the tokens that the library chooses under ``logp``: B x T, bool.

        ``method`` is ``clip_cov`` or ``kl_cov``. Each of ``parts``, rows of the batch, is a
        population of its own for the covariance, of which at least ``least`` tokens are chosen.
        """
        selected, floor = torch.zeros_like(batch.response_mask), {"minimum_tokens": least}
        for rows in parts:
            mask = batch.response_mask[rows]
            covariance = token_covariance(logp[rows], batch.advantages[rows], mask)
            if method == "clip_cov":
                lots = batch.lottery[rows]
                found = select_in_band(covariance, mask, lots, **self.of(method), **floor)
            else:
                share = {"penalty_fraction": self.penalty_fraction}
                found = select_largest(covariance, mask, **share, **floor)
            selected[rows] = found
        return selected


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
        for method in _SETTINGS:
            flat, ours = flat_tokens(batch), batch.logp_new.clone().requires_grad_()
            loss, touched = _listing(method, flat, settings)
            found, mask = _library(method, ours, batch, settings), batch.response_mask
            loss.backward()
            found.loss.backward()
            rows.append(
                {
                    "batch": batch.name,
                    "method": METHODS[method],
                    "tokens": len(flat["logp_new"]),
                    "touched": len(touched),
                    "touched_by_both": int(found.selected_mask[mask][touched].sum()),
                    "loss_listing": loss.item(),
                    "loss_library": found.loss.item(),
                    "loss_of_touched": _left_out(flat, touched) if method == "clip_cov" else 0.0,
                    "gradient_gap": (flat["logp_new"].grad - ours.grad[mask]).abs().max().item(),
                }
            )
    return pd.DataFrame(rows)


def scopes(batches: list[TokenBatch], settings: Settings, *, least: int = 0) -> pd.DataFrame:
    """Return what each scope chooses under the policy that sampled, means over batches.

    Rows: method and scope (``micro_batch`` by sequences in one, ``mini_batch``: an eighth of the
    prompts, ``rollout_batch``). Columns: touched (tokens), share (of all), overlap (share of the
    rollout's choice that is chosen too; NaN where that is empty). ``least``: tokens that a
    population touches at the least.
    """
    rows = []
    for batch in batches:
        for method in _SETTINGS:
            whole = settings.choose(method, batch, batch.logp_old, [_all_rows(batch)], least)
            for scope, parts in _scopes_of(batch):
                touched = settings.choose(method, batch, batch.logp_old, parts, least)
                count, both = int(touched.sum()), int((touched & whole).sum())
                overlap = both / int(whole.sum()) if whole.any() else np.nan
                share = count / int(batch.response_mask.sum())
                rows.append((METHODS[method], scope, count, share, overlap))
    frame = pd.DataFrame(rows, columns=["method", "scope", "touched", "share", "overlap"])
    return frame.groupby(["method", "scope"], sort=False).mean().reset_index()


def listing_facts(
    batches: list[TokenBatch], settings: Settings, table: pd.DataFrame, by_scope: pd.DataFrame
) -> list[Fact]:
    """Return what the comparison and the scopes say, each true or false by computation.

    ``table`` and ``by_scope`` are those of ``comparison`` and ``scopes``.
    """
    found = by_scope.set_index(["method", "scope"])["overlap"]
    single = max(_single_sequences(batch) for batch in batches)
    inert = max(_gap_at_ratio_1(batch, settings) for batch in batches)
    return [
        *(_same(table[table["method"] == METHODS[m]], METHODS[m]) for m in _SETTINGS),
        *(_scope_fact(METHODS[method], found[METHODS[method]]) for method in _SETTINGS),
        Fact(
            "With one sequence a micro-batch every covariance is 0: Clip-Cov touches nothing",
            "users' reports on the released code (issues 14 and 20 there)",
            f"largest |covariance| {single:.1g}",
            single < _ROUNDING,
        ),
        Fact(
            "On the first update of a rollout (ratio 1) KL-Cov's gradient is the policy gradient's",
            "a user's report on the released code (issue 1 there)",
            f"largest difference {inert:.1g}",
            inert < _SAME,
        ),
    ]


def _scope_fact(method: str, overlap: pd.Series) -> Fact:
    micro = [overlap[f"micro_batch of {n}"] for n in MICRO_BATCHES]
    return Fact(
        f"{method}: the released scope, each micro-batch, chooses the tokens that the text's scope "
        "chooses, at 1, 2, 8 and 32 sequences (at least 95 % of them)",
        "text: the N tokens of the batch (Eqs. 11, 13); released code: each micro-batch",
        f"{', '.join(f'{share:.0%}' for share in micro)}; each mini-batch "
        f"{overlap['mini_batch']:.0%}",
        min(micro) >= 0.95,
    )


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
        touched == both and loss < _SAME and gap < _SAME,
    )


def _listing(method: str, flat: dict[str, Tensor], settings: Settings) -> tuple[Tensor, Tensor]:
    inputs = [flat[name] for name in ("logp_new", "logp_old", "advantages")]
    if method == "clip_cov":
        return clip_cov(*inputs, flat["lottery"], **settings.of(method))
    return kl_cov(*inputs, **settings.of(method))


def _library(method: str, logp_new: Tensor, batch: TokenBatch, settings: Settings):
    selected = settings.choose(method, batch, batch.logp_new, [_all_rows(batch)])
    inputs = logp_new, batch.logp_old, batch.advantages, batch.response_mask
    if method == "clip_cov":
        return clip_cov_loss(*inputs, selected_mask=selected)
    penalty = settings.penalty_coefficient
    return kl_cov_loss(*inputs, selected_mask=selected, penalty_coefficient=penalty)


def _all_rows(batch: TokenBatch) -> Tensor:
    return torch.arange(len(batch.response_mask))


def _scopes_of(batch: TokenBatch) -> Iterator[tuple[str, list[Tensor]]]:
    rows = _all_rows(batch)
    groups = rows.split(_RESPONSES)
    per_update = max(1, -(-len(groups) // _UPDATES))
    updates = [torch.cat(groups[i : i + per_update]) for i in range(0, len(groups), per_update)]
    for size in MICRO_BATCHES:
        yield f"micro_batch of {size}", [part for rows in updates for part in rows.split(size)]
    yield "mini_batch", updates
    yield "rollout_batch", [rows]


def _left_out(flat: dict[str, Tensor], touched: Tensor) -> float:
    """What the touched tokens add to the listing's mean: it keeps their value, Eq. 12 does not."""
    ratio = (flat["logp_new"] - flat["logp_old"]).exp().detach()
    terms = -torch.minimum(ratio * flat["advantages"], ratio.clamp(0, 2) * flat["advantages"])
    return (terms[touched].sum() / len(terms)).item()


def _single_sequences(batch: TokenBatch) -> float:
    """The largest |covariance| of batches that hold one sequence."""
    singles = zip(batch.logp_old, batch.advantages, batch.response_mask, strict=True)
    covariances = [token_covariance(*(row[None] for row in single)) for single in singles]
    return torch.cat(covariances).abs().max().item()


def _gap_at_ratio_1(batch: TokenBatch, settings: Settings) -> float:
    """What KL-Cov's penalty adds to the gradient while the policy has not moved."""
    flat = flat_tokens(batch)
    logp = flat["logp_old"].clone().requires_grad_()
    loss, _ = _listing("kl_cov", flat | {"logp_new": logp}, settings)
    policy = -(logp - flat["logp_old"]).exp() * flat["advantages"]
    with_penalty, without = (torch.autograd.grad(x, logp)[0] for x in (loss, policy.mean()))
    return (with_penalty - without).abs().max().item()


# -- Drawing -------------------------------------------------------------------------------------


def scopes_figure(by_scope: pd.DataFrame, released: pd.DataFrame) -> Figure:
    """Draw how much of the rollout's choice each scope finds, and how many tokens it touches.

    Both are ``scopes``': with the toy's fractions, and with the paper's and the released floor.
    """
    return style.panels([[partial(overlaps, by_scope), partial(counts, released)]], row_height_in=4)


def overlaps(by_scope: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the share of the rollout's choice that each scope chooses too, a bar a method."""
    _bars(by_scope, "overlap", "{:.0%}", ax)
    ax.set(ylim=(0, 1.05), ylabel="share of the rollout's choice")
    ax.set_title("Which tokens: agreement with the scope of the text")
    return ax


def counts(by_scope: pd.DataFrame, ax: Axes) -> Axes:
    """Draw how many tokens each scope touches, a bar a method; a logarithmic axis."""
    _bars(by_scope, "touched", "{:.0f}", ax)
    ax.set_yscale("symlog", linthresh=1)
    ax.set(ylim=(0, 3 * by_scope["touched"].max()), ylabel="tokens touched (0, then log scale)")
    ax.set_title("How many: the paper's fractions, at least one a batch as released")
    ax.get_legend().set_loc("upper right")
    return ax


def _bars(by_scope: pd.DataFrame, column: str, label: str, ax: Axes) -> None:
    names = by_scope["scope"].str.removeprefix("micro_batch of ").str.replace("_", "\n")
    palette = {METHODS[method]: style.METHOD_COLOURS[method] for method in _SETTINGS}
    sns.barplot(
        by_scope.assign(scope=names), x="scope", y=column, hue="method", palette=palette,
        saturation=1, ax=ax,
    )  # fmt: skip
    for bars in ax.containers:
        ax.bar_label(bars, fmt=label, fontsize="x-small")
    ax.set_xlabel("scope: sequences in a micro-batch, mini-batch, rollout batch")
    ax.legend(loc="upper left")
