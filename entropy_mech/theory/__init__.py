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
from entropy_mech.theory.mdp import (
    Mdp,
    MdpEntropyChange,
    mdp_entropy,
    mdp_entropy_change,
    mdp_policy_gradient,
    token_tree,
)
from entropy_mech.theory.quadrants import (
    Quadrants,
    action_contributions,
    quadrant_rule,
    sample_actions,
)
from entropy_mech.theory.remainder import RemainderBound, remainder_bound
from entropy_mech.theory.sampling import (
    SampledStep,
    enumerate_steps,
    group_scale,
    simulate_steps,
)
from entropy_mech.theory.softmax import log_softmax, softmax_entropy
from entropy_mech.theory.studies import (
    sampled_against_expected,
    scale_by_success,
    visitation_by_horizon,
    visitation_claims,
    visitation_summary,
)
from entropy_mech.theory.theorems import fisher_matrix, theorem1, theorem2

__all__ = [
    "EntropyChange",
    "LawFit",
    "Mdp",
    "MdpEntropyChange",
    "Quadrants",
    "RemainderBound",
    "SampledStep",
    "action_contributions",
    "bound_violations",
    "entropy_change",
    "enumerate_steps",
    "error_slopes",
    "fisher_matrix",
    "fit_law",
    "group_scale",
    "lemma1_claims",
    "load_policies",
    "log_softmax",
    "mdp_entropy",
    "mdp_entropy_change",
    "mdp_policy_gradient",
    "natural_gradient_step",
    "policy_gradient_step",
    "quadrant_rule",
    "remainder_bound",
    "sample_actions",
    "sampled_against_expected",
    "scale_by_success",
    "simulate_steps",
    "softmax_entropy",
    "step_sizes",
    "theorem1",
    "theorem2",
    "token_tree",
    "verify_lemma1",
    "visitation_by_horizon",
    "visitation_claims",
    "visitation_summary",
]
