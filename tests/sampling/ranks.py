"""One of two ranks that hold a vLLM engine between them; started by test_vllm_ranks."""

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from entropy_mech.config import VLLMSamplerConfig
from entropy_mech.sampling import SamplingRequest
from entropy_mech.sampling.vllm_sampler import VLLMSampler, probe_gap, probe_prompts
from tests.sampling.tiny_models import END, LONGEST, PAD, VOCABULARY, logp_of, make, perturb


def requests():
    """Return 7 requests, of which rank 0 has the first 5."""
    return [SamplingRequest((3 + i, 9, 20 - i), 1000 + i) for i in range(7)]


def sampler_of(folder, **changes):
    """Return a sampler in this process."""
    return VLLMSampler(
        folder,
        VLLMSamplerConfig(max_sequences=16, max_num_batched_tokens=LONGEST, **changes),
        pad_token=PAD,
        eos_token=END,
        dtype=torch.float32,
        max_model_len=LONGEST,
    )


def rows(out):
    """Return the responses' tokens."""
    return [row[m].tolist() for row, m in zip(out.tokens, out.response_mask, strict=True)]


def main(folder: str, result: str) -> None:
    """Sample, sleep, sync, probe; write what this rank saw."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    sampler = sampler_of(folder, tensor_parallel=2)
    mine = requests()[:5] if rank == 0 else requests()[5:]
    saw = {"rows": rows(sampler.sample(mine, temperature=1.0, max_new_tokens=16))}
    model = make("untied")
    perturb(model, 1)
    sampler.sleep()
    sampler.sync(model.named_parameters(), 1)
    saw["gap"] = probe_gap(
        sampler, lambda ids: logp_of(model, ids), probe_prompts(VOCABULARY, LONGEST)
    ).largest
    nobody = sampler.sample(
        [] if rank else requests()[:1], temperature=1.0, max_new_tokens=4, policy_version=1
    )
    saw["alone"] = len(nobody.tokens)
    sampler.close()
    dist.barrier()  # the trainer's own process group outlives the engine
    Path(f"{result}.{rank}").write_text(json.dumps(saw))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
