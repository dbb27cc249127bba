"""Shared by all tests: one thread, and a tiny run that is trained once a session."""

from pathlib import Path

import pytest

# Small enough that a run takes seconds; large enough that every phase does something.
TINY = {
    "steps": 6,
    "record_tokens_every": 2,
    "model": {"layers": 1, "hidden_size": 16, "intermediate_size": 32, "heads": 2, "kv_heads": 1},
    "problems": {"train_size": 40, "level_shares": {2: 0.6, 3: 0.4}, "validation_counts": {2: 9}},
    "base": {"steps": 300, "noisy_steps": 50, "batch_size": 32, "level_shares": {2: 0.6, 3: 0.4}},
    "rollout": {"prompts": 6, "responses": 4, "max_new_tokens": 20},
    "update": {"updates_per_rollout": 2, "micro_batch_size": 8},
    "validation": {"every": 2},
    "checkpoint": {"every": 2},
}

# For a toy that vLLM can run: its kernels on a CPU want 32 numbers a head at the least.
VLLM_MODEL = {"hidden_size": 64, "intermediate_size": 128, "heads": 2, "kv_heads": 1}
KL_COV = {"method": "kl_cov", "penalty_fraction": 0.2}
CLIP_COV = {"method": "clip_cov", "clip_fraction": 0.1, "cov_low": 0.05}


def tiny(**changes):
    """Return the tiny configuration with whole sections merged and plain keys replaced."""
    from entropy_mech.config.files import make_config

    table = dict(TINY)
    for key, value in changes.items():
        merge = isinstance(value, dict) and key in table
        table[key] = {**table[key], **value} if merge else value
    return make_config(table)


def pytest_terminal_summary(terminalreporter):
    """Say which optional packages were tested with, and why any was left out."""
    from entropy_mech.stack import installed, left_out

    terminalreporter.section("optional packages")
    for name, version in installed().items():
        terminalreporter.line(f"{name} {version}")
    for name, reason in left_out().items():
        terminalreporter.line(f"{name} LEFT OUT, and its tests skipped: {reason}")


@pytest.fixture(scope="session")
def session_base_models(tmp_path_factory) -> Path:
    """Base models that all tests share; each is trained once."""
    return tmp_path_factory.mktemp("base_models")


@pytest.fixture(scope="module")
def module_store(session_base_models, tmp_path_factory) -> Path:
    """A run store of a test module's own, so that its runs meet no others of the same name."""
    folder = tmp_path_factory.mktemp("store")
    (folder / "base_models").symlink_to(session_base_models)
    return folder


@pytest.fixture
def store(module_store):
    """The module's store, opened; torch on one thread."""
    import torch

    from entropy_mech.runs import RunStore

    torch.set_num_threads(1)
    return RunStore(module_store)


@pytest.fixture
def ax():
    """Axes of a figure that is closed after the test."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots()
    yield axes
    pyplot.close(figure)
