"""Is a loss Clip-Cov or KL-Cov? What one optimizer step's gradients say of any implementation.

    report = examine(each_alone(my_loss), "kl_cov")
    print(report.text())

``my_loss(logp_new, logp_old, advantages, response_mask)`` takes B x T tensors and returns a scalar,
the mean over the tokens given. Set it up with ``FRACTION``, ``COEFFICIENT`` and ``BAND``, and PPO's
clip, where there is one, as released (epsilon 1). A trainer that chooses before it splits a step is
a function of all micro-batches of the step instead: ``Step``.

Which tokens a loss touches is read from its gradient: -A w / N on the others; 0 on those of
Clip-Cov; on those of KL-Cov the penalty's is added.
"""

from __future__ import annotations

import itertools
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from entropy_mech.config.files import make_config
from entropy_mech.errors import unknown_name
from entropy_mech.objectives import (
    Aggregation,
    choose_tokens,
    clip_cov_loss,
    kl_cov_loss,
    token_covariance,
)

FRACTION, COEFFICIENT, BAND = 0.1, 1.0, (0.3, 50.0)
METHODS = ("clip_cov", "kl_cov")
_ROWS, _COLUMNS, _PARTS = 64, 96, 4
_CLOSE = 2e-3  # of a gradient, relative


class Tokens(NamedTuple):
    """One micro-batch; all B x T."""

    logp_new: Tensor
    logp_old: Tensor
    advantages: Tensor
    response_mask: Tensor


Step = Callable[[Sequence[Tokens]], Tensor]


@dataclass(frozen=True)
class Finding:
    """What one check found, in a few words, and whether that is the paper's method."""

    check: str
    found: str
    right: bool


@dataclass(frozen=True)
class Report:
    """All findings on one loss."""

    method: str
    findings: tuple[Finding, ...]

    @property
    def conforms(self) -> bool:
        """Whether nothing departs from the paper's text."""
        return all(finding.right for finding in self.findings)

    def found(self, check: str) -> str:
        """Return what a check found; empty if it could not be made."""
        return next((f.found for f in self.findings if f.check == check), "")

    @property
    def wrong(self) -> list[str]:
        """The checks whose finding departs from the paper's text."""
        return [finding.check for finding in self.findings if not finding.right]

    def text(self) -> str:
        """Return a line a check."""
        lines = [f"{'ok  ' if f.right else 'BAD '}{f.check:13} {f.found}" for f in self.findings]
        return "\n".join([f"{self.method}: {'conforms' if self.conforms else 'departs'}", *lines])


def each_alone(loss: Callable[..., Any]) -> Step:
    """Return the step of a loss that sees one micro-batch: their means, weighted by tokens."""

    def step(parts: Sequence[Tokens]) -> Tensor:
        outs = [loss(*part) for part in parts]
        outs = [getattr(o, "loss", o[0] if isinstance(o, tuple) else o) for o in outs]
        counts = [int(part.response_mask.sum()) for part in parts]
        total = max(sum(counts), 1)
        return sum(out * count / total for out, count in zip(outs, counts, strict=True))

    return step


# -- Batches -------------------------------------------------------------------------------------


