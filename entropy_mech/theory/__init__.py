"""Tabular softmax theory (section 3 and appendix E of the paper).

NumPy float64; importing it loads neither torch nor matplotlib.
"""

from entropy_mech.theory.beyond import (
    Mdp,
    enumerate_steps,
    group_scale,
    mdp_entropy,
    mdp_entropy_change,
    mdp_policy_gradient,
    sampled_against_expected,
    scale_by_success,
    simulate_steps,
    token_tree,
    visitation_by_horizon,
    visitation_summary,
)
from entropy_mech.theory.lemma1 import (
    bound_violations,
    error_slopes,
    load_policies,
    step_sizes,
    verify_lemma1,
)
from entropy_mech.theory.softmax import log_softmax, softmax_entropy
from entropy_mech.theory.step import (
    action_contributions,
    entropy_change,
    fisher_matrix,
    natural_gradient_step,
    policy_gradient_step,
    quadrant_rule,
    remainder_bound,
    sample_actions,
    theorem1,
    theorem2,
)

__all__ = [
    "Mdp", "action_contributions", "bound_violations", "entropy_change", "enumerate_steps",
    "error_slopes", "fisher_matrix", "group_scale", "load_policies", "log_softmax", "mdp_entropy",
    "mdp_entropy_change", "mdp_policy_gradient", "natural_gradient_step", "policy_gradient_step",
    "quadrant_rule", "remainder_bound", "sample_actions", "sampled_against_expected",
    "scale_by_success", "simulate_steps", "softmax_entropy", "step_sizes", "theorem1", "theorem2",
    "token_tree", "verify_lemma1", "visitation_by_horizon", "visitation_summary",
]  # fmt: skip
