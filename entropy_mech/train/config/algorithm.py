"""How rewards become advantages: the four algorithms of section 2, and their settings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from entropy_mech.train.config.section import LearningRate, Section


class GRPO(Section):
    """The standard score among the responses of a prompt (Eq. 3)."""

    name: Literal["grpo"] = "grpo"
    std_correction: Literal[0, 1] = Field(
        1, description="the std divides by G minus this; 1 as released, the paper is silent"
    )


class RLOO(Section):
    """The reward less the mean reward of the prompt's other responses; the paper's, no setting."""

    name: Literal["rloo"] = "rloo"


class ReinforcePP(Section):
    """REINFORCE++: rewards normalised over the whole rollout (section 2.1)."""

    name: Literal["reinforce_pp"] = "reinforce_pp"
    normalise_over: Literal["tokens", "sequences"] = Field(
        "tokens",
        description="population of mean and std: tokens as released (a long response counts more) "
        "or sequences; the paper says the batch",
    )
    baseline: Literal["none", "group_mean"] = Field(
        "none",
        description="what is taken off first: none is the paper's, group_mean the later variant "
        "of REINFORCE++ for several responses a prompt",
    )


class PRIME(Section):
    """RLOO over the outcome plus RLOO over implicit process rewards (arXiv 2502.01456)."""

    name: Literal["prime"] = "prime"
    prm_learning_rate: LearningRate = Field(1e-6, description="of the implicit PRM; paper 1e-6")
    prm_beta: float = Field(
        0.05, gt=0, description="beta of r = beta (log pi_prm - log pi_ref); released 0.05"
    )
    outcome_coefficient: float = Field(
        1.0, ge=0, description="weight of the outcome part; 1 in the equation, 5 as released"
    )
    process_coefficient: float = Field(
        1.0, ge=0, description="weight of the process part; 1 in the equation, 5 as released"
    )
    prm_update: Literal["before", "after"] = Field(
        "before",
        description="the PRM learns from a rollout before it rewards it (released, two forward "
        "passes) or after",
    )
    granularity: Literal["token"] = Field("token", description="a process reward for every token")
    process_baseline: Literal["leave_one_out", "released"] = Field(
        "leave_one_out",
        description="leave_one_out: less the mean token reward of the other responses, as in the "
        "equation; released: G / (G - 1) of each token reward less all means / (G - 1)",
    )
    process_norm: Literal["none", "batch_max"] = Field(
        "none",
        description="batch_max divides by the largest absolute return of the rollout, as "
        "released; the equation does not",
    )
    last_token_reward: bool = Field(
        True, description="the last token has a process reward too; false as released"
    )
    whiten: bool = Field(
        False,
        description="normalise the sum over the rollout's tokens: true as released, false as in "
        "the equation",
    )


AlgorithmConfig = Annotated[GRPO | RLOO | ReinforcePP | PRIME, Field(discriminator="name")]
