"""The checkpoint directory: reading and writing it as a whole."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from flax import nnx
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from workbench.checkpoint import CARD, CONFIG, PROVENANCE, WEIGHTS
from workbench.checkpoint.hub_config import from_json, layout_of, model_type, to_json
from workbench.checkpoint.tensor_names import Layout, Tensor, padded_width, tensors
from workbench.config import ConfigError, ModelConfig
from workbench.errors import WorkbenchError
from workbench.nn.network import TranslationNetwork

_READABLE = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
_STORED = {"float32": np.dtype(np.float32), "bfloat16": np.dtype(ml_dtypes.bfloat16)}


class CheckpointError(WorkbenchError):
    """A directory that is not a whole, sound checkpoint."""


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint directory holds, its tokenizer apart.

    card: the model card, Markdown. provenance: parents, command, versions and hashes.
    """

    config: ModelConfig
    network: TranslationNetwork
    card: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)


def read_checkpoint(directory: Path) -> Checkpoint:
    """The checkpoint in `directory`, its weights in float32.

    Raises:
        CheckpointError: a file is missing, cut short, of another kind or does not fit the others.
    """
    config = read_config(directory)
    provenance = _read_json(directory / PROVENANCE) if (directory / PROVENANCE).exists() else {}
    card = directory / CARD
    return Checkpoint(
        config,
        _read_weights(directory / WEIGHTS, config),
        card.read_text(encoding="utf-8", errors="replace") if card.exists() else "",
        provenance if isinstance(provenance, dict) else {},
    )


def read_config(directory: Path) -> ModelConfig:
    """The configuration of the checkpoint in `directory`. Raises CheckpointError."""
    if not directory.is_dir():
        raise CheckpointError(f"There is no checkpoint directory {directory}.")
    try:
        return from_json(_read_json(directory / CONFIG))
    except ConfigError as error:
        raise CheckpointError(f"{directory}: {error}") from error


def check_weights(directory: Path, config: ModelConfig) -> tuple[str, ...]:
    """The types that the weights in `directory` are stored as, e.g. `("bfloat16",)`.

    Only the file's header is read, whatever its size: enough to know that every tensor of `config` is there,
    whole and of the right shape.

    Raises:
        CheckpointError: the file is missing, cut short, or does not fit `config`.
    """
    with _open_weights(directory / WEIGHTS, config) as (file, wanted):
        kinds = {file.get_slice(tensor.name).get_dtype() for tensor in wanted}
    return tuple(sorted(_READABLE[kind] for kind in kinds))


def write_checkpoint(
    directory: Path,
    checkpoint: Checkpoint,
    write_tokenizer: Callable[[Path], None],
    dtype: str = "float32",
) -> None:
    """Write `directory`, which must not exist or be empty; if anything fails, nothing is left behind.

    dtype: float32 or bfloat16, how the weights are stored.

    Raises:
        CheckpointError: the directory is taken, or the disk refuses.
    """
    if dtype not in _STORED:
        raise CheckpointError(f"Cannot store weights as {dtype!r}: use {' or '.join(_STORED)}.")
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise CheckpointError(f"{directory} exists and is not empty: choose another place.")
    staging: Path | None = None
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
        write_tokenizer(staging)
        _write_weights(staging / WEIGHTS, checkpoint, _STORED[dtype])
        _write_json(staging / CONFIG, to_json(checkpoint.config))
        _write_json(staging / PROVENANCE, checkpoint.provenance)
        (staging / CARD).write_text(checkpoint.card, encoding="utf-8")
        staging.chmod(0o755)
        if directory.exists():
            directory.rmdir()
        staging.rename(directory)
    except OSError as error:
        raise CheckpointError(f"Cannot write {directory}: {error.strerror or error}.") from error
    finally:
        if staging is not None and staging.exists():
            shutil.rmtree(staging, ignore_errors=True)


