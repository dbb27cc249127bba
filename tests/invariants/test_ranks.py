"""Two processes with ZeRO 1, 2 and 3 train as one process does."""

import json
import os
import subprocess
import sys

import pytest
import torch

from tests.invariants.test_batch_split import assert_same, at_scope
from tests.invariants.world import METHODS, SELECTING, train_once
from tests.needs import needs_deepspeed

pytestmark = needs_deepspeed

SPLIT = {"micro_batch_tokens": 40}


def run_ranks(module, environment, *, size=2, timeout_s=300):
    """Run a module's main on several processes of this machine, as torchrun does."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *(f"--nproc-per-node={size}", "-m", module),
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]


@pytest.fixture(scope="module")
def on_two_ranks(tmp_path_factory):
    """Every method at every scope and ZeRO stage, trained on two gloo processes."""
    names, cases = [], []
    for stage in (1, 2, 3):
        for method in METHODS:
            for scope in ("rollout_batch", "mini_batch"):
                names.append((stage, method, scope))
                engine = {"kind": "deepspeed", "zero_stage": stage}
                cases.append({"loss": at_scope(method, scope), "engine": engine, **SPLIT})
    out = tmp_path_factory.mktemp("ranks") / "results.pt"
    run_ranks("tests.invariants.world", {"CASES": json.dumps([str(out), cases])})
    return dict(zip(names, torch.load(out), strict=True))


@pytest.mark.parametrize("stage", [1, 2, 3])
@pytest.mark.parametrize("scope", ["rollout_batch", "mini_batch"])
@pytest.mark.parametrize("method", METHODS)
def test_two_ranks_train_as_one(on_two_ranks, method, scope, stage):
    whole = train_once(at_scope(method, scope), micro_batch_size=16)
    assert_same(whole, on_two_ranks[stage, method, scope])
    if method in SELECTING:
        assert whole[1].any()
