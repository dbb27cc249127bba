"""Where a run's metrics are shown besides its own files."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from entropy_mech.train.config.section import Section


class MirrorConfig(Section):
    """A copy of the metrics for a dashboard; one that fails is named once and never stops a run."""

    kind: Literal["none", "tensorboard", "wandb", "trackio"] = Field(
        "none", description="the dashboard; its package must be installed"
    )
    project: str = Field(
        "entropy_mech", min_length=1, description="the project's name at wandb or trackio"
    )
