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
from entropy_mech.law.files import Table, read_metrics
from entropy_mech.law.log import run_of
from entropy_mech.law.report import Course, course_of

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

    def course(self) -> Course | None:
        """Return how entropy developed; None where there is too little of it."""
        if len(self.entropy) < FEWEST or np.median(self.entropy) <= 0:
            return None
        scores = self.performance["performance"] if len(self.performance) else None
        return course_of(self.entropy, scores)

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
# Each check yields what it sees, in a log and its settings, of the cause whose name it has. A
# quantity that is not known is None, and nothing is said of it.

_PPO = ("ppo_clip", "vanilla", "ppo", "regular", "dual_clip", "grpo", "dr_grpo", "dapo", "bnpo")
_CLIPPED = (
    r"(?:.+/)?ppo_clipped_fraction",
    r"clip_ratio/high_mean",
    r"(?:.+/)?pg_clipfrac",
    r"(?!.*length)(?:.+/)?(?:clip_?frac(?:tion)?|ppo_clip_ratio|clip_ratio)(?:/mean|_avg)?",
    "selected_fraction",
)


def _inert_kl_cov(log: Log, settings: Settings) -> Iterator[str]:
    if settings.method != "kl_cov":
        return
    if settings.updates > 1:
        if settings.get("coefficient") == 0:
            yield settings.said("coefficient")
        return
    yield f"{_ONE_UPDATE}: {settings.said(*Settings.UPDATES)}"
    name, kl = log.column(r"(?:.+/)?(?:kl_old_new_nats|ppo_kl)")
    if len(kl) and np.abs(kl).max() < 1e-8:
        yield f"{name} is 0 at every step: the policy never left the one that sampled"


def _inert_clip_higher(log: Log, settings: Settings) -> Iterator[str]:
    low, high = settings.clip_range
    if None in (low, high) or not low < high or settings.method.lower() not in _PPO:
        return
    one = settings.updates <= 1
    name, share = log.column(*_CLIPPED)
    most = np.abs(share).max(initial=0.0)
    never = len(share) >= FEWEST_MOVES and most == 0
    if never or (one and most <= 1e-4):
        yield settings.said(*Settings.CLIP)
        if one:
            yield f"{_ONE_UPDATE}: {settings.said(*Settings.UPDATES)}"
        if never:
            yield f"{name} is 0 at every step"


_ONE_UPDATE = "one optimizer step a rollout"


def _micro_batch_scope(log: Log, settings: Settings) -> Iterator[str]:
    if not settings.method.endswith("_cov") or settings.scope != "micro_batch":
        return
    responses = settings.micro_responses(log.mean_tokens)
    if responses is None or responses >= FEW_RESPONSES:
        return
    what = f"{responses:g} response{'s' * (responses > 1)} in a micro-batch"
    worse = ", so every covariance is exactly 0" if responses <= 1 else ""
    yield f"{what}{worse}: {settings.said('method', 'scope', 'micro', 'dynamic', 'micro_tokens')}"


def _fraction_in_percent(log: Log, settings: Settings) -> Iterator[str]:
    papers = "the paper's are 2e-4 to 2e-3 and 0.2 to 0.28"
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
            said = settings.said(settings.fraction) + about
            yield f"{said}, which is {100 * share:g} %; {papers}"
    _, high = settings.clip_range
    if settings.method.lower() in _PPO and high is not None and 5 <= high <= 100:
        yield f"{settings.said(*Settings.CLIP)}, which is {100 * high:g} %; {papers}"


