"""Problems with verifiable answers: what a policy is trained and measured on."""

from entropy_mech.problems.problem import Problem
from entropy_mech.problems.toy import ModularChains, ToyProblem

__all__ = ["ModularChains", "Problem", "ToyProblem"]
