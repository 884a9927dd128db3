"""Placement: on which devices the parameters of a network lie while it is loaded."""

from __future__ import annotations

from collections.abc import Callable

from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding

from workbench.checkpoint import CheckpointError
from workbench.nn.exchange import EXPERT

#: The sharding of a parameter, given its path and shape.
Placement = Callable[[tuple[str | int, ...], tuple[int, ...]], Sharding]

_STACKED = {"w_in", "b_in", "w_out", "b_out"}


def expert_placement(mesh: Mesh) -> Placement:
    """Stacked experts [E, ...] spread over the mesh's axis `expert`, everything else on all of its devices.

    Raises:
        CheckpointError: the mesh has no such axis; while loading, that a layer's experts do not divide.
    """
    if EXPERT not in mesh.axis_names:
        raise CheckpointError(
            f"The mesh has the axes {', '.join(map(str, mesh.axis_names))}: one named {EXPERT!r} is needed."
        )
    devices = mesh.shape[EXPERT]

    def place(path: tuple[str | int, ...], shape: tuple[int, ...]) -> Sharding:
        if path[-1] not in _STACKED:
            return NamedSharding(mesh, PartitionSpec())
        if shape[0] % devices:
            raise CheckpointError(
                f"{shape[0]} experts cannot be spread over {devices} devices: give a number that divides them."
            )
        return NamedSharding(mesh, PartitionSpec(EXPERT))

    return place
