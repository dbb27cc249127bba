"""Batched sampling from a Hugging Face model in this process, with a KV cache."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from entropy_mech.errors import bad_value
from entropy_mech.random_streams import uniforms
from entropy_mech.rollout.sampler import Completions, SamplingRequest


class TorchSampler:
    """Samples with the trainer's own model, so its weights are never stale.

    A token is drawn by inverting the cumulative distribution at the request's uniform number
    for that position. Its draws are therefore the same in any batch order or composition; only
    the rounding of the logits, which padding can move, could ever turn one token into another.
    """

    def __init__(self, model: PreTrainedModel, *, pad_token: int, eos_token: int):
        self.model, self.pad_token, self.eos_token = model, pad_token, eos_token

    @torch.no_grad()
    def sample(
        self,
        requests: Sequence[SamplingRequest],
        *,
        temperature: float,
        max_new_tokens: int,
        policy_version: int = 0,
    ) -> Completions:
        """Sample one response a request; see ``rollout.sampler.Sampler``."""
        if temperature < 0:
            raise bad_value("rollout.temperature", temperature, "give 0 (greedy) or more")
        keys = np.array([request.key for request in requests], dtype=np.uint64)
        out = _Output(len(requests), max_new_tokens, self.pad_token, self.model.device)
        decoder = _Decoder(self.model, [r.prompt_tokens for r in requests], self.pad_token)
        alive = torch.arange(len(requests), device=self.model.device)
        for position in range(max_new_tokens):
            draws = uniforms(keys[alive.cpu().numpy()], position)
            token, logp = _draw(decoder.logits, temperature, torch.from_numpy(draws))
            out.write(position, alive, token, logp)
            going = token != self.eos_token
            out.finished[alive[~going]] = True
            alive = alive[going]
            if not len(alive) or position + 1 == max_new_tokens:
                break
            # Finished rows leave the batch: most responses are far shorter than the longest.
            decoder.advance(token[going], None if going.all() else going)
        return out.completions(policy_version)


class _Decoder:
    """The KV cache, the padding mask and the logits of the next token, for the live rows."""

    def __init__(self, model: PreTrainedModel, prompts: Sequence[Sequence[int]], pad: int):
        self.model = model
        longest = max(len(prompt) for prompt in prompts)
        # Padding stands on the left, so that every row's next token is the same column.
        rows = [[pad] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
        mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        ids = torch.tensor(rows, device=model.device)
        self.mask = torch.tensor(mask, device=model.device)
        self.cache = DynamicCache(config=model.config)
        positions = (self.mask.cumsum(dim=1) - 1).clamp(min=0)
        self._forward(ids, positions)

    def advance(self, tokens: Tensor, keep: Tensor | None) -> None:
        """Drop the rows not kept, then feed one token to each of the others."""
        if keep is not None:
            self.cache.batch_select_indices(keep.nonzero().squeeze(1))
            self.mask = self.mask[keep]
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(self.mask), 1)], dim=1)
        self._forward(tokens.unsqueeze(1), self.mask.sum(dim=1, keepdim=True) - 1)

    def _forward(self, ids: Tensor, positions: Tensor) -> None:
        states = self.model.model(
            input_ids=ids,
            attention_mask=self.mask,
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
        ).last_hidden_state
        self.logits = self.model.lm_head(states[:, -1]).float()


class _Output:
    """Result tensors, filled column by column."""

    def __init__(self, rows: int, columns: int, pad: int, device: torch.device):
        self.tokens = torch.full((rows, columns), pad, device=device)
        self.logp = torch.zeros(rows, columns, device=device)
        self.length = torch.zeros(rows, dtype=torch.long, device=device)
        self.finished = torch.zeros(rows, dtype=torch.bool, device=device)

    def write(self, position: int, rows: Tensor, token: Tensor, logp: Tensor) -> None:
        self.tokens[rows, position] = token
        self.logp[rows, position] = logp
        self.length[rows] = position + 1

    def completions(self, policy_version: int) -> Completions:
        longest = int(self.length.max()) if len(self.length) else 0
        columns = torch.arange(longest, device=self.length.device)
        return Completions(
            tokens=self.tokens[:, :longest],
            response_mask=columns < self.length.unsqueeze(1),
            logp_sampler=self.logp[:, :longest],
            finished=self.finished,
            policy_version=policy_version,
        )


def _draw(logits: Tensor, temperature: float, draws: Tensor) -> tuple[Tensor, Tensor]:
    """Return a token a row and its log-probability (at temperature 1 where greedy)."""
    logp = torch.log_softmax(logits / temperature if temperature else logits, dim=-1)
    if temperature:
        cumulative = logp.double().exp().cumsum(dim=-1)
        threshold = draws.to(cumulative).unsqueeze(1) * cumulative[:, -1:]
        token = (cumulative <= threshold).sum(dim=-1).clamp(max=logits.shape[-1] - 1)
    else:
        token = logits.argmax(dim=-1)
    return token, logp.gather(1, token.unsqueeze(1)).squeeze(1)
