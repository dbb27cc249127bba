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
from entropy_mech.theory.lemma1 import error_slopes, load_policies, verify_lemma1
from entropy_mech.theory.softmax import log_softmax, softmax_entropy

__all__ = [
    "EntropyChange",
    "LawFit",
    "entropy_change",
    "error_slopes",
    "fit_law",
    "load_policies",
    "log_softmax",
    "natural_gradient_step",
    "policy_gradient_step",
    "softmax_entropy",
    "verify_lemma1",
]
