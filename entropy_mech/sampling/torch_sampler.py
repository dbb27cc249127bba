"""Batched sampling from a Hugging Face model in this process, with a KV cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from entropy_mech.errors import bad_value
from entropy_mech.objectives import token_entropy
from entropy_mech.random_streams import uniforms
from entropy_mech.sampling.decoders import Decoder, FusedDecoder, HuggingFaceDecoder, why_not_fused
from entropy_mech.sampling.sampler import Completions, SamplingRequest


class TorchSampler:
    """Samples with the trainer's own model, so its weights are never stale.

    A token is drawn by inverting the cumulative distribution at the request's uniform number
    for that position. Its draws are therefore the same in any batch order or composition; only
    the rounding of the logits, which padding can move, could ever turn one token into another.

    Qwen2, Llama and Mistral in float32 on a CPU are decoded by ``FusedDecoder``, which copies the
    weights at every call; all else by the model's own forward pass. With ``keep_entropy`` the
    completions have the policy's entropy at every token.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        pad_token: int,
        eos_token: int,
        keep_entropy: bool = False,
    ):
        self.model, self.pad_token, self.eos_token = model, pad_token, eos_token
        self.keep_entropy = keep_entropy

    @torch.no_grad()
    def sample(
        self,
        requests: Sequence[SamplingRequest],
        *,
        temperature: float,
        max_new_tokens: int,
        policy_version: int = 0,
    ) -> Completions:
        """Sample one response a request; see ``sampling.sampler.Sampler``."""
        if temperature < 0:
            raise bad_value("rollout.temperature", temperature, "give 0 (greedy) or more")
        keys = np.array([request.key for request in requests], dtype=np.uint64)
        shape, device = (len(requests), max_new_tokens), self.model.device
        out = _Output(shape, self.pad_token, device, keep_entropy=self.keep_entropy)
        with _in_evaluation_mode(self.model):
            self._fill(out, [request.prompt_tokens for request in requests], keys, temperature)
        return out.completions(policy_version)

    def _fill(
        self,
        out: _Output,
        prompts: Sequence[Sequence[int]],
        keys: np.ndarray,
        temperature: float,
    ) -> None:
        decoder = self._decoder(prompts)
        rows, columns = out.tokens.shape
        alive = torch.arange(rows, device=self.model.device)
        for position in range(columns):
            draws = torch.from_numpy(uniforms(keys, position))
            token, logp = _draw(decoder.logits, temperature, draws)
            out.write(position, alive, token, logp)
            if self.keep_entropy:
                out.entropy[alive, position] = token_entropy(decoder.logits)
            finished = token == self.eos_token
            if finished.any():
                # Finished rows leave the batch: most responses are far shorter than the longest.
                out.finished[alive[finished]] = True
                left = decoder.drop(finished)
                alive, token, keys = alive[left], token[left], keys[left.cpu().numpy()]
            if not len(alive) or position + 1 == columns:
                break
            decoder.advance(token)

    def _decoder(self, prompts: Sequence[Sequence[int]]) -> Decoder:
        chosen = FusedDecoder if why_not_fused(self.model) is None else HuggingFaceDecoder
        return chosen(self.model, prompts, self.pad_token)


@contextmanager
def _in_evaluation_mode(model: PreTrainedModel) -> Iterator[None]:
    """Sample as in evaluation: in training mode, gradient checkpointing keeps no KV cache.

    Hugging Face then drops the cache with a warning, and every token would see itself alone.
    """
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


class _Output:
    """Result tensors, filled column by column."""

    def __init__(
        self, shape: tuple[int, int], pad: int, device: torch.device, *, keep_entropy: bool
    ):
        rows = shape[0]
        self.tokens = torch.full(shape, pad, device=device)
        self.logp = torch.zeros(shape, device=device)
        self.entropy = torch.zeros(shape, device=device) if keep_entropy else None
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
            entropy=None if self.entropy is None else self.entropy[:, :longest],
        )


def _draw(logits: Tensor, temperature: float, draws: Tensor) -> tuple[Tensor, Tensor]:
    """Return a token a row and its log-probability (at temperature 1 where greedy)."""
    logp = torch.log_softmax(logits / temperature if temperature else logits, dim=-1)
    if temperature:
        cumulative = logp.double().exp_().cumsum_(dim=-1)
        threshold = draws.to(cumulative).unsqueeze(1) * cumulative[:, -1:]
        # The first word whose cumulative probability is above the threshold.
        token = torch.searchsorted(cumulative, threshold, right=True).squeeze(1)
        token = token.clamp(max=logits.shape[-1] - 1)
    else:
        token = logits.argmax(dim=-1)
    return token, logp.gather(1, token.unsqueeze(1)).squeeze(1)
