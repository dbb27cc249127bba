"""One rollout sampled by all processes of a run, or by one for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from entropy_mech.rollout.sampler import Completions, Sampler, SamplingRequest
from entropy_mech.train.parallel import Ranks


class SharedSampler:
    """Deals the requests to the ranks' own samplers, or lets rank 0 answer all of them.

    Every rank gets all completions. A response depends on its own request alone, so it does not
    matter who sampled it.
    """

    # Whether the sampler is called with no request too: the ranks of one engine step jointly.
    joint = False

    def __init__(self, sampler: Sampler | None, ranks: Ranks, *, on_every_rank: bool):
        self.sampler, self.ranks, self.on_every_rank = sampler, ranks, on_every_rank

    def sample(
        self,
        requests: Sequence[SamplingRequest],
        *,
        temperature: float,
        max_new_tokens: int,
        policy_version: int = 0,
    ) -> Completions:
        """Sample one response a request; see ``rollout.sampler.Sampler``."""
        settings = {
            "temperature": temperature,
            "max_new_tokens": max_new_tokens,
            "policy_version": policy_version,
        }
        if not self.on_every_rank:
            out = self.sampler.sample(requests, **settings) if self.ranks.first else None
            return self.ranks.from_first(out)
        share = -(-len(requests) // self.ranks.size)
        mine = requests[self.ranks.rank * share : (self.ranks.rank + 1) * share]
        out = _on_host(self.sampler.sample(mine, **settings)) if mine or self.joint else None
        return _joined([part for part in self.ranks.gather(out) if part is not None])


def _on_host(out: Completions) -> Completions:
    return replace(
        out,
        tokens=out.tokens.cpu(),
        response_mask=out.response_mask.cpu(),
        logp_sampler=out.logp_sampler.cpu(),
        finished=out.finished.cpu(),
        entropy=None if out.entropy is None else out.entropy.cpu(),
    )


def _joined(parts: Sequence[Completions]) -> Completions:
    longest = max(part.tokens.shape[1] for part in parts)

    def stacked(name: str) -> Tensor:
        rows = [getattr(part, name) for part in parts]
        return torch.cat(
            [torch.nn.functional.pad(part, (0, longest - part.shape[1])) for part in rows]
        )

    return Completions(
        tokens=stacked("tokens"),
        response_mask=stacked("response_mask"),
        logp_sampler=stacked("logp_sampler"),
        finished=torch.cat([part.finished for part in parts]),
        policy_version=parts[0].policy_version,
        entropy=None if parts[0].entropy is None else stacked("entropy"),
    )
