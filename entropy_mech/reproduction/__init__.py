"""Targets (a figure or table, its claims, its runs), their verdicts, and the gallery of them."""

from entropy_mech.paper.claims import Claim
from entropy_mech.reproduction.report import Report, open_report

__all__ = ["Claim", "Report", "open_report"]
