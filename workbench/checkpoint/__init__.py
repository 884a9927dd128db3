"""Checkpoints on disk: the only code that knows their format."""

#: The files of a checkpoint directory, its tokenizer's apart.
CONFIG, WEIGHTS, CARD, PROVENANCE = (
    "config.json",
    "model.safetensors",
    "README.md",
    "provenance.json",
)
