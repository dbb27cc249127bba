import json
import os
import shutil
from pathlib import Path

import pytest

from entropy_mech.grading import GradingPool, Sandbox

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "benchmarks"


def rows(name):
    """Rows of a real data set, or skip where the data are not at hand."""
    path = DATA / f"{name}.jsonl"
    if not path.exists():
        pytest.skip(f"the real rows are not here: {path.name}")
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.fixture(scope="session", params=["bubblewrap", "kernel"])
def mode(request):
    if request.param == "bubblewrap" and not shutil.which("bwrap"):
        pytest.skip("bubblewrap (bwrap) is not installed")
    if request.param == "kernel" and not os.path.isdir("/proc/self"):
        pytest.skip("the kernel mode's guarantees are tested on Linux")
    return request.param


@pytest.fixture(scope="session")
def sandbox(mode):
    with Sandbox(mode) as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def pool():
    with GradingPool(workers=2, error_limit_fraction=1.0) as pool:
        yield pool
