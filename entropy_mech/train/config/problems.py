"""What is asked in training and in validation."""

from __future__ import annotations

from pydantic import Field, model_validator

from entropy_mech.train.config.section import Section


class ProblemsConfig(Section):
    """Toy sums modulo ``modulus``; a level is a number of terms."""

    modulus: int = Field(10, ge=2, le=10, description="answers are sums modulo this")
    level_shares: dict[int, float] = Field(
        {2: 0.7, 4: 0.15, 5: 0.15}, description="share of each level among training problems"
    )
    train_size: int = Field(4096, description="training problems; 1 or more")
    validation_counts: dict[int, int] = Field(
        {2: 20, 4: 100, 5: 100}, description="distinct held-out problems of each level"
    )

    @model_validator(mode="after")
    def _training_set_not_empty(self):
        if self.train_size < 1:
            raise ValueError(
                f"train_size = {self.train_size}: the training set is empty; give 1 or more"
            )
        return self