def _batch() -> Tokens:
    """Ragged responses whose means differ from quarter to quarter, so that the scope shows."""
    generator = torch.Generator().manual_seed(7)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    shape, quarter = (_ROWS, _COLUMNS), torch.arange(_ROWS).unsqueeze(1) * _PARTS // _ROWS
    lengths = torch.randint(_COLUMNS // 3, _COLUMNS, (_ROWS, 1), generator=generator)
    mask = torch.arange(_COLUMNS) < lengths
    advantages = 0.6 * noise(_ROWS, 1) + 1.0 * (quarter - 1.5)
    logp = -(0.3 + 0.5 * (3 - quarter) + 0.8 * noise(*shape).abs())
    moved = 0.03 + 0.12 * torch.rand(*shape, generator=generator)
    moved *= noise(*shape).sign()
    return Tokens(logp + moved, logp, advantages.expand(shape).contiguous(), mask)


def _parts(batch: Tokens, count: int) -> list[Tokens]:
    return [Tokens(*part) for part in zip(*(x.tensor_split(count) for x in batch), strict=True)]


class _Outcome(NamedTuple):
    """Loss, and its gradient to the log-probabilities, B x T."""

    loss: Tensor
    gradient: Tensor

    @property
    def finite(self) -> bool:
        return bool(self.loss.isfinite() and self.gradient.isfinite().all())


def _run(step: Step, batch: Tokens, parts: int = 1) -> _Outcome:
    """Take the step with a fixed random state."""
    leaf = batch.logp_new.detach().clone().requires_grad_()
    torch.manual_seed(0)
    loss = step(_parts(batch._replace(logp_new=leaf), parts))
    if not loss.requires_grad:
        return _Outcome(loss, torch.zeros_like(leaf))
    (gradient,) = torch.autograd.grad(loss, leaf, materialize_grads=True)
    return _Outcome(loss.detach(), gradient)


class _Touched(NamedTuple):
    """Where a gradient is not the policy gradient's, in what way, and the weight of a token."""

    mask: Tensor
    rest: Tensor
    scale: Tensor

    @property
    def count(self) -> int:
        return int(self.mask.sum())


def _touched(batch: Tokens, gradient: Tensor) -> _Touched:
    plain = -batch.advantages * (batch.logp_new - batch.logp_old).exp()
    ratio = torch.where(batch.response_mask & (plain.abs() > 1e-3), gradient / plain, torch.nan)
    rows = ratio.nanmedian(dim=1, keepdim=True).values
    scale = ratio.nanmedian()
    if ((rows / scale - 1).abs() < _CLOSE).float().mean() < 0.5:  # a mean over sequences
        scale = rows
    rest = torch.where(batch.response_mask, gradient / scale - plain, 0.0)
    return _Touched(rest.abs() > _CLOSE * plain.abs().clamp(min=1), rest, scale)


# -- Which tokens a method would choose ----------------------------------------------------------


@dataclass(frozen=True)
class _Choice:
    """One way to choose by covariance: its population, the policy, the unit of the share."""

    scope: str
    policy: str
    unit: float

    def agrees(self, method: str, batch: Tokens, touched: Tensor) -> bool:
        """Whether the tokens touched are what is so chosen."""
        rows = torch.arange(len(touched))
        groups = {"batch": rows * 0, "micro-batch": rows * _PARTS // len(rows), "response": rows}
        groups = groups[self.scope]
        logp = batch.logp_new if self.policy == "new" else batch.logp_old
        expected = right = 0
        for group in groups.unique():
            inside = batch.response_mask & (groups == group).unsqueeze(1)
            covariance = token_covariance(logp, batch.advantages, inside)
            quota = int(FRACTION * self.unit * int(inside.sum()) + 1e-9)
            if method == "clip_cov":
                inside &= (covariance >= BAND[0]) & (covariance <= BAND[1])
                quota = min(quota, int(inside.sum()))
            elif quota:
                inside &= covariance >= covariance[inside].topk(quota).values[-1] - 1e-5
            expected += quota
            right += min(int((touched & inside).sum()), quota)
        off = abs(int(touched.sum()) - expected) + expected - right
        # One more token a group is a minimum of one; rounding may exchange a few at the edge.
        minimum = len(groups.unique()) if self.unit < 1 else 0
        return expected > 0 and off <= max(2, 0.02 * expected) + minimum


_WAYS = [
    _Choice(scope, policy, unit)
    for unit in (1.0, 0.01)
    for scope in ("batch", "micro-batch", "response")
    for policy in ("new", "old")
]


# -- The checks ----------------------------------------------------------------------------------


def examine(step: Step, method: str) -> Report:
    """Return what a step of micro-batches does, check by check; ``method`` is what it should be.

    >>> from entropy_mech.objectives import kl_cov_loss
    >>> loss = lambda *batch: kl_cov_loss(*batch, penalty_fraction=FRACTION)
    >>> examine(each_alone(loss), "kl_cov").wrong          # it sees its own micro-batch alone
    ['scope', 'one_response']
    """
    if method not in METHODS:
        raise unknown_name("method", method, METHODS)
    batch = _batch()
    touched = _touched(batch, _run(step, batch, _PARTS).gradient)
    kind = _kind(batch, touched)
    ways = (way for way in _WAYS if touched.count and way.agrees(method, batch, touched.mask))
    choice = next(ways, None)
    whole = _run(step, batch).gradient
    exam = _Exam(step, method, batch, whole, touched, choice)
    findings = [Finding("method", kind, kind.partition(",")[0] == method), *_of_choice(exam)]
    findings += [Finding(name, *check(exam)) for name, check in _CHECKS.items()]
    return Report(method, tuple(findings))


@dataclass(frozen=True)
class _Exam:
    """A step, what it did to the batch in micro-batches and whole, and how tokens were chosen."""

    step: Step
    method: str
    batch: Tokens
    gradient: Tensor  # in one piece
    touched: _Touched  # in micro-batches
    choice: _Choice | None

    def chosen_over_the_batch(self, touched: Tensor) -> bool | None:
        """Whether other tokens touched are too; None where the first were not."""
        if self.choice is None or self.choice.scope != "batch":
            return None
        return self.choice.agrees(self.method, self.batch, touched)

    def same(self, gradient: Tensor) -> bool:
        """Whether a gradient differs by no more than another draw among the same tokens."""
        before, after = _touched(self.batch, self.gradient), _touched(self.batch, gradient)
        if self.chosen_over_the_batch(after.mask) is False:
            return False
        both = self.batch.response_mask & ~before.mask & ~after.mask
        bound = _CLOSE * float(gradient.abs().max())
        close = torch.allclose(self.gradient[both], gradient[both], rtol=1e-3, atol=bound)
        return close and abs(before.count - after.count) <= max(2, 0.02 * before.count)


def _of_choice(exam: _Exam) -> list[Finding]:
    """Say whether, among which tokens and in what unit tokens are chosen by covariance."""
    choice = exam.choice
    if choice is None:
        share = f"{exam.touched.count} of {int(exam.batch.response_mask.sum())} tokens"
        return [Finding("tokens", f"not those of the largest covariance ({share})", False)]
    unit = choice.unit == 1
    return [
        Finding("tokens", f"by covariance, under the {choice.policy} policy", True),
        Finding("scope", choice.scope, choice.scope == "batch"),
        Finding("share", "a fraction" if unit else "percent", unit),
    ]


def _kind(batch: Tokens, touched: _Touched) -> str:
    """Say what is done to the tokens touched."""
    if not touched.count:
        return "plain policy gradient: no token is touched"
    log_ratio = batch.logp_new - batch.logp_old
    plain, rest = -batch.advantages * log_ratio.exp(), touched.rest[touched.mask]
    if torch.allclose(rest, -plain[touched.mask], rtol=0, atol=_CLOSE * 10):
        return "clip_cov"
    for name, slope in (("|log ratio|", log_ratio.sign()), ("k3", log_ratio.expm1()),
                        ("log ratio, which pushes one way", torch.ones_like(log_ratio)),
                        ("squared log ratio", log_ratio)):  # fmt: skip
        beta = (rest / slope[touched.mask]).median().item()
        if torch.allclose(rest, beta * slope[touched.mask], rtol=0, atol=_CLOSE * 10):
            right = name in ("|log ratio|", "k3") and abs(beta - COEFFICIENT) < 0.02
            return f"{'kl_cov' if right else 'a penalty'}, {beta:.2g} x {name}"
    return "something else is done to tokens"


# Each of these returns what it found, and whether that is right.


def _one_response(exam: _Exam) -> tuple[str, bool]:
    """A response a micro-batch: with the batch's scope the choice is what it was."""
    alone = _touched(exam.batch, _run(exam.step, exam.batch, _ROWS).gradient)
    if exam.chosen_over_the_batch(alone.mask):
        return "as in one piece", True
    return f"{alone.count} tokens, all of covariance 0" if alone.count else "no token", False


def _least(exam: _Exam) -> tuple[str, bool]:
    """Eight tokens, of which the share is less than one."""
    small = Tokens(*(x[[0, -1], :4] for x in exam.batch))
    count = _touched(small, _run(exam.step, small).gradient).count
    found = {0: "none: floor", 1: "one, as released"}
    return found.get(count, f"{count} of 8 tokens"), count <= 1


def _mean(exam: _Exam) -> tuple[str, bool]:
    """The weight of a token, in one piece and in micro-batches."""
    scale = _touched(exam.batch, exam.gradient).scale
    even = torch.allclose(scale, exam.touched.scale, rtol=_CLOSE)
    found = "over the step" if even else "changes with the micro-batches"
    return found + ", a sequence at a time" * (scale.numel() > 1), even


def _padding(exam: _Exam) -> tuple[str, bool]:
    """Other numbers in the padding, and more of it."""
    mask, off = exam.batch.response_mask, ~exam.batch.response_mask
    values = zip((-9.0, -8.5, 40.0), exam.batch, strict=False)
    junk = [torch.where(off, fill, x) for fill, x in values]
    filled = _run(exam.step, Tokens(*junk, mask)).gradient
    wide = Tokens(*(torch.nn.functional.pad(x, (0, 37)) for x in (*junk, mask)))
    narrowed = _run(exam.step, wide).gradient[:, : mask.shape[1]]
    if filled[off].any() or narrowed[off].any():
        return "has a gradient", False
    if not exam.same(filled):
        return "its numbers change the gradient", False
    same = exam.same(narrowed)
    return "ignored" if same else "its width changes the gradient", same


def _infinite(exam: _Exam) -> tuple[str, bool]:
    """A word whose logit is -inf stands in the padding, so its log-probability is -inf."""
    off = ~exam.batch.response_mask
    logp = [x.masked_fill(off, -torch.inf) for x in exam.batch[:2]]
    after = _run(exam.step, Tokens(*logp, *exam.batch[2:]))
    if not after.finite:
        return "NaN", False
    same = exam.same(after.gradient)
    return "ignored" if same else "changes the gradient", same


def _empty(exam: _Exam) -> tuple[str, bool]:
    """No response token at all, and a micro-batch without any."""
    mask = exam.batch.response_mask
    later = torch.arange(len(mask)).unsqueeze(1) >= len(mask) // _PARTS
    for what, left, parts in (("alone", mask & False, 1), ("among others", mask & later, _PARTS)):
        try:
            out = _run(exam.step, exam.batch._replace(response_mask=left), parts)
        except Exception as error:  # whatever it raises is the finding
            return f"{what}: {type(error).__name__}", False
        if not out.finite:
            return f"{what}: NaN", False
        if out.gradient[~left].any():
            return f"{what}: has a gradient", False
    return "adds nothing", True


def _ratio_one(exam: _Exam) -> tuple[str, bool]:
    """The first update of a rollout: KL-Cov's penalty is at its corner, Clip-Cov acts."""
    still = exam.batch._replace(logp_old=exam.batch.logp_new)
    out = _run(exam.step, still)
    if not out.gradient.isfinite().all():
        return "NaN", False
    acts = _touched(still, out.gradient).count > 0
    return "acts" if acts else "plain policy gradient", acts == (exam.method == "clip_cov")


def _ties(exam: _Exam) -> tuple[str, bool]:
    """All covariances are equal: no more than the share is chosen."""
    up = (torch.arange(40) % 2 == 0).unsqueeze(1).expand(40, 50)
    logp = torch.where(up, -0.5, -2.5)
    batch = Tokens(logp + 0.1, logp, torch.where(up, 1.0, -1.0), torch.ones_like(up))
    unit = exam.choice.unit if exam.choice else 1.0
    quota = int(FRACTION * unit * batch.response_mask.sum())
    count = _touched(batch, _run(exam.step, batch).gradient).count
    right = abs(count - quota) <= 1
    return "exactly the share" if right else f"{count} for {quota}", right


def _ppo_clip(exam: _Exam) -> tuple[str, bool]:
    """Whether tokens lose their gradient at ratios 1.5 and 2.5 (0.67 and 0.4)."""
    batch, held = exam.batch, []
    for ratio in (1.5, 2.5):
        move = torch.tensor(ratio).log() * batch.advantages.sign()
        out = _run(exam.step, batch._replace(logp_new=batch.logp_old + move))
        up = batch.response_mask & (batch.advantages > 0.1)
        held.append((out.gradient[up] == 0).float().mean().item() > 0.5)
    if held[0]:
        return "below 1.5", False
    if held[1]:
        return "above 1.5: epsilon 1, as released", exam.method == "clip_cov"
    return "none", True


_CHECKS: dict[str, Callable[[_Exam], tuple[str, bool]]] = {
    "one_response": _one_response, "least": _least, "mean": _mean, "padding": _padding,
    "inf": _infinite, "empty": _empty, "ratio_1": _ratio_one, "ties": _ties, "ppo_clip": _ppo_clip,
}  # fmt: skip


# -- What is examined, and the table -------------------------------------------------------------


def of_package(method: str) -> Step:
    """Return this package's step: tokens are chosen before it is split into micro-batches."""
    settings = _loss_settings(method)

    def step(parts: Sequence[Tokens]) -> Tensor:
        whole = Tokens(*map(torch.cat, zip(*parts, strict=True)))
        logp = whole.logp_old.detach()
        chosen = choose_tokens(settings, logp, logp, *whole[2:], torch.rand(logp.shape))
        mean = Aggregation(token_count=max(int(whole.response_mask.sum()), 1))
        masks = chosen.split([len(part.logp_new) for part in parts])
        more = {"aggregation": mean, **settings.of_the_method()}
        outs = [
            _FUNCTIONS[method](*part, selected_mask=mask, **more)
            for part, mask in zip(parts, masks, strict=True)
        ]
        return sum(out.loss for out in outs)

    return step


def of_trl(method: str, scope: str = "rollout_batch") -> Step:
    """Return the step of ``entropy_mech.integrations.trl``: its trainer's own methods, no model."""
    from entropy_mech.integrations.trl import CovGRPOConfig, CovGRPOTrainer

    settings = _loss_settings(method).model_dump(
        include={"penalty_fraction", "penalty_coefficient", "clip_fraction", "cov_low", "cov_high"}
    )

    def step(parts: Sequence[Tokens]) -> Tensor:
        trainer = CovGRPOTrainer.__new__(CovGRPOTrainer)
        trainer.args = CovGRPOConfig(
            output_dir="unused", use_cpu=True, bf16=False, loss_type=method, report_to="none",
            gradient_accumulation_steps=len(parts), steps_per_generation=len(parts),
            num_iterations=2, covariance_scope=scope, **settings,
        )  # fmt: skip
        trainer.covariance_loss = trainer.args.covariance_loss()
        trainer.model = SimpleNamespace(training=True)
        trainer.state = SimpleNamespace(global_step=0)
        trainer.accelerator = SimpleNamespace(
            gather=lambda x: x, pad_across_processes=lambda x, dim: x, process_index=0,
            num_processes=1, reduce=lambda x, reduction: x,
        )  # fmt: skip
        trainer.num_iterations, trainer.beta, trainer.entropy_coef = 2, 0.0, 0.0
        trainer._metrics = {"train": defaultdict(list)}
        inputs = [
            {"logp": p.logp_new, "old_per_token_logps": p.logp_old, "advantages": p.advantages,
             "completion_mask": p.response_mask, "completion_ids": p.response_mask}
            for p in parts
        ]  # fmt: skip
        trainer._forward = lambda _, part, entropy: (part["logp"], torch.zeros_like(part["logp"]))
        trainer._buffered_inputs = inputs
        for trainer._step in (0, len(parts)):  # the second optimizer step, whose ratio is not 1
            trainer._begin_optimizer_step(len(parts))
        return sum(trainer._compute_loss(trainer.model, part) for part in inputs)

    return step


def of_verl(mode: str) -> Step:
    """Return the step of a policy loss in verl's registry, which sees one micro-batch at a time."""
    from entropy_mech.integrations.verl import own_policy_loss

    loss = own_policy_loss(
        mode, kl_cov_ratio=FRACTION, ppo_kl_coef=COEFFICIENT, clip_cov_ratio=FRACTION,
        clip_cov_lb=BAND[0], clip_cov_ub=BAND[1],
    )  # fmt: skip

    def one(logp_new: Tensor, logp_old: Tensor, advantages: Tensor, mask: Tensor) -> Tensor:
        return loss(logp_old, logp_new, advantages, mask.float(), max(int(mask.sum()), 1))

    return each_alone(one)


_FUNCTIONS = {"clip_cov": clip_cov_loss, "kl_cov": kl_cov_loss}
# By package that must be there: name in the table, method, how its step is made.
EXAMINED: dict[str, list[tuple[str, str, Callable[[], Step]]]] = {
    "torch": [(f"this package, `{m}`", m, partial(of_package, m)) for m in METHODS],
    "trl": [
        (f"in TRL, `{m}`" + f", `{s}`" * (s != "rollout_batch"), m, partial(of_trl, m, s))
        for m, s in itertools.product(METHODS, ("rollout_batch", "mini_batch", "micro_batch"))
    ],
    "verl": [(f"verl's own `{m}`", m, partial(of_verl, m)) for m in METHODS],
}  # fmt: skip
_IN_THE_TABLE = ("scope", "one_response", "share", "least", "padding", "inf", "empty", "ratio_1",
                 "ties", "ppo_clip")  # fmt: skip


def _loss_settings(method: str) -> Any:
    own = {
        "kl_cov": {"penalty_fraction": FRACTION, "penalty_coefficient": COEFFICIENT},
        "clip_cov": {"clip_fraction": FRACTION, "cov_low": BAND[0], "cov_high": BAND[1]},
    }
    return make_config({"loss": {"method": method, **own[method]}}).loss


def table_head() -> list[str]:
    """Return the first two lines of the table."""
    columns = ["loss", "is", "chosen under", *(name.replace("_", " ") for name in _IN_THE_TABLE)]
    return [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]


def table_row(name: str, report: Report) -> str:
    """Return a loss's line; what departs from the paper's text is in bold."""
    by = {finding.check: finding for finding in report.findings}
    cells = [name, by["method"].found, by["tokens"].found.rpartition("under ")[2]]
    for check in _IN_THE_TABLE:
        finding = by.get(check, Finding(check, "-", True))
        cells.append(finding.found if finding.right else f"**{finding.found}**")
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def main() -> int:
    """Print the lines of the table for the trainers that are installed."""
    lines = table_head()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for package, losses in EXAMINED.items():
            if find_spec(package):
                lines += [table_row(name, examine(make(), m)) for name, m, make in losses]
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
