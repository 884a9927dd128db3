"""Selection: single tensors of a checkpoint by their place in the network, and new ones written in turn."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from workbench.checkpoint import CONFIG, CheckpointError
from workbench.checkpoint.hub_config import layout_in
from workbench.checkpoint.quantization import widen
from workbench.checkpoint.tensor_files import NewTensor, read_tensor, write_tensors
from workbench.checkpoint.tensor_names import Layout, Tensor, tensors
from workbench.checkpoint.weights import (
    ON_DISK,
    Place,
    _stored_shape,
    abstract_network,
    find_weights,
)
from workbench.config import ModelConfig
from workbench.nn.network import TranslationNetwork

#: Where a parameter lies in the network's nested dicts.
Path_ = tuple[str | int, ...]


class Selection:
    """The tensors of the checkpoint in `directory`, read one at a time when they are asked for.

    config: as `open_checkpoint` gives it.

    Raises:
        CheckpointError: as `find_weights`; nothing but headers is read for that.
    """

    def __init__(self, directory: Path, config: ModelConfig) -> None:
        self.config = config
        layout = layout_in(json.loads((directory / CONFIG).read_text(encoding="utf-8")))
        self._places: dict[tuple[Path_, int | None], Place] = {
            (place.tensor.path, place.tensor.expert): place
            for place in find_weights(directory, config, layout)
        }

    def read(self, path: Path_, expert: int | None = None) -> np.ndarray:
        """A tensor as it is stored (a linear map: [outputs, inputs]), in float32, without any padding.

        Raises:
            CheckpointError: a value is not finite.
        """
        place = self._places[path, expert]
        array = read_tensor(place.stored)
        if place.scale is not None:
            array = widen(array, read_tensor(place.scale))
        _check(array, place)
        array = array.astype(np.float32, copy=False)
        return array[tuple(slice(0, size) for size in place.tensor.shape)]

    def read_into(self, path: Path_, expert: int | None, target: np.ndarray) -> None:
        """The same, into `target`: whole rows of float32."""
        place = self._places[path, expert]
        plain = place.stored.dtype == "F32" and place.stored.shape == target.shape
        if not plain or not target.flags.c_contiguous:
            target[...] = self.read(path, expert)
            return
        with place.stored.file.open("rb", buffering=0) as file:
            file.seek(place.stored.start)
            read = file.readinto(target.reshape(-1).view(np.uint8).data)
        if read != place.stored.size:
            target[...] = self.read(path, expert)  # in pieces, or with its own complaint
        _check(target, place)

    def shape(self, path: Path_, expert: int | None = None) -> tuple[int, ...]:
        """The shape of a tensor as `read` gives it."""
        return self._places[path, expert].tensor.shape

    def network(self, held: Mapping[tuple[Any, int], tuple[int, ...]]) -> TranslationNetwork:
        """The network with all of its parameters but the experts that `held` (by stack and layer) leaves out."""
        graph, state = nnx.split(abstract_network(self.config))
        parameters = nnx.to_pure_dict(state)
        by_path: dict[Path_, list[Place]] = {}
        for place in self._places.values():
            by_path.setdefault(place.tensor.path, []).append(place)
        for path, places in by_path.items():
            *steps, last = path
            parent: Any = parameters
            for step in steps:
                parent = parent[step]
            experts = held.get((path[0], int(path[2]))) if "ffn" in path else None
            if places[0].tensor.expert is None:
                parent[last] = jnp.asarray(self._turned(places[0]))
            else:
                chosen = range(len(places)) if experts is None else experts
                by_expert = {place.tensor.expert: place for place in places}
                parent[last] = jnp.stack([jnp.asarray(self._turned(by_expert[e])) for e in chosen])
        nnx.replace_by_pure_dict(state, parameters)
        return nnx.merge(graph, state)

    def _turned(self, place: Place) -> np.ndarray:
        array = self.read(place.tensor.path, place.tensor.expert)
        return array.T if place.tensor.transposed else array


def write_new(
    directory: Path,
    config: ModelConfig,
    layout: Layout,
    make: Callable[[Tensor], Callable[[], np.ndarray]],
    dtype: str = "float32",
) -> None:
    """Write the weights of a network of this shape, whose tensors `make` gives as they are stored, unpadded.

    dtype: float32 or bfloat16. Raises OSError when the disk refuses.
    """
    new = []
    for tensor in tensors(config, layout):
        full = _stored_shape(tensor, config, layout)
        new.append(
            NewTensor(tensor.name, ON_DISK[dtype], full, partial(_padded, make(tensor), full))
        )
    write_tensors(directory, new)


def _check(array: np.ndarray, place: Place) -> None:
    """Raise CheckpointError where a value is not finite."""
    flat = array.reshape(-1)
    # A sum of squares is as finite as what is summed (unless it overflows), in one pass without a second array.
    if array.dtype == np.float32 and np.isfinite(np.dot(flat, flat)):
        return
    if not np.isfinite(array.astype(np.float32, copy=False)).all():
        raise CheckpointError(
            f"{place.stored.file}: {place.tensor.name} holds NaN or infinite values."
        )


def _padded(make: Callable[[], np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    array = make()
    if array.shape == shape:
        return array
    return np.pad(array, [(0, a - b) for a, b in zip(shape, array.shape, strict=True)])
