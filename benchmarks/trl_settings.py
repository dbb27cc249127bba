"""The settings under which TRL's GRPOTrainer is the peer: the paper's GRPO, nothing beside it."""

from __future__ import annotations

from trl import GRPOConfig


def plain_grpo(**sizes) -> GRPOConfig:
    """Return TRL's configuration: token-mean loss, clip 0.2, no KL, nothing logged or saved."""
    return GRPOConfig(
        **sizes,
        lr_scheduler_type="constant",
        weight_decay=0.0,
        beta=0.0,
        epsilon=0.2,
        temperature=1.0,
        loss_type="dapo",
        report_to="none",
        logging_strategy="no",
        save_strategy="no",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
