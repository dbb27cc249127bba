import os
import shutil

import pytest

from entropy_mech.grading import GradingPool, Sandbox


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
