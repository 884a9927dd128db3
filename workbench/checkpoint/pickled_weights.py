"""`.bin` weights made into safetensors: pickles of PyTorch, read by an unpickler that can make tensors only.

PyTorch itself is not needed for this: its format since 1.6 is a zip archive with one pickle that describes the
tensors and their bytes beside it, uncompressed. The unpickler here knows the half dozen names of such a
description and refuses any other, so that nothing in a file is ever run.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import ml_dtypes
import numpy as np

from workbench.checkpoint import CONFIG, PROVENANCE, CheckpointError
from workbench.checkpoint.directory import check_weights, read_config
from workbench.checkpoint.staging import whole_directory
from workbench.checkpoint.tensor_files import DTYPES, NewTensor, write_tensors
from workbench.checkpoint.weights import is_computed
from workbench.errors import WorkbenchError

#: Kinds of storage by the names that PyTorch gives them.
_STORAGES = {
    "FloatStorage": np.dtype(np.float32),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "CharStorage": np.dtype(np.int8),
    "DoubleStorage": np.dtype(np.float64),
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
}
#: What is copied beside the weights.
_BESIDE = ("*.json", "*.model", "README.md")


@dataclass(frozen=True)
class _Storage:
    dtype: np.dtype
    key: str
    count: int


@dataclass(frozen=True)
class _View:
    """A tensor: a strided view of a storage, in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def convert(
    source: Path, target: Path, check: Callable[[Path], None], provenance: dict[str, Any]
) -> None:
    """Make a directory with safetensors of one with `pytorch_model*.bin`, tensor by tensor.

    check: called on the new directory, whose weights fit its configuration, before it takes its name; raises if
    something else about it is not sound.

    Raises:
        CheckpointError: there are no such files, they are not weights of PyTorch, or `target` is taken.
    """
    read_config(source)
    files = _files(source)
    new: dict[str, NewTensor] = {}
    for file in files:
        for name, tensor in read_pickled(file).items():
            if is_computed(name):
                continue
            if name in new:
                raise CheckpointError(f"{file} holds {name}, which another file holds too.")
            new[name] = tensor
    with whole_directory(target) as staging:
        for pattern in _BESIDE:
            for file in source.glob(pattern):
                if not file.name.endswith(".index.json") and file.name != PROVENANCE:
                    shutil.copyfile(file, staging / file.name)
        write_tensors(staging, list(new.values()))
        text = json.dumps(provenance, indent=2, ensure_ascii=False)
        (staging / PROVENANCE).write_text(text + "\n", encoding="utf-8")
        try:
            check_weights(staging, read_config(staging))
            check(staging)
        except WorkbenchError as error:
            # The new directory is gone when this is read.
            text = str(error).replace(f"{staging}{os.sep}", f"{source}, converted: ")
            raise CheckpointError(text.replace(staging.name, source.name)) from error


