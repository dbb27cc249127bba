"""The paper's own numbers: tables as printed, figures as read from its images.

``load`` gives a digitised figure, ``table1`` and ``table2`` the printed tables, ``printed`` numbers
from the text, ``curve_coefficients`` the (a, b) of the law as the authors drew it. README.md beside
the data says how the figures were read and how far to trust each reading.
"""

from entropy_mech.published.tables import (
    FIGURES,
    curve_coefficients,
    load,
    printed,
    scatter,
    table1,
    table2,
)

__all__ = ["FIGURES", "curve_coefficients", "load", "printed", "scatter", "table1", "table2"]