def _temperature_scaled_entropy(log: Log, settings: Settings) -> Iterator[str]:
    given, said = settings.get("temperature"), settings.said("temperature")
    if given is None and not settings.trainer:
        said, values = log.column(r"(?:rollout|sampling|train)/temperature")
        given = float(np.median(values)) if len(values) else None
    divided = given is not None and abs(given - 1) > 1e-6
    if divided:
        where = settings.trainer or "most trainers"
        yield f"{said} ({given:g}), and {where} divides logits by it before the entropy"
    names = [n for n in log.table.measured() if re.search("entropy", n, re.IGNORECASE)]
    raw = [n for n in names if re.search(r"(?:^|[/_.])raw|unscaled|untempered", n, re.IGNORECASE)]
    named = [n for n in names if re.search(r"scaled|temper|(?:^|[/_.])tau", n, re.IGNORECASE)]
    named = [n for n in named if n not in raw]
    scaled = named or [n for n in matching(names, _ENTROPIES) if raw and n not in raw]
    differ = [
        f"{name!r} is {one:.3g} nats where {other!r} is {two:.3g} (medians)"
        for name in scaled
        for other in names
        if other not in scaled
        for one, two in [map(np.median, log.both(name, other))]
        if one == one and abs(one - two) > 0.05 * max(abs(one), abs(two))
    ]
    yield from differ
    if not (raw or divided or differ) and log.entropy_name in named:
        yield f"the entropy read is {log.entropy_name!r}"


_OTHER_TOKENS = (
    r"(?:.+/)?(?:pad(?:ding|ded)?|tool|observation|obs|env(?:ironment)?|feedback)s?[/_]?"
    r"(?:response|output|call)?s?[/_]?(?:token|frequency|fraction|frac|share|ratio|length)s?"
    r"(?:[/_](?:mean|avg|fraction|frac|share|ratio|count))*"
)
_UNMASKED = r"(?:(?:no_?)?mask|ignore)_?\w*(?:tool|obs|env|state|pad|feedback|info)\w*"
_MASKING = r"\w*(?:tool|obs\w*|env\w*|state|pad\w*|feedback|info\w*)_?(?:loss_?)?mask(?:ing|ed)?"
_TRAINED_ON = r"train_on_\w*(?:tool|obs|env|feedback|pad|prompt)\w*|\w*(?:count|include)_pad\w*"
_WIDEST = ("completions/max_length", "response_length/max", "response_length_max")


def _other_tokens_counted(log: Log, settings: Settings) -> Iterator[str]:
    for key, value in settings.each(f"{_UNMASKED}|{_MASKING}"):
        if value is False and not key.rpartition(".")[2].startswith("no"):
            yield f"{key} = {value}"
    for key, value in settings.each(_TRAINED_ON):
        if value is True:
            yield f"{key} = {value}"
    for name in matching(log.table.measured(), [_OTHER_TOKENS]):
        yield from _moves_with(log, name, log.table.numbers(name))
    length, widest = log.column(*LENGTHS)[0], log.column(*_WIDEST)[0]
    if not length:
        return
    width = log.table.numbers(widest) if widest else 1.0
    with np.errstate(divide="ignore", invalid="ignore"):
        filled = log.table.numbers(length) / width
    name = f"{length} / {widest}" if widest else length
    said = f"the share of tokens that are no padding ({name})"
    yield from _moves_with(log, said, filled, ALIKE if widest else TOGETHER)


def _moves_with(log: Log, name: str, share: np.ndarray, least: float = 0.0) -> Iterator[str]:
    """Say so if entropy moves from step to step as a share of tokens does.

    ``least``: the correlation that is asked for where both must move by the same percentage, as
    they do if what is not in the share counts as 0.
    """
    if not log.entropy_name:
        return
    pair = np.stack([log.table.numbers(log.entropy_name), share])
    pair = pair[:, np.isfinite(pair).all(axis=0) & (pair > 0).all(axis=0)]
    moves = np.diff(np.log(pair), axis=1)
    if moves.shape[1] < FEWEST_MOVES or moves[1].std() < 1e-3 or not moves[0].std():
        return
    r = np.corrcoef(moves)[0, 1]
    slope = r * moves[0].std() / moves[1].std()
    alike = PROPORTIONAL[0] <= slope <= PROPORTIONAL[1]
    if (r >= least and alike) if least else abs(r) >= TOGETHER:
        measured = f"correlation {r:.2f}, {slope:.2f} % for 1 %, over {moves.shape[1]} steps"
        yield f"step by step, entropy moves with {name}: {measured}"


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