def read_pickled(path: Path) -> dict[str, NewTensor]:
    """The tensors of one `.bin` file, each read when it is asked for.

    A tensor that is the same view of the same storage as an earlier one (a tied weight) is left out.

    Raises:
        CheckpointError: it is not such a file, is damaged, or wants to make something else than tensors.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            prefix = _prefix(archive, path)
            with archive.open(f"{prefix}/data.pkl") as file:
                found = _Unpickler(file, path).load()
            sizes = {info.filename: info.file_size for info in archive.infolist()}
    except FileNotFoundError as error:
        raise CheckpointError(f"There is no {path}.") from error
    except CheckpointError:
        raise
    except zipfile.BadZipFile as error:
        raise CheckpointError(
            f"{path} is not an archive of PyTorch 1.6 or newer ({error}): it is damaged, or an older or foreign"
            " pickle, which is not opened here."
        ) from error
    except Exception as error:  # a damaged pickle can fail in any way
        raise CheckpointError(f"{path} is damaged: {type(error).__name__}: {error}.") from error
    if not isinstance(found, dict) or not found:
        raise CheckpointError(f"{path} holds {type(found).__name__}, not tensors by their names.")
    tensors: dict[str, NewTensor] = {}
    seen: set[_View] = set()
    for name, view in found.items():
        if not isinstance(name, str) or not isinstance(view, _View):
            raise CheckpointError(f"{path}: {name!r} is {type(view).__name__}, not a tensor.")
        _check(view, name, path, sizes.get(f"{prefix}/data/{view.storage.key}", -1))
        if view not in seen:
            seen.add(view)
            read = partial(_read, path, f"{prefix}/data/{view.storage.key}", view, name)
            tensors[name] = NewTensor(name, view.storage.dtype, view.shape, read)
    return tensors


class _Unpickler(pickle.Unpickler):
    """Makes descriptions of tensors, and nothing else."""

    def __init__(self, file: Any, path: Path) -> None:
        super().__init__(file, encoding="utf-8")
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        known: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
            ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
        }
        if module == "torch" and name in _STORAGES:
            return name
        if (module, name) in known:
            return known[module, name]
        raise CheckpointError(
            f"{self._path} wants to make {module}.{name}, which is no part of weights: it is not opened. Get"
            " the weights from someone you trust, as safetensors."
        )

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage, key, _, count = pid
        if kind != "storage" or storage not in _STORAGES:
            raise CheckpointError(f"{self._path} has a storage of an unknown kind: {pid!r}.")
        return _Storage(_STORAGES[storage], str(key), int(count))


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> _View:
    if not isinstance(storage, _Storage):
        raise ValueError("a tensor without a storage")
    return _View(storage, int(offset), tuple(map(int, size)), tuple(map(int, stride)))


def _rebuild_parameter(data: Any, *_: Any) -> Any:
    return data


def _files(source: Path) -> list[Path]:
    files = sorted(source.glob("pytorch_model*.bin"))
    index = source / "pytorch_model.bin.index.json"
    if index.exists():
        try:
            named = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{index} is damaged ({error!r}). Copy it again.") from error
        missing = sorted(str(name) for name in named if source / str(name) not in files)
        if missing:
            raise CheckpointError(
                f"{source} has no {missing[0]}, which {index.name} names: the checkpoint is not whole."
            )
    if not files:
        raise CheckpointError(
            f"{source} has no pytorch_model*.bin beside its {CONFIG}: there is nothing to convert."
        )
    return files


def _prefix(archive: zipfile.ZipFile, path: Path) -> str:
    """The one folder in the archive. Raises CheckpointError."""
    names = archive.namelist()
    for name in names:
        parts = PurePosixPath(name).parts
        if name.startswith("/") or "\\" in name or ".." in parts:
            raise CheckpointError(f"{path} has a member named {name!r}, which leads out of it.")
    prefixes = [name.removesuffix("/data.pkl") for name in names if name.endswith("/data.pkl")]
    if len(prefixes) != 1:
        raise CheckpointError(f"{path} is a zip archive, but not of PyTorch: it has no data.pkl.")
    order = f"{prefixes[0]}/byteorder"
    if order in names and archive.read(order) != b"little":
        raise CheckpointError(f"{path} was written on a big-endian machine: save it on another.")
    return prefixes[0]


def _check(view: _View, name: str, path: Path, size: int) -> None:
    storage = view.storage
    sound = (
        len(view.shape) == len(view.strides) and min((view.offset, *view.shape, *view.strides)) >= 0
    )
    last = view.offset + sum(
        (n - 1) * step for n, step in zip(view.shape, view.strides, strict=False)
    )
    if not sound or (0 not in view.shape and last >= storage.count):
        raise CheckpointError(f"{path} is damaged: {name} lies outside of its storage.")
    if size != storage.count * storage.dtype.itemsize:
        raise CheckpointError(f"{path} is cut short or damaged: the bytes of {name} are not there.")
    if storage.dtype not in DTYPES.values():
        raise CheckpointError(
            f"{path}: {name} is stored as {storage.dtype}, expected float32, bfloat16 or float16."
        )


def _read(path: Path, member: str, view: _View, name: str) -> np.ndarray:
    storage = view.storage
    with zipfile.ZipFile(path) as archive, archive.open(member) as file:
        flat = np.frombuffer(file.read(), storage.dtype)
    steps = tuple(step * storage.dtype.itemsize for step in view.strides)
    array = np.lib.stride_tricks.as_strided(flat[view.offset :], view.shape, steps, writeable=False)
    if not np.isfinite(array).all():
        raise CheckpointError(f"{path}: {name} holds NaN or infinite values.")
    return array
