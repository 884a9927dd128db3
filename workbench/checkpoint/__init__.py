"""Checkpoints on disk: the only code that knows their format."""
