"""Checkpoints on disk: the only code that knows their format."""

from workbench.errors import WorkbenchError

#: The files of a checkpoint directory, its tokenizer's apart.
CONFIG, WEIGHTS, CARD, PROVENANCE = (
    "config.json",
    "model.safetensors",
    "README.md",
    "provenance.json",
)
#: Which tensor lies in which file, where the weights are spread over several.
INDEX = "model.safetensors.index.json"
#: Where a run of `train`, `distill` or `upcycle` has its checkpoint.
RESULT = "checkpoint"


class CheckpointError(WorkbenchError):
    """A directory that is not a whole, sound checkpoint."""
