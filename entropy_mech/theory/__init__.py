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
from entropy_mech.theory.law_diagnostics import (
    ResidualDiagnostics,
    law_warnings,
    residual_diagnostics,
)
from entropy_mech.theory.law_forecast import LawForecast, forecast_law
from entropy_mech.theory.law_forms import FormFit, compare_forms, fit_form
from entropy_mech.theory.law_intervals import law_intervals
from entropy_mech.theory.law_log import RunLog, read_log
from entropy_mech.theory.law_published import (
    published_fits,
    published_forms,
    published_law_claims,
    published_run,
)
from entropy_mech.theory.law_report import LawReport, analyse_log, analyse_run, law_of
from entropy_mech.theory.law_sizes import SizeFit, extrapolate_largest, fit_sizes
from entropy_mech.theory.lemma1 import load_policies, step_sizes, verify_lemma1
from entropy_mech.theory.lemma1_summary import bound_violations, error_slopes
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
    "FormFit",
    "LawFit",
    "LawForecast",
    "LawReport",
    "Mdp",
    "MdpEntropyChange",
    "Quadrants",
    "RemainderBound",
    "ResidualDiagnostics",
    "RunLog",
    "SampledStep",
    "SizeFit",
    "action_contributions",
    "analyse_log",
    "analyse_run",
    "bound_violations",
    "compare_forms",
    "entropy_change",
    "enumerate_steps",
    "error_slopes",
    "extrapolate_largest",
    "fisher_matrix",
    "fit_form",
    "fit_law",
    "fit_sizes",
    "forecast_law",
    "group_scale",
    "law_intervals",
    "law_of",
    "law_warnings",
    "load_policies",
    "log_softmax",
    "mdp_entropy",
    "mdp_entropy_change",
    "mdp_policy_gradient",
    "natural_gradient_step",
    "policy_gradient_step",
    "published_fits",
    "published_forms",
    "published_law_claims",
    "published_run",
    "quadrant_rule",
    "read_log",
    "remainder_bound",
    "residual_diagnostics",
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
