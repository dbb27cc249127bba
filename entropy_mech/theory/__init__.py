"""Tabular softmax theory (section 3 and appendix E of the paper) and the law (section 2).

NumPy float64; importing it loads neither torch nor matplotlib.
"""

from entropy_mech.theory.dynamics import (
    EntropyChange,
    entropy_change,
    natural_gradient_step,
    policy_gradient_step,
)
from entropy_mech.theory.law import LawFit, fit_law
from entropy_mech.theory.lemma1 import load_policies, step_sizes, verify_lemma1
from entropy_mech.theory.lemma1_summary import bound_violations, error_slopes, lemma1_claims
from entropy_mech.theory.quadrants import (
    Quadrants,
    action_contributions,
    quadrant_rule,
    sample_actions,
)
from entropy_mech.theory.remainder import RemainderBound, remainder_bound
from entropy_mech.theory.softmax import log_softmax, softmax_entropy
from entropy_mech.theory.theorems import fisher_matrix, theorem1, theorem2

__all__ = [
    "EntropyChange",
    "LawFit",
    "Quadrants",
    "RemainderBound",
    "action_contributions",
    "bound_violations",
    "entropy_change",
    "error_slopes",
    "fisher_matrix",
    "fit_law",
    "lemma1_claims",
    "load_policies",
    "log_softmax",
    "natural_gradient_step",
    "policy_gradient_step",
    "quadrant_rule",
    "remainder_bound",
    "sample_actions",
    "softmax_entropy",
    "step_sizes",
    "theorem1",
    "theorem2",
    "verify_lemma1",
]
