"""Two training ranks that hold one vLLM engine between them answer as one process does."""

import json
import subprocess
import sys

import pytest

from tests.needs import needs_vllm
from tests.sampling.ranks import requests, rows, sampler_of
from tests.sampling.tiny_models import make, save

pytestmark = [pytest.mark.long, needs_vllm]


def test_an_engine_split_over_two_ranks(tmp_path):
    folder, result = save(make("untied"), tmp_path / "model"), tmp_path / "saw"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run(
        [*launcher, "-m", "tests.sampling.ranks", str(folder), str(result)], check=True, timeout=600
    )
    saw = [json.loads((tmp_path / f"saw.{rank}").read_text()) for rank in (0, 1)]
    sampler = sampler_of(folder)
    whole = rows(sampler.sample(requests(), temperature=1.0, max_new_tokens=16))
    sampler.close()
    assert saw[0]["rows"] + saw[1]["rows"] == whole
    assert max(s["gap"] for s in saw) < 1e-5
    assert [s["alone"] for s in saw] == [1, 0]
