"""The trainer: configuration, loop, update, engine, checkpoints, base models."""
