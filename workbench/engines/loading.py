"""Loading a checkpoint as a system: on this engine, or a dense one on another."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal, overload

from jax.sharding import Mesh

from workbench.checkpoint.directory import read_config
from workbench.checkpoint.hub import find_checkpoint
from workbench.decoding.system import System
from workbench.decoding.translator import Translator
from workbench.engines.export import check_dense
from workbench.engines.packages import EngineError, need
from workbench.engines.with_ctranslate2 import CTranslate2
from workbench.engines.with_transformers import Transformers

Engine = Literal["ctranslate2", "ctranslate2-int8", "transformers"]

_MAKERS: dict[Engine, Callable[[str, Translator], System]] = {
    "ctranslate2": CTranslate2,
    "ctranslate2-int8": lambda name, model: CTranslate2(name, model, "int8"),
    "transformers": Transformers,
}
#: Engines beside our own, as they are written after a checkpoint's `@`.
ENGINES: tuple[Engine, ...] = tuple(_MAKERS)


@overload
def load(
    path: str | Path, dtype: str = ..., mesh: Mesh | None = ..., engine: None = ...
) -> Translator: ...


@overload
def load(
    path: str | Path, dtype: str = ..., mesh: Mesh | None = ..., *, engine: Engine
) -> System: ...


def load(
    path: str | Path,
    dtype: str = "float32",
    mesh: Mesh | None = None,
    engine: Engine | None = None,
) -> System:
    """The translator in a checkpoint directory or on the Hugging Face hub, if asked under another engine.

    Args:
        path: a directory, or `owner/name` or `owner/name@revision` on the hub.
        dtype: "float32" or "bfloat16", how weights are held in memory and computed with.
        mesh: devices over which the experts are spread: see `Translator.load`.
        engine: None, this workbench's own; or "ctranslate2", "ctranslate2-int8" or "transformers", for a dense
            checkpoint in float32 (int8 where the name says so). What it gives translates, and can be evaluated,
            compared and benchmarked; it shows no routes.

    Raises:
        WorkbenchError: as `Translator.load`; or the engine is unknown, not installed, or cannot run this.
    """
    if engine is None:
        return Translator.load(path, dtype, mesh)
    check_engine(engine)
    if dtype != "float32" or mesh is not None:
        raise EngineError(
            f"{engine} computes in what its own name says, on one device: leave dtype and mesh out."
        )
    # Before weights are read, which may take long.
    directory = find_checkpoint(path)
    check_dense(read_config(directory), str(path))
    return under(Translator.load(path), engine)


def under(model: Translator, engine: Engine) -> System:
    """A dense `model` under another engine, named as on the command line: NAME@ENGINE.

    Raises:
        EngineError: the engine is unknown, not installed, or cannot run this network.
    """
    check_engine(engine)
    return _MAKERS[engine](f"{model.name}@{engine}", model)


def check_engine(engine: str) -> None:
    """Refuse what is no engine, or is not installed.

    Raises:
        EngineError: that is so.
    """
    if engine not in _MAKERS:
        raise EngineError(f"Unknown engine {engine!r}. Accepted: {', '.join(ENGINES)}.")
    need(engine.removesuffix("-int8"))


def split_engine(name: str) -> tuple[str, Engine | None]:
    """A checkpoint as it is written on the command line, `PATH` or `PATH@ENGINE`, in its two parts.

    What follows an `@` and is no engine belongs to the path: hub ids name their revision so.

    Raises:
        EngineError: it follows an existing directory, and is no engine.
    """
    found = re.fullmatch(r"(.+)@([^@/]+)", name)
    if not found or Path(name).exists():
        return name, None
    path, engine = found.groups()
    if engine in _MAKERS:
        return path, engine  # type: ignore[return-value]
    if Path(path).is_dir():
        check_engine(engine)
    return name, None
