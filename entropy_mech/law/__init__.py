"""The law of section 2: R = -a exp(H) + b, fitted to any log of a run.

NumPy float64; importing it loads neither torch nor matplotlib.
"""

from entropy_mech.law.fit import (
    LawFit,
    SizeFit,
    compare_forms,
    extrapolate_largest,
    fit_form,
    fit_law,
    fit_sizes,
    law_intervals,
)
from entropy_mech.law.log import RunLog, read_log
from entropy_mech.law.report import (
    LawForecast,
    LawReport,
    analyse_log,
    analyse_run,
    forecast_law,
    law_warnings,
)

__all__ = [
    "LawFit", "LawForecast", "LawReport", "RunLog", "SizeFit",
    "analyse_log", "analyse_run", "compare_forms", "extrapolate_largest", "fit_form", "fit_law",
    "fit_sizes", "forecast_law", "law_intervals", "law_warnings", "read_log",
]  # fmt: skip