def _stale_rollouts(log: Log, settings: Settings) -> Iterator[str]:
    for limit, pattern in _GAPS:
        yield from _gap(log, limit, pattern)
    name, lag = log.column(_LAGS)
    if len(lag) and np.median(lag) > MOST_LAG:
        yield f"{name} is {np.median(lag):g} (median)"
    name, moved = log.column(r"(?:.+/)?(?:kl_old_new_nats|ppo_kl|approx_?kl(?:_avg)?)")
    if len(moved) >= FEWEST and np.abs(moved).mean() >= OLD_NEW_NATS:
        far = "updates leave the policy that sampled far behind"
        yield f"{name} is {np.abs(moved).mean():.3g} nats (mean): {far}"
    epochs, updates = settings.get("epochs") or 0, settings.updates or 0
    if epochs >= MOST_EPOCHS or updates > MOST_UPDATES:
        many = f"{epochs:g} epochs" if epochs >= MOST_EPOCHS else f"{updates:g} updates"
        yield f"{many} on one rollout: {settings.said(*Settings.UPDATES)}"
    for key, value in settings.each(_MOST_LAGS):
        if isinstance(value, int | float) and value > MOST_LAG:
            yield f"{key} = {value:g}"


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


def _entropy_bonus_without_gradient(log: Log, settings: Settings) -> Iterator[str]:
    bonus = settings.get("bonus")
    if not bonus:
        return
    said = settings.said("bonus")
    if bonus < 0:
        yield f"{said}, whose sign is wrong: L - alpha H raises entropy where alpha is positive"
    if settings.get("bonus_on") is False:
        yield settings.said("bonus", "bonus_on")
    level, norm = log.column(_SAME_REWARDS)[0], log.column(r"(?:.+/)?grad_norm")[0]
    if level and norm:
        flat, gradient = log.both(level, norm)
        still = gradient[flat >= 1]
        if len(still) >= 3 and not still.any():
            alone = f"where the bonus alone ({said}) would have moved the policy"
            yield f"{norm} is 0 at the {len(still)} steps without an advantage, {alone}"
    if len(log.entropy) >= 2 * FEWEST and _falls_freely(settings, log.entropy):
        start, end = _ends(log.entropy)
        yield f"entropy falls from {start:.3g} to {end:.3g} nats in spite of {said}"


def _falls_freely(settings: Settings, entropy: np.ndarray) -> bool:
    start, end = _ends(entropy)
    toy = settings.trainer == "this package" and "model.path" not in settings.keys
    holds = TOY_BONUS if toy else BONUS
    return any(settings.get("bonus") >= alpha and end < left * start for alpha, left in holds)


