"""From a value a token to one number: what a batch's loss is the mean of."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from entropy_mech.errors import bad_value, unknown_name

AGGREGATIONS = ("token_mean", "sequence_mean_token_mean", "sequence_mean_token_sum")


@dataclass(frozen=True)
class Aggregation:
    """How B x T values become a scalar, with the denominators of the whole optimizer step.

    - ``token_mean``: the mean over all response tokens (the paper's released code, DAPO).
    - ``sequence_mean_token_mean``: the mean over responses of the mean over their tokens (GRPO's
      original form, and the paper's text for the entropy): a token of a short response weighs
      more.
    - ``sequence_mean_token_sum``: the mean over responses of the sum over their tokens, divided
      by one fixed length (Dr. GRPO, arXiv 2503.20783): no weight depends on a length. This is
      verl's ``seq-mean-token-sum-norm`` from verl 0.8 on; up to 0.7 verl divided by the length
      alone, not by the number of responses, so its loss was that many times larger.

    The counts are those of the whole step, over all its micro-batches and ranks: then the parts
    of a batch add up to the whole, however it is split. A count that is not given is taken from
    the tensors at hand; responses without a token do not count.

    Attributes:
        method: one of ``AGGREGATIONS``.
        token_count: response tokens of the optimizer step.
        sequence_count: responses of the optimizer step that have a token.
        normaliser_tokens: the fixed length of ``sequence_mean_token_sum``.

    Raises:
        UserError: unknown method; ``sequence_mean_token_sum`` without its length.

    >>> mask = torch.tensor([[True, False], [True, True]])
    >>> values = torch.tensor([[3.0, 9.0], [1.0, 2.0]])
    >>> Aggregation()(values, mask).item()      # (3 + 1 + 2) / 3
    2.0
    >>> Aggregation("sequence_mean_token_mean")(values, mask).item()     # (3 + 1.5) / 2
    2.25
    >>> Aggregation("sequence_mean_token_sum", normaliser_tokens=4)(values, mask).item()
    0.75

    """

    method: str = "token_mean"
    token_count: int | None = None
    sequence_count: int | None = None
    normaliser_tokens: int | None = None

    def __post_init__(self) -> None:
        """Refuse what could only fail later."""
        if self.method not in AGGREGATIONS:
            raise unknown_name("loss.aggregation", self.method, AGGREGATIONS)
        if self.method == "sequence_mean_token_sum" and self.normaliser_tokens is None:
            raise bad_value(
                "loss.normaliser_tokens",
                None,
                "sequence_mean_token_sum divides by a fixed length; give it, in tokens",
            )

    def __call__(
        self, values: Tensor, response_mask: Tensor, dropped: Tensor | None = None
    ) -> Tensor:
        """Return the scalar; all are B x T. What is ``dropped`` is 0 and counts all the same."""
        keep = response_mask if dropped is None else response_mask & ~dropped
        kept = torch.where(keep, values, 0.0)
        if self.method == "token_mean":
            return kept.sum() / self.tokens(response_mask)
        lengths = torch.count_nonzero(response_mask, dim=1)
        count = self.sequence_count
        sequences = max(int(torch.count_nonzero(lengths)), 1) if count is None else count
        if self.method == "sequence_mean_token_mean":
            return (kept.sum(dim=1) / lengths.clamp(min=1)).sum() / sequences
        return kept.sum() / (sequences * self.normaliser_tokens)

    def tokens(self, response_mask: Tensor) -> int:
        """Return the tokens of the optimizer step: the denominator of every token mean."""
        if self.token_count is not None:
            return self.token_count
        return max(int(torch.count_nonzero(response_mask)), 1)