def _read_weights(path: Path, config: ModelConfig) -> TranslationNetwork:
    abstract = nnx.eval_shape(lambda: TranslationNetwork(config, rngs=nnx.Rngs(0)))
    graph, state = nnx.split(abstract)
    shapes = nnx.to_pure_dict(state)
    stacked = jax.tree.map(lambda leaf: np.empty(leaf.shape, np.float32), shapes)
    with _open_weights(path, config) as (file, wanted):
        for tensor in wanted:
            _place(stacked, tensor, file, path)
    nnx.replace_by_pure_dict(state, jax.tree.map(jnp.asarray, stacked))
    return nnx.merge(graph, state)


@contextmanager
def _open_weights(path: Path, config: ModelConfig) -> Iterator[tuple[Any, list[Tensor]]]:
    """The open weights file and its tensors, all of them there, alone, and of the right shape and type."""
    layout = layout_of(model_type(config))
    wanted = tensors(config, layout)
    try:
        with safe_open(path, framework="numpy") as file:
            names = set(file.keys())
            missing = [t.name for t in wanted if t.name not in names]
            foreign = sorted(names - {t.name for t in wanted})
            for kind, found in (("lacks", missing), ("has unknown", foreign)):
                if found:
                    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
                    raise CheckpointError(f"{path} {kind} {', '.join(found[:3])}{more}.")
            for tensor in wanted:
                view = file.get_slice(tensor.name)
                shape, stored = tuple(view.get_shape()), _stored_shape(tensor, config, layout)
                if shape != stored:
                    raise CheckpointError(
                        f"{path}: {tensor.name} has shape {list(shape)}, expected {list(stored)}."
                    )
                if view.get_dtype() not in _READABLE:
                    raise CheckpointError(
                        f"{path}: {tensor.name} is stored as {view.get_dtype()}, expected"
                        f" {', '.join(_READABLE)}."
                    )
            yield file, wanted
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path.parent} has no {path.name}: the checkpoint is not whole."
        ) from error
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is cut short or damaged ({error}). Copy it again."
        ) from error


def _place(stacked: Any, tensor: Tensor, file: Any, path: Path) -> None:
    """Read one tensor into its place, cutting off the zeros that fill up uneven widths."""
    array = file.get_tensor(tensor.name).astype(np.float32)
    if not np.isfinite(array).all():
        raise CheckpointError(f"{path}: {tensor.name} holds NaN or infinite values.")
    if array.shape != tensor.shape:
        kept = tuple(slice(0, size) for size in tensor.shape)
        if np.count_nonzero(array) != np.count_nonzero(array[kept]):
            raise CheckpointError(f"{path}: {tensor.name} is not zero where it should be padding.")
        array = array[kept]
    leaf = stacked
    for step in tensor.path:
        leaf = leaf[step]
    target = leaf if tensor.expert is None else leaf[tensor.expert]
    target[...] = array.T if tensor.transposed else array


def _write_weights(path: Path, checkpoint: Checkpoint, dtype: np.dtype) -> None:
    config = checkpoint.config
    layout = layout_of(model_type(config))
    parameters = jax.device_get(nnx.to_pure_dict(nnx.state(checkpoint.network, nnx.Param)))
    stored = {}
    for tensor in tensors(config, layout):
        leaf: Any = parameters
        for step in tensor.path:
            leaf = leaf[step]
        array = np.asarray(leaf if tensor.expert is None else leaf[tensor.expert])
        array = array.T if tensor.transposed else array
        full = _stored_shape(tensor, config, layout)
        array = np.pad(array, [(0, a - b) for a, b in zip(full, array.shape, strict=True)])
        stored[tensor.name] = np.ascontiguousarray(array.astype(dtype))
    save_file(stored, path, metadata={"format": "pt"})


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


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path.parent} has no {path.name}: it is not a checkpoint."
        ) from error
    except OSError as error:
        raise CheckpointError(f"Cannot read {path}: {error.strerror}.") from error
    except ValueError as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}.") from error


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
