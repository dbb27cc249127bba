"""Problems with verifiable answers: what a policy is trained and measured on."""

from entropy_mech.problems.problem import Problem
from entropy_mech.problems.toy import ToyProblem

__all__ = ["Problem", "ToyProblem"]
