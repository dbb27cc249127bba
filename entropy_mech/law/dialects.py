"""How columns are named in logs: step, entropy and performance, by training framework.

One row of ``DIALECTS`` a framework; a new framework is a new row. Names are regular expressions
that must match the whole column name, in any case; ``/`` and ``_`` match any of ``/``, ``_``, ``.``
and a space, which exporters exchange. Of several patterns the first that matches a column is used.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Dialect:
    """One framework's column names.

    ``rewards`` are measured on training prompts, and used where no ``validation`` is logged.
    ``remark`` and ``warning`` say of its entropy what the report should say too.
    """

    name: str
    steps: tuple[str, ...]
    entropies: tuple[str, ...]
    validation: tuple[str, ...] = ()
    rewards: tuple[str, ...] = ()
    remark: str = ""
    warning: str = ""


_SAMPLED = (
    "the entropy is an estimate from the sampled tokens: minus the mean of their "
    "log-probabilities, not a sum over the vocabulary"
)
_APPROXIMATION = (
    "the entropy is an approximation (importance-weighted log-probabilities of sampled tokens), "
    "not that of the sampling policy: a and b may be off"
)

_EVAL = r"(?:eval|evaluation|val|valid|validation|test|dev|held_?out)"
_NO_OTHER = r"(?!.*(?:token|format))"  # accuracies of next tokens or of the answer's format
_ACCURACY = r"\w*(?:accuracy|acc|correct|correctness)(?:_pct|_percent)?"
_RATE = r"(?:pass(?:@|_at_|_)?1|(?:mean|avg)@\d+|(?:solve|success|pass|win)_rate|exact_match|em)"
_MEAN = r"(?:/(?:mean|avg))?"
_HELD_OUT = tuple(
    rf"{_NO_OTHER}{_EVAL}/(?:.+/)?{name}{_MEAN}"
    for name in (_ACCURACY, _RATE, f"{_ACCURACY}_reward")
)

DIALECTS = (
    Dialect("this package", ("step",), ("entropy_nats",),
            ("performance", "validation_accuracy"), ("train_reward", "reward_mean")),
    Dialect("verl", ("step", "training/global_step"), ("actor/entropy", "actor/entropy_loss"),
            (r"val-core/.+/acc/mean@\d+", r"val-core/.+/mean@\d+", r"val/test_score/.+",
             r"test_score/.+"), ("critic/score/mean", "critic/rewards/mean")),
    Dialect("TRL", ("step", "global_step"), ("entropy", "policy/entropy_avg"),
            (r"eval_rewards/.*(?:acc|correct).*/mean|eval_rewards/.*(?:acc|correct)\w*",
             *_HELD_OUT, "accuracy", "eval_reward"),
            (r"rewards/.*(?:acc|correct).*/mean", "reward", "objective/scores")),
    Dialect("ms-swift", ("global_step/max_steps",), ("entropy/mean",),
            (r"eval_rewards/.*acc.*/mean", "eval_reward"), (r"rewards/.*acc.*/mean", "reward")),
    Dialect("OpenRLHF", (r"(?:train|eval)/global_step",), ("train/entropy_loss", "train/entropy"),
            (r"eval/.+_pass@?1", r"eval/.+/pass@?1", r"eval/.+_pass@?\d+"),
            ("train/reward", "train/rewards")),
    Dialect("NeMo-RL", ("step", r"(?:train|validation)/step"),
            ("train/approx_entropy", "approx_entropy"),
            ("validation/accuracy",), ("train/reward",), warning=_APPROXIMATION),
    Dialect("slime", ("rollout/step", r"(?:train|rollout|eval)/step"),
            ("rollout/entropy", "train/entropy_loss"),
            (r"eval/(?!.*(?:step|loss|entropy|time|per_second|len|ratio|kl|token|epoch))[\w.]+",),
            ("rollout/raw_reward", "rollout/rewards?")),
    Dialect("prime-rl", ("step",), ("entropy/all/mean", "entropy/mean"),
            (r"eval/.+/avg@\d+", r"eval/.+/pass@1"),
            ("reward/all/mean", "reward/mean",
             r"train/agg/(?:effective|all)/(?:agent/)?reward/mean")),
    Dialect("SkyRL", ("trainer/global_step",), ("policy/policy_entropy",),
            ("eval/all/avg_score", r"eval/.+/avg_score", "eval/all/pass_at_1"),
            ("reward/avg_raw_reward",)),
    Dialect("open-instruct", ("training_step",), ("policy/entropy_avg",),
            ("eval/objective/verifiable_correct_rate", "eval/scores"),
            ("objective/verifiable_correct_rate", "objective/scores", "scores")),
    Dialect("AReaL", ("global_step",), (r"(?:\w+_)?actor/(?:update/)?entropy/avg",),
            (r"eval-rollout/(?:task_)?reward(?:/avg)?",),
            (r"(?:\w+_)?actor/task_reward/avg", "rollout/reward")),
    Dialect("ROLL", ("system/step", "global_step"), ("critic/entropy/mean", "actor/entropy"),
            ("val_correct/all/mean", r"val_correct/.+/mean", "val/score/mean"),
            ("critic/score/mean", "reward/hard_pass_rate", "reward/selected_mean")),
    Dialect("Tinker cookbook", ("progress/batch", "step"), ("optim/entropy",),
            ("test/env/all/correct", r"test/env/.+/correct", "test/env/all/pass_rate",
             "test/env/all/reward/total"), ("env/all/correct", "env/all/reward/total"),
            remark=_SAMPLED),
    Dialect("rows with a type", ("grpo_step", "step"),
            ("train/token_entropy", "train/entropy", "token_entropy"),
            ("eval/answer_accuracy", "eval/accuracy"),
            ("rollout/answer_accuracy", "rollout/reward")),
    Dialect("reasoning-from-scratch", ("step",), ("entropy_avg",),
            ("eval_acc",), ("reward_avg",)),
    Dialect("any other", (),
            (r"(?:(?:train|training|actor|policy|rollout|loss(?:es)?)/)?"
             r"(?:policy/|token/|response/|mean/|avg/)*entropy(?:/(?:mean|avg|nats|bits))*",
             r"(?:\w+/)?(?:entropy|ent)_loss"),
            (*_HELD_OUT,
             rf"{_EVAL}/(?:.+/)?(?:mean/|avg/)?(?:reward|score|return)s?(?:/(?:mean|avg|total))?",
             rf"accuracy|{_RATE}"),
            (rf"{_NO_OTHER}(?:train|training|rollout)/{_ACCURACY}{_MEAN}",
             r"(?:(?:train|training|rollout|env)/)?(?:mean/|avg/|raw/)*rewards?(?:/(?:mean|avg|total))?",
             r"(?:(?:train|training|rollout)/)?(?:mean/|avg/)?scores?(?:/(?:mean|avg))?")),
)  # fmt: skip

# In order of preference, after the framework's own; ``optimizer_step`` counts within a step.
STEPS = (
    "steps?", "global_steps?", r"(?:train(?:ing|er)?|system|progress)/(?:global_)?step",
    r"(?:\w+/)?global_step",
    r"(?:training|train|grpo|ppo|rl|rollout|outer)_(?:step|iteration)s?",
    r"[\w-]+/step", r"iterations?|iter|round|updates?", r"progress/batch|batch", "_step",
    "optimizer_step", r"episodes?",
)  # fmt: skip
# The response length, which an imported run shows too.
LENGTHS = ("response_length_mean", "response_length/mean", "completions/mean_length",
           "length/mean", "avg_response_len")  # fmt: skip

# Words in a column's name which say that it is not the sampling policy's mean token entropy, each
# with the warning it gets. Asked only of names that are in no framework's row.
_DOUBTS = (
    (r"approx|estimat|monte|(?:^|[/_.])mc(?:[/_.]|$)|sampled",
     "an approximation, not the entropy of the sampling policy"),
    (r"loss(?!(?:es)?/)|bonus|coef|regular|penalty",
     "a term of the loss: perhaps negated or with a factor"),
    (r"sum|total|objective|sequence|per_seq", "a sum over tokens, not a mean a token"),
    (r"temp|scaled|tau", "taken at another temperature than the sampling policy's"),
    (r"(?:^|[/_.])(?:ref|reference|teacher|old|target|critic|value|reward|attention|attn|router|"
     r"expert|gate|prompt|semantic|cluster|answer|latent|behaviou?r|draft|student)(?:[/_.]|$)",
     "the entropy of something else than the sampling policy's tokens"),
    (r"(?:^|[/_.])(?:eval|val|validation|test)(?:[/_.]|$)", "measured on evaluation prompts"),
    (r"top_?[kp\d]|mask|filter|fork|high|low|positive|negative|clip",
     "the entropy of a part of the tokens or of the vocabulary"),
    (r"norm|relative|ratio|frac|percent", "a share of something, not nats"),
    (r"std|var|max|min|median|quantile|p\d\d|delta|change|diff|ema|smooth",
     "not the mean of one step"),
    (r"perplexity|ppl", "a perplexity: its logarithm is the entropy"),
)  # fmt: skip


def matching(names: Iterable[str], patterns: Iterable[str]) -> list[str]:
    """Return the names that fit the first pattern that any name fits.

    >>> matching(["Step", "val-core_math_acc_mean@8", "x"], ["val-core/.+/acc/mean@8", "step"])
    ['val-core_math_acc_mean@8']
    >>> matching(["acc", "Accuracy [%]"], ["accuracy"])  # a unit is no part of the name
    ['Accuracy [%]']
    """
    names = list(names)
    for pattern in patterns:
        if found := [name for name in names if _pattern(pattern).fullmatch(_bare(str(name)))]:
            return found
    return []


@cache
def _bare(name: str) -> str:
    """Return a name without a unit in brackets at its end."""
    return re.sub(
        r"\s*[(\[](?:nats?|bits?|%|percent|fraction)(?![a-z])[^)\]]*[)\]]$", "", name, flags=re.I
    )


@cache
def _pattern(text: str) -> re.Pattern[str]:
    joined = re.sub(r"\[[^]]*\]|[/_]", lambda m: m[0] if m[0][0] == "[" else "[/_. ]", text)
    return re.compile(joined, re.IGNORECASE)


def entropy_doubt(name: str) -> str:
    """Return why an entropy of this name may be the wrong quantity; empty if nothing says so.

    >>> entropy_doubt("approx_entropy"), entropy_doubt("my_entropy")
    ('an approximation, not the entropy of the sampling policy', '')
    """
    return next((said for pattern, said in _DOUBTS if re.search(pattern, name, re.I)), "")


# -- Rows of training and of evaluation, and signs of entropy control -----------------------------

ROLES = {
    "eval": r"eval(?:uation)?|val(?:id(?:ation)?)?|test|dev|held_?out",
    "train": r"train(?:ing|er)?|updates?|learn(?:er)?|actor|policy",
    "rollout": r"rollouts?|sampl(?:e|er|ing)|generat(?:e|ion|or)",
}
_CONTROLS = (
    r"entropy_(?:coef|coeff|coefficient|bonus)|ent_coef|target_entropy|entropy_target"
    r"|(?:kl|clip)_?cov(?:$|_(?:frac|coef|ratio|loss|penalty|fraction))"
)


def role_of(word: str) -> str:
    """Return "eval", "train" or "rollout" for a word that means one of them, else "".

    >>> role_of("validation"), role_of("summary")
    ('eval', '')
    """
    return next((role for role in ROLES if matching([word], [ROLES[role]])), "")


def control_in(columns: Mapping[str, np.ndarray]) -> str:
    """Return the column, not all zero, that shows that entropy is controlled.

    >>> control_in({"actor/entropy_coeff": np.array([0.0, 0.01])}), control_in({"h": np.ones(2)})
    ("column 'actor/entropy_coeff'", '')
    """
    for name in columns:
        if not re.search(_CONTROLS, name, re.IGNORECASE):
            continue
        if np.nan_to_num(pd.to_numeric(columns[name], errors="coerce")).any():
            return f"column {name!r}"
    return ""


def listed(names: Sequence[str], most: int = 8) -> str:
    """Return the first ``most`` names, and dots for the others."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