def _ends(values: np.ndarray) -> tuple[float, float]:
    """Return the medians of the first three values and of the last tenth."""
    return float(np.median(values[:3])), float(np.median(values[-max(3, len(values) // 10) :]))


def _entropy_explosion(log: Log, settings: Settings) -> Iterator[str]:
    course = log.course()
    if course is None:
        return
    start, end = _ends(log.entropy)
    if course.name == "explodes" and _smooth(log.entropy).max() >= LEAST_NOISE:
        yield course.sentence
    elif end >= 3 * start and end >= 1:
        yield f"{start:.3g} -> {end:.3g} nats"
    else:
        return
    if (settings.get("bonus") or 0) >= 0.01:
        yield f"{settings.said('bonus')}, and 0.01 explodes (Fig. 9)"


def _performance_collapse(log: Log, settings: Settings) -> Iterator[str]:
    course = log.course()
    if course is None or course.name != "collapses" or any(_entropy_explosion(log, settings)):
        return
    scores = log.performance["performance"].to_numpy()
    yield f"from {_smooth(scores).max():.3g} to {scores[-1]:.3g}"


def _early_collapse(log: Log, settings: Settings) -> Iterator[str]:
    """Say when entropy was spent and what was gained by then, unless half of it was."""
    if log.course() is None or len(log.performance) < 2 * FEWEST:
        return
    if any(_entropy_explosion(log, settings)) or any(_performance_collapse(log, settings)):
        return
    raw = log.performance["performance"].to_numpy()
    entropy, scores = _smooth(log.performance["entropy_nats"].to_numpy()), _smooth(raw)
    spent = np.nonzero(entropy < SPENT * np.median(log.entropy[:3]))[0]
    if not len(spent):
        return
    gain = scores[-max(3, len(scores) // 10) :].mean() - scores[0]
    by_then = scores[: spent[0] + 1].max() - scores[0]
    noise = 2 * np.std(raw - scores) / np.sqrt(max(len(raw) // 10, 3))
    if by_then < HELD_BACK * gain or gain <= noise:
        step = log.performance["step"].iloc[spent[0]]
        gained = f"performance has gained {by_then:.3g} of the run's {gain:.3g}"
        yield f"at step {step:g} entropy is below {SPENT:g} of its start, and {gained}"


def _smooth(values: np.ndarray) -> np.ndarray:
    window = max(len(values) // 10, 3)
    return pd.Series(values).rolling(window, center=True, min_periods=1).mean().to_numpy()


def _unmissable_reward(log: Log, settings: Settings) -> Iterator[str]:
    name, reward = log.column(re.escape(log.reward_name))
    if len(reward) < FEWEST or reward.max() <= 0:
        return
    top = 1.0 if 0 <= reward.min() <= reward.max() <= 1 else reward.max()
    first, usual = np.median(reward[:3]), np.median(reward)
    always = min(first, np.quantile(reward, 0.1)) >= ALWAYS * top
    if always or np.ptp(reward) <= 1e-6 * top:
        yield f"{name} is {first:.3g} at first and {usual:.3g} throughout"


def _unreachable_reward(log: Log, settings: Settings) -> Iterator[str]:
    name, reward = log.column(re.escape(log.reward_name))
    if len(reward) >= FEWEST and reward.max() <= 0 and np.ptp(reward) <= 1e-6:
        yield f"{name} is {reward.max():g} at every step"


def _entropy_is_no_token_mean(log: Log, settings: Settings) -> Iterator[str]:
    if len(log.entropy) and not 0 <= np.median(log.entropy) <= MOST_ENTROPY:
        yield f"{log.entropy_name!r} is {np.median(log.entropy):.4g} (median)"


def _no_token_chosen(log: Log, settings: Settings) -> Iterator[str]:
    name, share = log.column(r"(?:.+[/_])?selected_fraction")
    never = settings.method.endswith("_cov") and len(share) >= FEWEST and not share.any()
    if never and not any(_micro_batch_scope(log, settings)):
        said = settings.said(settings.fraction, "cov_low", "cov_high")
        yield f"{name} is 0 at every step: {said}"


CHECKS = (
    _inert_kl_cov, _inert_clip_higher, _micro_batch_scope, _fraction_in_percent,
    _temperature_scaled_entropy, _other_tokens_counted, _stale_rollouts,
    _entropy_bonus_without_gradient, _entropy_explosion, _performance_collapse, _early_collapse,
    _unmissable_reward, _unreachable_reward, _entropy_is_no_token_mean, _no_token_chosen,
)  # fmt: skip


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
    evidence = {check.__name__[1:]: tuple(check(log, settings)) for check in CHECKS}
    causes = tuple(Cause(name, seen) for name, seen in evidence.items() if seen)
    return Diagnosis(causes, (f"note: {log.read}", given))
