"""Components: what the parameters of a network are spent on."""

from __future__ import annotations

from math import prod

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
    counts = dict.fromkeys(COMPONENTS, 0)
    # The layout of NLLB-MoE names every tensor at its true width, M2M100's at that of the widest layer.
    for tensor in tensors(config, "nllb-moe"):
        counts[_component(tensor)] += prod(tensor.shape)
    return counts


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
