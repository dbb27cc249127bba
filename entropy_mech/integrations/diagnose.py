"""The entropy doctor: why a run's entropy, or its reward, does what it does.

From a log, and a configuration where there is one, causes are named, each with what was seen, where
it is described, and what to change. Where nothing is seen nothing is said. Every threshold is here,
with its reason.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from entropy_mech.errors import UserError
from entropy_mech.integrations.trainer_settings import Settings, read_settings
from entropy_mech.law.dialects import DIALECTS, LENGTHS, matching
from entropy_mech.law.log import read_metrics, run_of
from entropy_mech.law.report import course_of
from entropy_mech.law.table import Table

# -- Thresholds ----------------------------------------------------------------------------------

FEW_RESPONSES = 16  # in a micro-batch: from 8 to 32, 42 to 62 % of the tokens are the batch's
PERCENT_FROM = 0.02  # the paper's largest share, 2e-3, times ten; in percent it reads 0.2
MOST_TOUCHED = 1_500  # tokens an update: the paper touches 100 to 1,000, in percent a hundredfold
A_TENTH, LEAST_TOUCHED = 0.1, 100  # a tenth of the tokens, where a hundredth would touch as many
MOST_LAG = 8  # updates: the paper's last of eight on one rollout is seven behind
MOST_UPDATES = 32  # four times the paper's
MOST_EPOCHS = 8  # of the public runs on one rollout, those of 2 and 4 epochs hold, 8 and 16 do not
GAP_NATS = 0.1  # |log-probability, sampler less trainer|: kernels in bfloat16 differ by about 0.01
GAP_PROBABILITY = 0.05  # the same of probabilities
GAP_GROWTH = 5.0  # of the first tenth: kernels differ always alike, a stale sampler ever more
OLD_NEW_NATS = 0.1  # KL(old || new) in a rollout: five times a ratio of 1.2 everywhere
# A bonus alpha under which entropy cannot fall below this share of its start. In Fig. 9 0.005 holds
# it and 0.01 explodes. In the toy world rewards outweigh 0.05: with and without its gradient 0.37
# nats become 0.01; 0.3 holds.
BONUS = ((0.005, 0.1), (0.01, 0.2))
TOY_BONUS = ((0.3, 0.3),)
LEAST_NOISE = 0.5  # nats: ten times a spent entropy, raised on purpose, is no explosion
SPENT = 0.15  # of the first entropy: by then falling public and toy runs have 0.6 of their gain
HELD_BACK = 0.5  # of the gain
LEAST_VALIDATIONS = 8  # with fewer, performance is the training reward, as in law_in_the_wild
ALWAYS = 0.97  # of the best reward, from the first step on
MOST_ENTROPY = 12.5  # nats: above the logarithm of any vocabulary in use (262,144 words: 12.48)
TOGETHER = 0.9  # correlation of entropy's moves with those of a share of tokens; in toy runs 0.73
ALIKE = 0.6  # the same with the mean length over the longest
PROPORTIONAL = (0.75, 1.33)  # per cent of entropy for a per cent of tokens that are no padding
FEWEST = 5  # steps that say something
FEWEST_MOVES = 20


_TEXTS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Cause:
    """A cause that was seen, by name, with the evidence; its texts are in ``diagnose.toml``."""

    name: str
    evidence: tuple[str, ...]

    @property
    def source(self) -> str:
        """Where it is described."""
        return _TEXTS[self.name]["source"]

    @property
    def fix(self) -> str:
        """What to change."""
        return _TEXTS[self.name]["fix"]

    def __str__(self) -> str:
        seen = [f"  seen: {one}" for one in self.evidence]
        lines = [f"{self.name}: {_TEXTS[self.name]['sentence']}", *seen]
        return "\n".join([*lines, f"  source: {self.source}", f"  fix: {self.fix}"])


@dataclass(frozen=True)
class Diagnosis:
    """The causes found, and what was read to look for them."""

    causes: tuple[Cause, ...]
    read: tuple[str, ...]

    def text(self) -> str:
        """Return lines for a terminal."""
        found = [str(cause) for cause in self.causes]
        none = f"no cause found ({len(_TEXTS)} were looked for)"
        return "\n".join([*self.read, *(found or [none])])


# -- What a log has ------------------------------------------------------------------------------


@dataclass
class Log:
    """The columns of one run, and its entropy, validation and training reward where they are.

    Series are in training order, without the steps at which nothing was measured. ``read`` says
    which columns were taken, or why there is no entropy.
    """

    table: Table
    read: str
    entropy_name: str = ""
    entropy: np.ndarray = field(default_factory=lambda: np.zeros(0))
    performance: pd.DataFrame = field(default_factory=pd.DataFrame)
    reward_name: str = ""

    def column(self, *patterns: str) -> tuple[str, np.ndarray]:
        """Return the first column whose whole name matches, with its numbers; "" if none does."""
        found = matching(self.table.measured(), patterns)
        found = [name for name in found if np.isfinite(self.table.numbers(name)).any()]
        if not found:
            return "", np.zeros(0)
        values = self.table.numbers(found[0])
        return found[0], values[np.isfinite(values)]

    def both(self, one: str, other: str) -> np.ndarray:
        """Return two columns where both are measured, 2 x rows."""
        pair = np.stack([self.table.numbers(one), self.table.numbers(other)])
        return pair[:, np.isfinite(pair).all(axis=0)]

    @property
    def mean_tokens(self) -> float | None:
        """Tokens of a response, over the run."""
        _, lengths = self.column(*LENGTHS)
        return float(lengths.mean()) if len(lengths) else None


_ENTROPIES = [pattern for dialect in DIALECTS for pattern in dialect.entropies]
_REWARDS = [pattern for dialect in DIALECTS for pattern in dialect.rewards]


def read_run(path: str | Path, **columns: str) -> Log:
    """Return a log; without an entropy, or one that is no number, only the other columns."""
    table = read_metrics(path, columns.get("run", ""))
    try:
        found = run_of(table, **columns)
        reward = matching(found.table.measured(), _REWARDS)
        few = found.every_step["performance"].count() < LEAST_VALIDATIONS
        if few and reward and not columns.get("performance"):
            found = run_of(table, **columns | {"performance": reward[0]})
    except UserError as error:
        if re.search(r"--run|unknown|could be the", str(error)):
            raise
        log = Log(table, f"entropy's course is not judged: {error}")
        log.entropy_name, log.entropy = log.column(*_ENTROPIES)
    else:
        entropy = found.every_step["entropy_nats"].dropna().to_numpy()
        taken = found.columns_taken()
        log = Log(found.table, taken, found.entropy_column, entropy, found.frame)
    log.reward_name = log.column(*_REWARDS)[0]
    return log


# -- Causes --------------------------------------------------------------------------------------
# Each check yields the causes that it sees in a log and its settings. A quantity that is not known
# is None, and nothing is said of it.

_PPO = ("ppo_clip", "vanilla", "ppo", "regular", "dual_clip", "grpo", "dr_grpo", "dapo", "bnpo")
_CLIPPED = (
    r"(?:.+/)?ppo_clipped_fraction",
    r"clip_ratio/high_mean",
    r"(?:.+/)?pg_clipfrac",
    r"(?!.*length)(?:.+/)?(?:clip_?frac(?:tion)?|ppo_clip_ratio|clip_ratio)(?:/mean|_avg)?",
    "selected_fraction",
)


def _one_update(log: Log, settings: Settings) -> Iterator[Cause]:
    if settings.updates is None:
        return
    one = settings.updates <= 1
    seen = f"one optimizer step a rollout: {settings.said(*Settings.UPDATES)}"
    low, high = settings.clip_range
    if settings.method == "kl_cov" and (one or settings.get("coefficient") == 0):
        name, kl = log.column(r"(?:.+/)?(?:kl_old_new_nats|ppo_kl)")
        evidence = (seen if one else settings.said("coefficient"),)
        if one and len(kl) and np.abs(kl).max() < 1e-8:
            evidence += (f"{name} is 0 at every step: the policy never left the one that sampled",)
        yield Cause("inert_kl_cov", evidence)
    if None in (low, high) or not low < high or settings.method.lower() not in _PPO:
        return
    name, share = log.column(*_CLIPPED)
    never = len(share) >= FEWEST_MOVES and np.abs(share).max() == 0
    if never or (one and not (len(share) and np.abs(share).max() > 1e-4)):
        evidence = (seen,) if one else ()
        evidence += (f"{name} is 0 at every step",) if never else ()
        yield Cause("inert_clip_higher", (settings.said(*Settings.CLIP), *evidence))


def _micro_batch(log: Log, settings: Settings) -> Iterator[Cause]:
    if not settings.method.endswith("_cov") or settings.scope != "micro_batch":
        return
    responses = settings.micro_responses(log.mean_tokens)
    if responses is None or responses >= FEW_RESPONSES:
        return
    what = f"{responses:g} response{'s' * (responses > 1)} in a micro-batch"
    worse = ", so every covariance is exactly 0" if responses <= 1 else ""
    said = settings.said("method", "scope", "micro", "dynamic", "micro_tokens")
    yield Cause("micro_batch_scope", (f"{what}{worse}: {said}",))


def _percent(log: Log, settings: Settings) -> Iterator[Cause]:
    if settings.method.endswith("_cov"):
        share = settings.get(settings.fraction)
        tokens = log.mean_tokens or settings.get("response_tokens")
        touched = None
        if settings.updates and settings.responses and tokens:
            epochs = settings.get("epochs") or 1
            touched = share * settings.responses * tokens * epochs / settings.updates
        limits = ((PERCENT_FROM, MOST_TOUCHED), (A_TENTH, LEAST_TOUCHED))
        many = any(share >= x and (touched is None or touched > n) for x, n in limits)
        if share > 1 or many:
            about = f": about {touched:,.0f} tokens an update" if touched and share <= 1 else ""
            yield _in_percent(settings.said(settings.fraction) + about, share)
    _, high = settings.clip_range
    if settings.method.lower() in _PPO and high is not None and 5 <= high <= 100:
        yield _in_percent(settings.said(*Settings.CLIP), high)


def _in_percent(seen: str, value: float) -> Cause:
    papers = "the paper's are 2e-4 to 2e-3 and 0.2 to 0.28"
    return Cause("fraction_in_percent", (f"{seen}, which is {100 * value:g} %; {papers}",))


def _temperature(log: Log, settings: Settings) -> Iterator[Cause]:
    evidence = []
    given, said = settings.get("temperature"), settings.said("temperature")
    if given is None and not settings.trainer:
        said, values = log.column(r"(?:rollout|sampling|train)/temperature")
        given = float(np.median(values)) if len(values) else None
    if given is not None and abs(given - 1) > 1e-6:
        where = settings.trainer or "most trainers"
        evidence.append(f"{said} ({given:g}), and {where} divides logits by it before the entropy")
    names = [n for n in log.table.measured() if re.search("entropy", n, re.IGNORECASE)]
    scaled = [n for n in names if re.search(r"scaled|temper|(?:^|[/_.])tau", n, re.IGNORECASE)]
    raw = [n for n in names if re.search(r"(?:^|[/_.])raw|unscaled|untempered", n, re.IGNORECASE)]
    named = [n for n in scaled if n not in raw]
    scaled = named or [n for n in matching(names, _ENTROPIES) if raw and n not in raw]
    for name in scaled:
        for other in set(names) - set(scaled):
            one, two = map(np.median, log.both(name, other))
            if one == one and abs(one - two) > 0.05 * max(abs(one), abs(two)):
                where = f"where {other!r} is {two:.3g} (medians)"
                evidence.append(f"{name!r} is {one:.3g} nats {where}")
    if not raw and not evidence and log.entropy_name in named:
        evidence.append(f"the entropy read is {log.entropy_name!r}")
    if evidence:
        yield Cause("temperature_scaled_entropy", tuple(evidence))


_OTHER_TOKENS = (
    r"(?:.+/)?(?:pad(?:ding|ded)?|tool|observation|obs|env(?:ironment)?|feedback)s?[/_]?"
    r"(?:response|output|call)?s?[/_]?(?:token|frequency|fraction|frac|share|ratio|length)s?"
    r"(?:[/_](?:mean|avg|fraction|frac|share|ratio|count))*"
)
_UNMASKED = r"(?:(?:no_?)?mask|ignore)_?\w*(?:tool|obs|env|state|pad|feedback|info)\w*"
_MASKING = r"\w*(?:tool|obs\w*|env\w*|state|pad\w*|feedback|info\w*)_?(?:loss_?)?mask(?:ing|ed)?"
_TRAINED_ON = r"train_on_\w*(?:tool|obs|env|feedback|pad|prompt)\w*|\w*(?:count|include)_pad\w*"
_WIDEST = ("completions/max_length", "response_length/max", "response_length_max")


def _other_tokens(log: Log, settings: Settings) -> Iterator[Cause]:
    evidence = [
        f"{key} = {value}"
        for key, value in settings.each(f"{_UNMASKED}|{_MASKING}")
        if value is False and not key.rpartition(".")[2].startswith("no")
    ]
    evidence += [f"{key} = {value}" for key, value in settings.each(_TRAINED_ON) if value is True]
    for name in matching(log.table.measured(), [_OTHER_TOKENS]):
        evidence += _moves_with(log, name, log.table.numbers(name))
    length, widest = log.column(*LENGTHS)[0], log.column(*_WIDEST)[0]
    if length:
        width = log.table.numbers(widest) if widest else 1.0
        with np.errstate(divide="ignore", invalid="ignore"):
            filled = log.table.numbers(length) / width
        name = f"{length} / {widest}" if widest else length
        said = f"the share of tokens that are no padding ({name})"
        evidence += _moves_with(log, said, filled, ALIKE if widest else TOGETHER)
    counted, _ = log.column(
        r"(?:.+/)?(?:loss|masked|trained|counted|entropy)_?tokens(?:/mean|_count)?",
        r"(?:.+/)?(?:tokens?_in_loss|num_loss_tokens|response_tokens)",
    )
    if length and counted and settings.responses and counted != "trained_tokens":
        tokens, mean = log.both(counted, length)
        expected = mean * settings.responses
        if len(tokens) >= FEWEST and np.median(tokens / expected) > 1.05:
            more = 100 * (np.median(tokens / expected) - 1)
            evidence.append(f"{counted} is {more:.0f} % above {length} x {settings.responses:g}")
    if evidence:
        yield Cause("other_tokens_counted", tuple(evidence))


def _moves_with(log: Log, name: str, share: np.ndarray, least: float = 0.0) -> list[str]:
    """Say so if entropy moves from step to step as a share of tokens does.

    ``least``: the correlation that is asked for where both must move by the same percentage, as
    they do if what is not in the share counts as 0.
    """
    if not log.entropy_name:
        return []
    pair = np.stack([log.table.numbers(log.entropy_name), share])
    pair = pair[:, np.isfinite(pair).all(axis=0) & (pair > 0).all(axis=0)]
    moves = np.diff(np.log(pair), axis=1)
    if moves.shape[1] < FEWEST_MOVES or moves[1].std() < 1e-3 or not moves[0].std():
        return []
    r = np.corrcoef(moves)[0, 1]
    slope = r * moves[0].std() / moves[1].std()
    alike = PROPORTIONAL[0] <= slope <= PROPORTIONAL[1]
    if not (r >= least and alike if least else abs(r) >= TOGETHER):
        return []
    return [
        f"step by step, entropy moves with {name}: correlation {r:.2f}, {slope:.2f} % for 1 %, "
        f"over {moves.shape[1]} steps"
    ]


# The distance of sampler and trainer, by what is tolerated of it.
_GAPS = (
    (GAP_NATS, r"(?:.+/)?(?:logp|logprob|log_prob)s?(?:_abs)?_(?:gap|diff|difference)"
               r"(?:[/_](?:mean|avg|nats))*"),
    (GAP_NATS, r"(?:.+/)?sampling_logp_difference/mean"),
    (GAP_NATS, r"(?:.+/)?train_rollout_logprob_abs_diff"),
    (GAP_NATS, r"(?:.+/)?(?:log_ppl_abs_diff|mismatch_kl|vllm_kl|rollout_corr/(?:k3_)?kl)"
               r"(?:/all)?(?:/mean)?"),
    (GAP_PROBABILITY, r"(?:.+/)?rollout(?:_actor)?_probs_diff(?:/|_)(?:mean|avg)"),
)  # fmt: skip
_LAGS = (
    r"(?:.+/)?(?:staleness|off_policy(?:_level|_steps|ness)?|(?:policy|version|weight)_(?:lag|age)"
    r"|async_level)(?:[/_](?:mean|avg|max|steps|updates|versions))*"
)
_MOST_LAGS = (
    r"(?:max_)?(?:staleness|off_?policy(?:ness|_steps)?|head_offpolicyness|async_level)"
    r"(?:_threshold|_steps|_limit)?"
)


def _stale(log: Log, settings: Settings) -> Iterator[Cause]:
    evidence = [seen for limit, pattern in _GAPS for seen in _gap(log, limit, pattern)]
    name, lag = log.column(_LAGS)
    if len(lag) and np.median(lag) > MOST_LAG:
        evidence.append(f"{name} is {np.median(lag):g} (median)")
    name, moved = log.column(r"(?:.+/)?(?:kl_old_new_nats|ppo_kl|approx_?kl(?:_avg)?)")
    if len(moved) >= FEWEST and np.abs(moved).mean() >= OLD_NEW_NATS:
        far = "updates leave the policy that sampled far behind"
        evidence.append(f"{name} is {np.abs(moved).mean():.3g} nats (mean): {far}")
    for what, value, most in (("epochs", settings.get("epochs"), MOST_EPOCHS),
                              ("updates", settings.updates, MOST_UPDATES + 1)):  # fmt: skip
        if value is not None and value >= most:
            said = settings.said(*Settings.UPDATES)
            evidence.append(f"{value:g} {what} on one rollout: {said}")
            break
    for key, value in settings.each(_MOST_LAGS):
        if isinstance(value, int | float) and value > MOST_LAG:
            evidence.append(f"{key} = {value:g}")
    if evidence:
        yield Cause("stale_rollouts", tuple(evidence))


def _gap(log: Log, limit: float, pattern: str) -> Iterator[str]:
    """Say so if sampler and trainer differ by more than a limit, or ever more."""
    name, gap = log.column(pattern)
    if len(gap) < FEWEST:
        return
    gap, tenth = np.abs(gap), max(len(gap) // 10, 1)
    first, last, usual = gap[:tenth].mean(), gap[-tenth:].mean(), np.median(gap)
    grown = last >= max(GAP_GROWTH * first, limit / 3)
    grown |= usual >= max(100 * gap[0], limit / 100)
    if usual >= limit or (grown and len(gap) >= 2 * FEWEST):
        yield f"{name}, sampler less trainer: {first:.3g} at first, {last:.3g} at last"


_SAME_REWARDS = r"(?:.+/)?frac_reward_zero_std"  # share of groups without an advantage


def _bonus(log: Log, settings: Settings) -> Iterator[Cause]:
    bonus = settings.get("bonus")
    if not bonus:
        return
    evidence = []
    if bonus < 0:
        evidence.append("its sign is wrong: L - alpha H raises entropy where alpha is positive")
    if settings.get("bonus_on") is False:
        evidence.append(settings.said("bonus_on"))
    level, norm = log.column(_SAME_REWARDS)[0], log.column(r"(?:.+/)?grad_norm")[0]
    if level and norm:
        flat, gradient = log.both(level, norm)
        still = gradient[flat >= 1]
        if len(still) >= 3 and not still.any():
            alone = "where the bonus alone would have moved the policy"
            evidence.append(f"{norm} is 0 at the {len(still)} steps without an advantage, {alone}")
    if len(log.entropy) >= 2 * FEWEST and _falls_freely(settings, log.entropy):
        start, end = _ends(log.entropy)
        evidence.append(f"entropy falls all the same, from {start:.3g} to {end:.3g} nats")
    if evidence:
        yield Cause("entropy_bonus_without_gradient", (settings.said("bonus"), *evidence))


def _falls_freely(settings: Settings, entropy: np.ndarray) -> bool:
    start, end = _ends(entropy)
    toy = settings.trainer == "this package" and "model.path" not in settings.keys
    holds = TOY_BONUS if toy else BONUS
    return any(settings.get("bonus") >= alpha and end < left * start for alpha, left in holds)


def _ends(values: np.ndarray) -> tuple[float, float]:
    """Return the medians of the first three values and of the last tenth."""
    return float(np.median(values[:3])), float(np.median(values[-max(3, len(values) // 10) :]))


def _course(log: Log, settings: Settings) -> Iterator[Cause]:
    """Explosion and collapse."""
    if len(log.entropy) < FEWEST or np.median(log.entropy) <= 0:
        return
    scores = log.performance.get("performance", pd.Series(dtype=float)).to_numpy()
    course = course_of(log.entropy, scores if len(scores) else None)
    start, end = _ends(log.entropy)
    noise = _smooth(log.entropy).max() >= LEAST_NOISE
    if (course.name == "explodes" and noise) or (end >= 3 * start and end >= 1):
        seen = course.sentence if course.name == "explodes" else f"{start:.3g} -> {end:.3g} nats"
        bonus = settings.get("bonus") or 0
        more = (f"{settings.said('bonus')}, and 0.01 explodes (Fig. 9)",) if bonus >= 0.01 else ()
        yield Cause("entropy_explosion", (seen, *more))
    elif course.name == "collapses":
        seen = f"from {_smooth(scores).max():.3g} to {scores[-1]:.3g}"
        yield Cause("performance_collapse", (seen,))
    elif found := _spent_early(log):
        yield Cause("early_collapse", (found,))


def _smooth(values: np.ndarray) -> np.ndarray:
    window = max(len(values) // 10, 3)
    return pd.Series(values).rolling(window, center=True, min_periods=1).mean().to_numpy()


def _spent_early(log: Log) -> str:
    """Say when entropy was spent and what was gained by then; empty where half of it was."""
    if len(log.performance) < 2 * FEWEST:
        return ""
    raw = log.performance["performance"].to_numpy()
    entropy, scores = _smooth(log.performance["entropy_nats"].to_numpy()), _smooth(raw)
    spent = np.nonzero(entropy < SPENT * np.median(log.entropy[:3]))[0]
    if not len(spent):
        return ""
    gain = scores[-max(3, len(scores) // 10) :].mean() - scores[0]
    by_then = scores[: spent[0] + 1].max() - scores[0]
    noise = 2 * np.std(raw - scores) / np.sqrt(max(len(raw) // 10, 3))
    if by_then >= HELD_BACK * gain and gain > noise:
        return ""
    step = log.performance["step"].iloc[spent[0]]
    return (
        f"at step {step:g} entropy is below {SPENT:g} of its start, and performance has gained "
        f"{by_then:.3g} of the run's {gain:.3g}"
    )


def _rewards(log: Log, settings: Settings) -> Iterator[Cause]:
    if not log.reward_name:
        return
    name, reward = log.column(re.escape(log.reward_name))
    if len(reward) < FEWEST:
        return
    top = max(reward.max(), 1.0) if 0 <= reward.min() <= reward.max() <= 1 else reward.max()
    same = np.ptp(reward) <= 1e-6 * abs(top)
    flat, shares = log.column(_SAME_REWARDS)
    more = (f"{flat} is {np.median(shares):.2f} (median)",) if len(shares) else ()
    low = np.quantile(reward, 0.1) >= ALWAYS * top and np.median(reward[:3]) >= ALWAYS * top
    if reward.max() > 0 and (same or (low and top > 0)):
        seen = f"{np.median(reward[:3]):.3g} at first and {np.median(reward):.3g} throughout"
        yield Cause("unmissable_reward", (f"{name} is {seen}", *more))
    elif reward.max() <= 0 and same:
        yield Cause("unreachable_reward", (f"{name} is {top:g} at every step", *more))


def _no_token_mean(log: Log, settings: Settings) -> Iterator[Cause]:
    if len(log.entropy) and not 0 <= np.median(log.entropy) <= MOST_ENTROPY:
        seen = f"{log.entropy_name!r} is {np.median(log.entropy):.4g} (median)"
        yield Cause("entropy_is_no_token_mean", (seen,))


def _no_token_chosen(log: Log, settings: Settings) -> Iterator[Cause]:
    name, share = log.column(r"(?:.+[/_])?selected_fraction")
    never = settings.method.endswith("_cov") and len(share) >= FEWEST and not share.any()
    if never and not any(_micro_batch(log, settings)):
        said = settings.said(settings.fraction, "cov_low", "cov_high")
        yield Cause("no_token_chosen", (f"{name} is 0 at every step", said))


CHECKS = (_one_update, _micro_batch, _percent, _temperature, _other_tokens, _stale, _bonus, _course,
          _rewards, _no_token_mean, _no_token_chosen)  # fmt: skip


def diagnose(path: str | Path, config: str | Path = "", **columns: str) -> Diagnosis:
    r"""Return the causes that a log, with a configuration where one is given, shows.

    ``path`` is a log, or the folder of a run of this package, whose own configuration is then
    read. ``columns`` are ``entropy``, ``performance``, ``step`` and ``run`` of ``read_log``.

    Raises:
        UserError: a file that cannot be read, several runs in one log, a setting that is no number.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "log.csv")
    >>> rows = [f"{step},{0.3 * 1.2**step},{0.02 * step}" for step in range(20)]
    >>> _ = path.write_text("\n".join(["step,entropy,reward", *rows, ""]))
    >>> [cause.name for cause in diagnose(path).causes]
    ['entropy_explosion']

    """
    log = read_run(path, **columns)
    own = Path(path) / "config.json"
    place = config or (own if own.is_file() else "")
    settings = read_settings(place) if place else Settings()
    if not place and not log.entropy_name and not log.reward_name:
        raise UserError(log.read)
    given = f"settings of {settings.trainer}: {place}" if place else "no configuration given"
    causes = [cause for check in CHECKS for cause in check(log, settings)]
    return Diagnosis(tuple(causes), (f"note: {log.read}", given))
