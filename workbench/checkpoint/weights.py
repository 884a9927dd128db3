"""The network's weights in a checkpoint directory: checked by their headers, read into place, written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, cast

import jax
import ml_dtypes
import numpy as np
from flax import nnx
from jax.sharding import SingleDeviceSharding

from workbench.checkpoint import CheckpointError
from workbench.checkpoint.placement import Placement
from workbench.checkpoint.quantization import SCALE, is_quantized, quantize, widen
from workbench.checkpoint.tensor_files import (
    DTYPES,
    NewTensor,
    StoredTensor,
    read_tensor,
    same_content,
    stored_tensors,
    weight_files,
    write_tensors,
)
from workbench.checkpoint.tensor_names import Layout, Tensor, padded_width, tensors
from workbench.config import ModelConfig
from workbench.nn.network import TranslationNetwork

#: How a network can be held in memory.
IN_MEMORY = {"float32": np.dtype(np.float32), "bfloat16": np.dtype(ml_dtypes.bfloat16)}
#: How it can be stored.
ON_DISK = {**IN_MEMORY, "int8": np.dtype(np.int8)}
#: What safetensors calls them, in words.
WORDS = {"F32": "float32", "BF16": "bfloat16", "F16": "float16", "I8": "int8"}

_EMBEDDING = "model.shared.weight"
#: The one embedding's other names, under which `transformers` may store it too, or instead.
_TIED = ("model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight")
#: Tables of sines, which are computed here.
_COMPUTED = ("model.encoder.embed_positions.weights", "model.decoder.embed_positions.weights")


@dataclass(frozen=True)
class Place:
    """A tensor of the network, where it is stored, and where its scales are if it is int8."""

    tensor: Tensor
    stored: StoredTensor
    scale: StoredTensor | None


def find_weights(directory: Path, config: ModelConfig, layout: Layout) -> list[Place]:
    """Every tensor of `config` with its place on disk: all there, alone, of the right shape and type.

    Only headers are read, and an embedding that is stored under several names.

    Raises:
        CheckpointError: a file is missing or cut short, or does not fit `config`.
    """
    wanted = tensors(config, layout)
    stored = stored_tensors(directory)
    files = weight_files(directory)
    where = files[0] if len(files) == 1 else directory
    stored = {name: tensor for name, tensor in stored.items() if not is_computed(name)}
    _untie(stored, where)
    scales = {name: stored.pop(name + SCALE) for name in list(stored) if name + SCALE in stored}
    missing = [t.name for t in wanted if t.name not in stored]
    foreign = sorted(stored.keys() - {t.name for t in wanted})
    for kind, found in (("lacks", missing), ("has unknown", foreign)):
        if found:
            more = f" and {len(found) - 3} more" if len(found) > 3 else ""
            raise CheckpointError(f"{where} {kind} {', '.join(found[:3])}{more}.")
    places = [Place(t, stored[t.name], scales.get(t.name)) for t in wanted]
    for place in places:
        _check(place, _stored_shape(place.tensor, config, layout))
    return places


def is_computed(name: str) -> bool:
    """Whether a tensor of this name is a table that is computed here, and need not be stored."""
    return name in _COMPUTED


def read_network(
    directory: Path,
    config: ModelConfig,
    layout: Layout,
    dtype: str = "float32",
    placement: Placement | None = None,
) -> TranslationNetwork:
    """The network, its tensors read one at a time into the type and the place they shall have.

    On the host there is never more than the result and one tensor; where the result lies on another device,
    no more than one parameter (with stacked experts: one device's share of it). Routers stay in float32.

    Raises:
        CheckpointError: as `find_weights`, or a value is not finite.
    """
    graph, state = nnx.split(abstract_network(config))
    shapes = nnx.to_pure_dict(state)
    by_path: dict[tuple[str | int, ...], list[Place]] = {}
    for place in find_weights(directory, config, layout):
        by_path.setdefault(place.tensor.path, []).append(place)
    default = SingleDeviceSharding(jax.devices()[0])
    for path, places in by_path.items():
        *steps, last = path
        parent: Any = shapes
        for step in steps:
            parent = parent[step]
        shape = parent[last].shape
        sharding = placement(path, shape) if placement else default
        kept = IN_MEMORY["float32" if "router" in path else dtype]
        parent[last] = jax.make_array_from_callback(
            shape, sharding, partial(_read_share, places=places, shape=shape, dtype=kept)
        )
    nnx.replace_by_pure_dict(state, shapes)
    return nnx.merge(graph, state)


def abstract_network(config: ModelConfig) -> TranslationNetwork:
    """A network of this shape whose parameters are shapes and types without values."""
    return nnx.eval_shape(lambda: TranslationNetwork(config, rngs=cast(nnx.Rngs, _OneKey())))


def write_network(
    directory: Path, network: TranslationNetwork, config: ModelConfig, layout: Layout, dtype: str
) -> None:
    """Write the weights, one tensor at a time. dtype: a key of `ON_DISK`.

    int8 is for the embedding, the linear maps and the experts, with a float32 scale for each output; routers,
    norms and biases stay float32. Raises OSError when the disk refuses.
    """
    parameters = nnx.to_pure_dict(nnx.state(network, nnx.Param))
    float32 = np.dtype(np.float32)
    new: list[NewTensor] = []
    for tensor in tensors(config, layout):
        full = _stored_shape(tensor, config, layout)
        values = partial(_stored_values, parameters, tensor, full)
        if dtype != "int8":
            new.append(NewTensor(tensor.name, ON_DISK[dtype], full, partial(_as, dtype, values)))
        elif not is_quantized(tensor):
            new.append(NewTensor(tensor.name, float32, full, values))
        else:
            both = _Once(values)
            new.append(NewTensor(tensor.name, np.dtype(np.int8), full, both.integers))
            new.append(NewTensor(tensor.name + SCALE, float32, full[:1], both.scales))
    write_tensors(directory, new)


def memory_needed(config: ModelConfig, dtype: str = "float32") -> int:
    """Bytes that the weights of a network of this shape take in memory."""
    float32 = IN_MEMORY["float32"].itemsize
    return sum(
        prod(t.shape) * (float32 if "router" in t.path else IN_MEMORY[dtype].itemsize)
        for t in tensors(config, "nllb-moe")
    )


class _OneKey:
    """In place of `nnx.Rngs` where nothing is drawn: its counters cost seconds in a network of 48 layers."""

    def params(self) -> jax.Array:
        return jax.random.key(0)


class _Once:
    """A tensor's integers and scales, made at once and asked for one after the other."""

    def __init__(self, values: Callable[[], np.ndarray]) -> None:
        self._values = values
        self._scales: np.ndarray | None = None

    def integers(self) -> np.ndarray:
        integers, self._scales = quantize(self._values())
        return integers

    def scales(self) -> np.ndarray:
        assert self._scales is not None
        return self._scales


def _untie(stored: dict[str, StoredTensor], where: Path) -> None:
    """Leave the embedding under one name. Raises CheckpointError where its copies differ."""
    copies = [stored.pop(name) for name in _TIED if name in stored]
    if copies:
        first = stored.setdefault(_EMBEDDING, copies[0])
        for copy in copies:
            if copy is not first and not same_content(first, copy):
                raise CheckpointError(
                    f"{where}: {copy.name} is not the same as {first.name}; accepted are networks whose source,"
                    " target and output share one embedding."
                )


def _check(place: Place, shape: tuple[int, ...]) -> None:
    tensor, stored, scale = place.tensor, place.stored, place.scale
    if stored.shape != shape:
        raise CheckpointError(
            f"{stored.file}: {tensor.name} has shape {list(stored.shape)}, expected {list(shape)}."
        )
    if stored.dtype not in DTYPES or (stored.dtype == "I8") != (scale is not None):
        accepted = "F32, BF16, F16" + (
            f", or I8 beside {tensor.name}{SCALE}" if is_quantized(tensor) else ""
        )
        raise CheckpointError(
            f"{stored.file}: {tensor.name} is stored as {stored.dtype}, expected {accepted}."
        )
    if scale is not None and (scale.dtype, scale.shape) != ("F32", shape[:1]):
        raise CheckpointError(
            f"{scale.file}: {scale.name} is {scale.dtype} {list(scale.shape)}, expected F32"
            f" {list(shape[:1])}."
        )


def _read_share(
    index: tuple[slice, ...], places: Sequence[Place], shape: tuple[int, ...], dtype: np.dtype
) -> np.ndarray:
    """The part `index` of a parameter; of stacked experts only those in it are read."""
    experts = range(shape[0])[index[0]] if places[0].tensor.expert is not None else None
    block = _aligned(shape if experts is None else (len(experts), *shape[1:]), dtype)
    for place in places:
        expert = place.tensor.expert
        if experts is None or expert is None:
            _place(block, place)
        elif expert in experts:
            _place(block[expert - experts.start], place)
    return block if experts is not None else block[index]


def _place(target: np.ndarray, place: Place) -> None:
    """Read one tensor into its place, cutting off the zeros that fill up uneven widths."""
    tensor, file = place.tensor, place.stored.file
    array = read_tensor(place.stored)
    if place.scale is not None:
        array = widen(array, read_tensor(place.scale))
    if not np.isfinite(array).all():
        raise CheckpointError(f"{file}: {tensor.name} holds NaN or infinite values.")
    if array.shape != tensor.shape:
        kept = tuple(slice(0, size) for size in tensor.shape)
        if np.count_nonzero(array) != np.count_nonzero(array[kept]):
            raise CheckpointError(f"{file}: {tensor.name} is not zero where it should be padding.")
        array = array[kept]
    target[...] = array.T if tensor.transposed else array


def _aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An empty array that begins where JAX wants it to, so that on a CPU it is taken over and not copied."""
    size = prod(shape) * dtype.itemsize
    memory = np.empty(size + 64, np.uint8)
    first = -memory.ctypes.data % 64
    return memory[first : first + size].view(dtype).reshape(shape)


def _stored_values(parameters: Any, tensor: Tensor, full: tuple[int, ...]) -> np.ndarray:
    """A tensor of the network as it is stored, in float32."""
    leaf: Any = parameters
    for step in tensor.path:
        leaf = leaf[step]
    array = np.asarray(leaf if tensor.expert is None else leaf[tensor.expert]).astype(np.float32)
    array = array.T if tensor.transposed else array
    if array.shape == full:
        return array
    return np.pad(array, [(0, a - b) for a, b in zip(full, array.shape, strict=True)])


def _as(dtype: str, values: Callable[[], np.ndarray]) -> np.ndarray:
    return values().astype(ON_DISK[dtype])


def _stored_shape(tensor: Tensor, config: ModelConfig, layout: Layout) -> tuple[int, ...]:
    """Shape in the file: of a feed-forward block in M2M100's layout, the stack's one width."""
    if "ffn" not in tensor.path or layout != "m2m100":
        return tensor.shape
    stack = config.encoder if tensor.path[0] == "encoder" else config.decoder
    width, layer = padded_width(stack, layout), tensor.path[2]
    assert isinstance(layer, int)
    inner = stack.feed_forward_widths[layer]
    axes: dict[Any, int] = {("fc1", "kernel"): 0, ("fc1", "bias"): 0, ("fc2", "kernel"): 1}
    axis = axes.get(tensor.path[-2:])
    if axis is None or width is None or width == inner:
        return tensor.shape
    return tuple(width if i == axis else size for i, size in enumerate(tensor.shape))
