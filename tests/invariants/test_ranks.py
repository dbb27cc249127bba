"""Two processes with ZeRO 1, 2 and 3 train as one process does."""

import json
import os
import subprocess
import sys

import pytest
import torch

from tests.invariants.test_batch_split import assert_same
from tests.invariants.world import CASES, train_once
from tests.needs import needs_deepspeed

pytestmark = needs_deepspeed

SPLIT = {"micro_batch_tokens": 40}
IN_TILES = ("PPO clip", "entropy bonus", "PRIME")


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
    """Every case at every ZeRO stage, trained on two gloo processes."""
    names = [(stage, case, False) for stage in (1, 2, 3) for case in CASES]
    names += [(stage, case, True) for stage in (1, 2, 3) for case in IN_TILES]
    cases = [
        {
            **CASES[case],
            "update": SPLIT,
            "engine": {"kind": "deepspeed", "zero_stage": stage},
            "tiled_head": tiled,
        }
        for stage, case, tiled in names
    ]
    out = tmp_path_factory.mktemp("ranks") / "results.pt"
    run_ranks("tests.invariants.world", {"CASES": json.dumps([str(out), cases])})
    return dict(zip(names, torch.load(out), strict=True))


@pytest.mark.parametrize("stage", [1, 2, 3])
@pytest.mark.parametrize("case", CASES)
def test_two_ranks_train_as_one(on_two_ranks, case, stage):
    assert_same(train_once(**CASES[case]), on_two_ranks[stage, case, False])


@pytest.mark.parametrize("stage", [1, 2, 3])
@pytest.mark.parametrize("case", IN_TILES)
def test_two_ranks_with_the_head_in_tiles_train_as_one(on_two_ranks, case, stage):
    """Under ZeRO-3 the head comes and goes between the passes; its gradient holds logits then."""
    assert_same(train_once(**CASES[case]), on_two_ranks[stage, case, True])
