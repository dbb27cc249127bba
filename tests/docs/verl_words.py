"""The settings of verl that a page names, looked up in verl itself."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "integrations.md"
# In a process of its own, since verl and TRL cannot be imported together.
_KNOWN = """
import sys
sys.modules["trl"] = None
from entropy_mech.integrations.verl import LOSS_MODES
from verl.workers.config import HFModelConfig
from verl.workers.config.actor import PolicyLossConfig
from verl.utils.import_utils import load_extern_object
place = "pkg://entropy_mech.integrations.rewards"
assert load_extern_object(place, "verl_math_score")("", "1", "1")["score"] == 1
print(*LOSS_MODES, *PolicyLossConfig.__dataclass_fields__, *HFModelConfig.__dataclass_fields__)
"""


def check_verl(words: list[str]) -> None:
    """Check ``section.name=value`` words, and the loss modes that the guide names in its text."""
    if importlib.util.find_spec("verl") is None:
        pytest.skip("verl: not installed; docs/guides/integrations.md says how its tests are run")
    done = subprocess.run(
        [sys.executable, "-c", _KNOWN], capture_output=True, text=True, check=True
    )
    known = set(done.stdout.split())
    settings = dict(word.split("=") for word in words)
    assert all(name.startswith("actor_rollout_ref.") for name in settings)
    assert {name.rpartition(".")[2] for name in settings} <= known
    assert settings["actor_rollout_ref.actor.policy_loss.loss_mode"] in known
    assert set(re.findall(r"`(\w+_cov_\w+_batch)`", GUIDE.read_text())) <= known
