"""Safetensors files, one or several shards: headers read, tensors read and written one at a time."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from workbench.checkpoint import INDEX, WEIGHTS, CheckpointError

#: Types by the names that safetensors gives them; no other is read.
DTYPES = {
    "F32": np.dtype(np.float32),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F16": np.dtype(np.float16),
    "I8": np.dtype(np.int8),
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
#: Bytes of one shard, at most, unless one tensor alone is larger.
SHARD = 5 * 10**9
#: Bytes that are compared at a time.
_PIECE = 1 << 24
#: How a file begins that Git LFS has not fetched yet.
_POINTER = b"version https://git-lfs"


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies: `size` bytes from byte `start` of `file`. dtype: as safetensors names it."""

    name: str
    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    size: int


def weight_files(directory: Path) -> tuple[Path, ...]:
    """The safetensors files of a checkpoint: the single one, or the shards that its index names.

    Raises:
        CheckpointError: there are none, or the index is damaged or names a file that is not there.
    """
    if (directory / WEIGHTS).exists():
        return (directory / WEIGHTS,)
    return tuple(dict.fromkeys(_weight_map(directory).values()))


def stored_tensors(directory: Path) -> dict[str, StoredTensor]:
    """Every tensor of a checkpoint by its name. Only headers are read, whatever the files' size.

    Raises:
        CheckpointError: as `weight_files`, or a file is cut short, damaged or other than the index says.
    """
    if (directory / WEIGHTS).exists():
        return read_header(directory / WEIGHTS)
    place = _weight_map(directory)
    found: dict[str, StoredTensor] = {}
    for file in dict.fromkeys(place.values()):
        for name, stored in read_header(file).items():
            if place.get(name) != file:
                raise CheckpointError(f"{file} holds {name}, but {INDEX} does not say so.")
            found[name] = stored
    missing = [name for name in place if name not in found]
    if missing:
        raise CheckpointError(
            f"{directory / INDEX} says that {place[missing[0]].name} holds {missing[0]}, but it does not."
        )
    return found


def read_header(path: Path) -> dict[str, StoredTensor]:
    """The tensors of one safetensors file by their names. Raises CheckpointError."""
    try:
        # The format's own library checks the header and that the file is as long as it says.
        with safe_open(path, framework="numpy"):
            pass
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            table = json.loads(file.read(length))
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path.parent} has no {path.name}: the checkpoint is not whole."
        ) from error
    except (SafetensorError, OSError, ValueError) as error:
        if _is_pointer(path):
            raise CheckpointError(
                f"{path} is not the weights but Git LFS's pointer to them. Fetch them with: git lfs pull."
            ) from error
        raise CheckpointError(
            f"{path} is cut short or damaged ({error}). Copy it again."
        ) from error
    table.pop("__metadata__", None)
    return {
        name: StoredTensor(
            name,
            path,
            entry["dtype"],
            tuple(entry["shape"]),
            8 + length + entry["data_offsets"][0],
            entry["data_offsets"][1] - entry["data_offsets"][0],
        )
        for name, entry in table.items()
    }


def _is_pointer(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_POINTER)) == _POINTER
    except OSError:
        return False


def read_tensor(stored: StoredTensor) -> np.ndarray:
    """The tensor, read into memory of its own: the file is not mapped, so nothing else of it is held.

    Raises:
        CheckpointError: the file has become shorter, or the disk refuses.
    """
    array = np.empty(stored.shape, DTYPES[stored.dtype])
    try:
        with stored.file.open("rb") as file:
            file.seek(stored.start)
            read = file.readinto(array.reshape(-1).view(np.uint8).data) if stored.size else 0
    except OSError as error:
        raise CheckpointError(f"Cannot read {stored.file}: {error.strerror}.") from error
    if read != stored.size:
        raise CheckpointError(f"{stored.file} is cut short or damaged. Copy it again.")
    return array


def same_content(first: StoredTensor, second: StoredTensor) -> bool:
    """Whether two stored tensors are equal to the last bit, compared piece by piece."""
    if (first.dtype, first.shape) != (second.dtype, second.shape):
        return False
    with first.file.open("rb") as a, second.file.open("rb") as b:
        a.seek(first.start)
        b.seek(second.start)
        for done in range(0, first.size, _PIECE):
            count = min(_PIECE, first.size - done)
            if a.read(count) != b.read(count):
                return False
    return True


@dataclass(frozen=True)
class NewTensor:
    """A tensor to be written, made by `array` when its turn comes."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    array: Callable[[], np.ndarray]

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


def write_tensors(directory: Path, new: Sequence[NewTensor], shard: int = SHARD) -> None:
    """Write the weights of a checkpoint, one tensor in memory at a time: one file, or shards and their index.

    Raises:
        OSError: the disk refuses, or has too little room for all of it.
    """
    import shutil

    total = sum(tensor.size for tensor in new)
    if total > (free := shutil.disk_usage(directory).free):
        raise OSError(28, f"No space left on device: {total:,} bytes are needed, {free:,} are free")
    shards: list[list[NewTensor]] = [[]]
    for tensor in new:
        if shards[-1] and sum(t.size for t in shards[-1]) + tensor.size > shard:
            shards.append([])
        shards[-1].append(tensor)
    if len(shards) == 1:
        _write_file(directory / WEIGHTS, new)
        return
    place: dict[str, str] = {}
    for number, tensors in enumerate(shards, start=1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        _write_file(directory / name, tensors)
        place |= {tensor.name: name for tensor in tensors}
    index = {"metadata": {"total_size": total}, "weight_map": place}
    (directory / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _write_file(path: Path, new: Iterable[NewTensor]) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in new:
        header[tensor.name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [end, end + tensor.size],
        }
        end += tensor.size
    text = json.dumps(header, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % 8)  # the format wants its data aligned
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in new:
            array = np.asarray(tensor.array(), tensor.dtype, order="C")
            if array.shape != tensor.shape:
                raise ValueError(f"{tensor.name}: {array.shape} was announced as {tensor.shape}")
            file.write(array.reshape(-1).view(np.uint8).data)


def _weight_map(directory: Path) -> dict[str, Path]:
    """The file of every tensor, as the index says. Raises CheckpointError."""
    path = directory / INDEX
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(_no_weights(directory)) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not valid JSON ({error}). Copy it again.") from error
    names = table.get("weight_map") if isinstance(table, dict) else None
    if not isinstance(names, dict) or not names:
        raise CheckpointError(f"{path} has no 'weight_map' that says which file holds a tensor.")
    for name, file in names.items():
        if not isinstance(file, str) or Path(file).name != file or "\\" in file:
            raise CheckpointError(
                f"{path} says that {name} lies in {file!r}: accepted are names of files beside it."
            )
        if not (directory / file).is_file():
            raise CheckpointError(
                f"{directory} has no {file}, which {INDEX} names: the checkpoint is not whole."
            )
    return {name: directory / file for name, file in names.items()}


def _no_weights(directory: Path) -> str:
    pickled = sorted(directory.glob("*.bin")) if directory.is_dir() else []
    if pickled:
        return (
            f"{directory} has its weights in {pickled[0].name}, a pickle, which is never opened here. Make"
            f" safetensors of it first: workbench convert {directory} -o DIR."
        )
    shards = sorted(directory.glob(f"{Path(WEIGHTS).stem}-*.safetensors"))
    if shards:
        return (
            f"{directory} has no {WEIGHTS} (nor {INDEX}, which says what lies in {shards[0].name} and the other"
            " shards): copy the index too."
        )
    return f"{directory} has no {WEIGHTS} (nor {INDEX}): the checkpoint is not whole."
