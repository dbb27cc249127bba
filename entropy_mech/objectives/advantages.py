"""Advantages from rewards: GRPO, RLOO, REINFORCE++ and PRIME (section 2.1).

``token_advantages`` dispatches to the algorithm's function. PRIME's implicit process reward model
is here too.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from entropy_mech.errors import bad_value, unknown_name
from entropy_mech.objectives.covariance import check_shapes
from entropy_mech.objectives.logprobs import at_least_float32

# -- GRPO, RLOO, REINFORCE++ ---------------------------------------------------------------------


def group_advantages(rewards: Tensor, *, correction: int = 1) -> Tensor:
    """GRPO's advantage, (r - mean) / std over the responses of one prompt (paper, Eq. 3).

    In a group whose rewards are all the same every advantage is 0, not 0/0.

    Args:
        rewards: P x G, any real numbers; the paper's are 0 and 1.
        correction: 1 divides the variance by G - 1, as the released code (verl) and TRL do;
            0 divides by G. The paper does not say.

    Returns:
        P x G, float32 (float64 in, float64 out); each row has mean 0.

    Raises:
        UserError: G is 1, so that every advantage would be 0.

    >>> group_advantages(torch.tensor([[1.0, 0.0, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0]]), correction=0)
    tensor([[ 1., -1., -1.,  1.],
            [ 0.,  0.,  0.,  0.]])

    """
    rewards = check_groups(rewards)
    if correction not in (0, 1):
        raise bad_value("algorithm.std_correction", correction, "give 1 (G - 1 below) or 0 (G)")
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    std = rewards.std(dim=1, correction=correction, keepdim=True)
    mixed = mixed_outcome_groups(rewards).unsqueeze(1)
    return torch.where(mixed, centred / torch.where(mixed, std, 1.0), 0.0)


def mixed_outcome_groups(rewards: Tensor) -> Tensor:
    """Return which prompts (P, bool) have responses of different reward: those the filter keeps."""
    return (rewards != rewards[:, :1]).any(dim=1)


def rloo_advantages(rewards: Tensor) -> Tensor:
    """RLOO's advantage: the reward less the mean reward of the prompt's other responses.

    r_i - sum_{j != i} r_j / (G - 1) = (r_i - mean) G / (G - 1) (arXiv 2402.14740). It is not
    divided by a standard deviation; where all rewards of a group are the same it is 0.

    Args:
        rewards: P x G.

    Returns:
        P x G, float32 (float64 in, float64 out); each row has mean 0.

    Raises:
        UserError: G is 1.

    >>> rloo_advantages(torch.tensor([[1.0, 0.0, 0.0, 1.0, 1.0]]))
    tensor([[ 0.5000, -0.7500, -0.7500,  0.5000,  0.5000]])

    """
    rewards = check_groups(rewards)
    responses = rewards.shape[1]
    centred = (rewards - rewards.mean(dim=1, keepdim=True)) * (responses / (responses - 1))
    return torch.where(mixed_outcome_groups(rewards).unsqueeze(1), centred, 0.0)


def reinforce_pp_advantages(
    rewards: Tensor,
    response_mask: Tensor,
    *,
    normalise_over: str = "tokens",
    baseline: str = "none",
) -> Tensor:
    """REINFORCE++'s advantage: the return normalised over the whole batch (arXiv 2501.03262).

    The only reward comes at the end and nothing is discounted, so the return of every token is its
    response's reward. The paper says "normalised over the whole batch", but not whether over its
    tokens or its responses. A batch whose returns are all the same has advantages 0.

    Args:
        rewards: P x G.
        response_mask: B x T with B = P * G, rows of a prompt adjacent.
        normalise_over: ``tokens``, mean and standard deviation over all response tokens, as verl
            does: a long response counts more, and the mean over tokens is 0; or ``sequences``,
            over responses.
        baseline: ``none``; or ``group_mean``, where the mean reward of the prompt is taken off
            first ("REINFORCE++ with baseline").

    Returns:
        B x T, float32 or float64, 0 outside the mask; the std has N - 1 below, as in verl.

    >>> mask = torch.tensor([[True, True], [True, False], [True, False]])
    >>> rewards = torch.tensor([[3.0, 0.0, 0.0]])    # over tokens: mean 1.5, std sqrt(3)
    >>> reinforce_pp_advantages(rewards, mask)
    tensor([[ 0.8660,  0.8660],
            [-0.8660,  0.0000],
            [-0.8660,  0.0000]])

    """
    rewards = check_groups(rewards, least=2 if baseline == "group_mean" else 1)
    if baseline == "group_mean":
        centred = rewards - rewards.mean(dim=1, keepdim=True)
        rewards = torch.where(mixed_outcome_groups(rewards).unsqueeze(1), centred, 0.0)
    elif baseline != "none":
        raise unknown_name("algorithm.baseline", baseline, ("none", "group_mean"))
    if normalise_over == "sequences":
        everything = torch.ones_like(rewards, dtype=torch.bool)
        return to_tokens(normalised(rewards, everything), response_mask)
    if normalise_over != "tokens":
        raise unknown_name("algorithm.normalise_over", normalise_over, ("tokens", "sequences"))
    return normalised(to_tokens(rewards, response_mask), response_mask)


def to_tokens(by_response: Tensor, response_mask: Tensor) -> Tensor:
    """Give every token (B x T) the value of its response (P x G); 0 outside the mask."""
    check_shapes(response_mask)
    if by_response.numel() != len(response_mask):
        raise ValueError(
            f"{by_response.numel()} rewards, {len(response_mask)} rows of the mask: one a row"
        )
    return torch.where(response_mask, by_response.reshape(-1, 1), 0.0)


def normalised(values: Tensor, keep: Tensor) -> Tensor:
    """(v - mean) / std over the kept entries, 0 elsewhere; all 0 where they are all the same."""
    kept = values[keep]
    if not len(kept) or not (kept != kept[0]).any():
        return torch.zeros_like(values)
    return torch.where(keep, (values - kept.mean()) / kept.std(correction=1), 0.0)


def check_groups(rewards: Tensor, *, least: int = 2) -> Tensor:
    """Return P x G rewards in float32 or float64; refuse groups below ``least``, and NaN."""
    if not isinstance(rewards, Tensor):
        raise ValueError(f"rewards are of type {type(rewards).__name__}: give a tensor, P x G")
    if rewards.ndim != 2:
        raise ValueError(f"rewards have shape {tuple(rewards.shape)}, not prompts x responses")
    if rewards.shape[1] < least:
        raise bad_value(
            "rollout.responses",
            rewards.shape[1],
            "a group of 1 has no spread and every advantage is 0; give 2 or more",
        )
    if not rewards.isfinite().all():
        raise bad_value("rewards", "NaN or inf", "give finite rewards, or leave such prompts out")
    return at_least_float32(rewards)


# -- PRIME, and the dispatch --------------------------------------------------------------------


def token_advantages(
    algorithm: Any,
    rewards: Tensor,
    response_mask: Tensor,
    process_rewards: Tensor | None = None,
) -> Tensor:
    """Return the advantage of every token: dispatches to the algorithm's advantage function.

    Args:
        algorithm: its section of ``entropy_mech.config.objective``; ``name`` says which.
        rewards: P x G, outcome rewards.
        response_mask: B x T, B = P * G, rows of a prompt adjacent.
        process_rewards: B x T, for PRIME alone, from ``implicit_process_rewards``.

    Returns:
        B x T, float32 or float64, detached; 0 outside the mask.

    """
    section = algorithm.model_dump()
    match section.pop("name"):
        case "grpo":
            by_response = group_advantages(rewards, correction=algorithm.std_correction)
            return to_tokens(by_response, response_mask)
        case "rloo":
            return to_tokens(rloo_advantages(rewards), response_mask)
        case "reinforce_pp":
            return reinforce_pp_advantages(rewards, response_mask, **section)
        case "prime":
            if process_rewards is None:
                raise ValueError("PRIME needs process_rewards, B x T, from the implicit PRM")
            of_the_prm = ("prm_learning_rate", "prm_beta", "prm_update", "granularity")
            settings = {name: section[name] for name in section.keys() - set(of_the_prm)}
            return prime_advantages(rewards, process_rewards, response_mask, **settings)
    names = ("grpo", "rloo", "reinforce_pp", "prime")
    raise unknown_name("algorithm.name", algorithm.name, names)


def prime_advantages(
    rewards: Tensor,
    process_rewards: Tensor,
    response_mask: Tensor,
    *,
    outcome_coefficient: float = 1.0,
    process_coefficient: float = 1.0,
    process_baseline: str = "leave_one_out",
    process_norm: str = "none",
    last_token_reward: bool = True,
    whiten: bool = False,
) -> Tensor:
    """PRIME: RLOO over the outcome plus RLOO over process rewards (arXiv 2502.01456).

    A_{i,t} = c_p sum_{s >= t} (r_{i,s} - b_i) + c_o (R_i - mean of the other responses' R), where
    b_i is the mean over the prompt's other responses of their mean token reward. Equation and
    released code differ; the defaults are the equation's, the second values below the code's.

    Args:
        rewards: P x G, the outcomes R.
        process_rewards: B x T, r_{i,s}; B = P * G, rows of a prompt adjacent.
        response_mask: B x T.
        outcome_coefficient: c_o. 1; 5 as released.
        process_coefficient: c_p. 1; 5 as released.
        process_baseline: ``leave_one_out``, b_i above; or ``released``, r G / (G - 1) less the
            sum of all G means / (G - 1): the same summed over a response, another slope in it.
        process_norm: ``none``; or ``batch_max``, where the process rewards are first divided by
            the largest absolute return (sum of future process rewards) in the batch.
        last_token_reward: True; False sets the process reward of each last token to 0.
        whiten: False; True normalises A over all response tokens.

    Returns:
        B x T, float32 or float64, 0 outside the mask. A prompt whose outcomes are all the same
        keeps its process part. A response without a token has a mean token reward of 0.

    Raises:
        UserError: G is 1; a setting of unknown value.

    >>> mask = torch.ones(2, 2, dtype=torch.bool)
    >>> process = torch.tensor([[0.5, 0.25], [0.1, 0.3]])      # baselines 0.2 and 0.375
    >>> prime_advantages(torch.tensor([[1.0, 0.0]]), process, mask)
    tensor([[ 1.3500,  1.0500],
            [-1.3500, -1.0750]])

    """
    rewards = check_groups(rewards)
    check_shapes(response_mask, process_rewards=process_rewards)
    outcome = to_tokens(rloo_advantages(rewards), response_mask)
    reward = torch.where(response_mask, process_rewards.detach().to(outcome.dtype), 0.0)
    if not last_token_reward:
        reward = torch.where(_is_last(response_mask), 0.0, reward)
    if process_norm == "batch_max":
        largest = _future_sum(reward).abs().max()
        reward = reward / torch.where(largest > 0, largest, 1.0)
    elif process_norm != "none":
        raise unknown_name("algorithm.process_norm", process_norm, ("none", "batch_max"))
    centred = _less_the_others(reward, response_mask, rewards.shape[1], process_baseline)
    process = torch.where(response_mask, _future_sum(centred), 0.0)
    advantages = outcome_coefficient * outcome + process_coefficient * process
    return normalised(advantages, response_mask) if whiten else advantages


def _less_the_others(reward: Tensor, mask: Tensor, responses: int, baseline: str) -> Tensor:
    mean = reward.sum(dim=1) / mask.sum(dim=1).clamp(min=1)
    total = mean.view(-1, responses).sum(dim=1).repeat_interleave(responses)
    if baseline == "leave_one_out":
        centred = reward - ((total - mean) / (responses - 1)).unsqueeze(1)
    elif baseline == "released":
        centred = (reward * responses - total.unsqueeze(1)) / (responses - 1)
    else:
        known = ("leave_one_out", "released")
        raise unknown_name("algorithm.process_baseline", baseline, known)
    return torch.where(mask, centred, 0.0)


def _future_sum(values: Tensor) -> Tensor:
    return values.flip(1).cumsum(dim=1).flip(1)


def _is_last(mask: Tensor) -> Tensor:
    """Where the last true entry of each row is."""
    return mask & (_future_sum(mask.long()) == 1)


# -- The implicit process reward model of PRIME ----------------------------------------------------
# A language model pi_prm is trained as an outcome classifier, with logit beta log(pi_prm / pi_ref)
# of the whole response. Since the sum over tokens predicts the outcome, each term serves as the
# reward of its token, and no step needs a label (arXiv 2502.01456).


def implicit_process_rewards(
    logp_prm: Tensor, logp_ref: Tensor, response_mask: Tensor, *, beta: float = 0.05
) -> Tensor:
    """r_t = beta (log pi_prm(y_t) - log pi_ref(y_t)) (arXiv 2502.01456).

    Args:
        logp_prm: B x T, nats, under the implicit PRM.
        logp_ref: B x T, nats, under its frozen reference.
        response_mask: B x T.
        beta: above 0; 0.05 as released.

    Returns:
        B x T, float32 or float64, detached; 0 outside the mask.

    """
    return _log_ratio(logp_prm.detach(), logp_ref, response_mask, beta) * beta


def implicit_prm_loss(
    logp_prm: Tensor,
    logp_ref: Tensor,
    response_mask: Tensor,
    outcomes: Tensor,
    *,
    beta: float = 0.05,
    sequence_count: int | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropy of sigmoid(beta sum_t log(pi_prm / pi_ref)) against the outcome.

    To split a batch give ``sequence_count``, the sequences of the whole optimizer step: loss and
    metrics of the parts then add up to those of the whole. A sequence without a token counts: it
    scores 0, a probability of 1/2.

    Args:
        logp_prm: B x T, nats, under the model being trained.
        logp_ref: B x T, nats, under its frozen reference.
        response_mask: B x T.
        outcomes: B, the outcome rewards, in [0, 1].
        beta: above 0.
        sequence_count: B of the whole optimizer step.

    Returns:
        The loss, a scalar, differentiable with respect to ``logp_prm``; and metrics, detached
        scalars, means over sequences: ``prm_accuracy``, how often the sign of the summed reward
        names the outcome (as an outcome reward model); and ``prm_positive_fraction``, the outcomes
        above 1/2, without which accuracy says little.

    >>> logp_ref = torch.log(torch.tensor([[0.5, 0.5]]))
    >>> logp_prm = torch.log(torch.tensor([[0.75, 1.0]]))      # ratio 3/2 times 2: odds 3 to 1
    >>> mask, right = torch.ones(1, 2, dtype=torch.bool), torch.tensor([1.0])
    >>> loss, _ = implicit_prm_loss(logp_prm, logp_ref, mask, right, beta=1.0)
    >>> round(loss.exp().item(), 6)
    1.333333

    """
    if outcomes.shape != response_mask.shape[:1]:
        raise ValueError(f"outcomes has shape {tuple(outcomes.shape)}, not one a sequence")
    if not ((outcomes >= 0) & (outcomes <= 1)).all():
        raise bad_value("outcomes", outcomes.tolist(), "give outcomes from 0 (wrong) to 1 (right)")
    score = beta * _log_ratio(logp_prm, logp_ref, response_mask, beta).sum(dim=1)
    outcomes = outcomes.to(score.dtype)
    count = len(outcomes) if sequence_count is None else sequence_count
    loss = binary_cross_entropy_with_logits(score, outcomes, reduction="sum") / max(count, 1)
    positive = outcomes > 0.5
    right = (score.detach() > 0) == positive
    shares = {"prm_accuracy": right, "prm_positive_fraction": positive}
    metrics = {name: x.to(score.dtype).sum() / max(count, 1) for name, x in shares.items()}
    return loss, metrics


def _log_ratio(logp_prm: Tensor, logp_ref: Tensor, response_mask: Tensor, beta: float) -> Tensor:
    check_shapes(response_mask, logp_prm=logp_prm, logp_ref=logp_ref)
    if not beta > 0:
        raise bad_value("algorithm.prm_beta", beta, "beta scales the reward and must be above 0")
    difference = at_least_float32(logp_prm) - at_least_float32(logp_ref.detach())
    return torch.where(response_mask, difference, 0.0)
