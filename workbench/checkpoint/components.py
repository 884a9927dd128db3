"""Components: what the parameters of a network are spent on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from math import prod
from pathlib import Path

from workbench.checkpoint import CONFIG
from workbench.checkpoint.hub_config import layout_in
from workbench.checkpoint.tensor_names import Tensor, tensors
from workbench.config import ModelConfig

#: In the order in which tables show them.
COMPONENTS = (
    "embedding",
    "encoder attention",
    "decoder attention",
    "dense feed-forward",
    "experts",
    "routers",
    "norms",
)


def parameters_by_component(config: ModelConfig) -> dict[str, int]:
    """Parameters of each of `COMPONENTS` in a network of this shape; zero where it has none.

    The embedding is counted once, although source, target and output share it; a task router's embedding
    of its tasks counts as router.
    """
    # The layout of NLLB-MoE names every tensor at its true width, M2M100's at that of the widest layer.
    return _summed((tensor, prod(tensor.shape)) for tensor in tensors(config, "nllb-moe"))


def stored_by_component(directory: Path, config: ModelConfig) -> dict[str, int]:
    """Bytes of each of `COMPONENTS` in the files of a checkpoint, in whatever type it is stored; scales included.

    Only headers are read.

    Raises:
        CheckpointError: a file is missing, cut short, or does not fit `config`.
    """
    # They import JAX, which counting parameters does without.
    from workbench.checkpoint.directory import read_config
    from workbench.checkpoint.weights import find_weights

    read_config(directory)  # says what is wrong with it, if anything
    layout = layout_in(json.loads((directory / CONFIG).read_text(encoding="utf-8")))
    return _summed(
        (place.tensor, place.stored.size + (place.scale.size if place.scale else 0))
        for place in find_weights(directory, config, layout)
    )


def _summed(sizes: Iterable[tuple[Tensor, int]]) -> dict[str, int]:
    sums = dict.fromkeys(COMPONENTS, 0)
    for tensor, size in sizes:
        sums[_component(tensor)] += size
    return sums


def _component(tensor: Tensor) -> str:
    path = tensor.path
    if path == ("embedding",):
        return "embedding"
    if any(isinstance(step, str) and step.endswith("layer_norm") for step in path):
        return "norms"
    if "router" in path:
        return "routers"
    if tensor.expert is not None:
        return "experts"
    return "dense feed-forward" if "ffn" in path else f"{path[0]} attention"
