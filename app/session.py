"""The session: which checkpoints there are, and which of them are in memory."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from workbench.checkpoint.hub_config import from_json
from workbench.config import ModelConfig, StackConfig
from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    from workbench.decoding.translator import Translator

ROOT = Path(__file__).resolve().parent.parent
#: Folders of checkpoints, or checkpoints, separated as in PATH.
VARIABLE = "WORKBENCH_CHECKPOINTS"


@dataclass(frozen=True)
class Entry:
    """One checkpoint: on disk, or extracted and so far only in memory.

    path: its directory; None in memory. config: its shape; None where it cannot be read, and `error` says why.
    size: bytes on disk.
    """

    name: str
    path: Path | None
    config: ModelConfig | None
    error: str = ""
    size: int = 0


@dataclass
class Shelf:
    """What all sessions of one server share.

    added: directories that a person named. loaded: translators by directory. extracted: by name.
    """

    added: list[Path] = field(default_factory=list)
    loaded: dict[tuple[str, int], Translator] = field(default_factory=dict)
    extracted: dict[str, Translator] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)


@st.cache_resource(show_spinner=False)
def shelf() -> Shelf:
    """The one shelf of this server."""
    return Shelf()


def folders() -> list[Path]:
    """Where checkpoints are looked for."""
    named = os.environ.get(VARIABLE)
    return [Path(p) for p in named.split(os.pathsep) if p] if named else [ROOT / "checkpoints"]


def save_folder() -> Path:
    """Where new checkpoints are put unless a person says otherwise."""
    first = folders()[0]
    return first.parent if (first / "config.json").exists() else first


def catalogue() -> dict[str, Entry]:
    """Every checkpoint by its name, those in memory last; read anew each time, so that new ones appear."""
    directories: list[Path] = []
    for folder in folders():
        if (folder / "config.json").exists():
            directories.append(folder)
        elif folder.is_dir():
            directories += sorted(
                p for p in folder.iterdir() if (p / "config.json").exists() and p.name[0] != "."
            )
    directories += shelf().added
    entries: dict[str, Entry] = {}
    for path in dict.fromkeys(p.resolve() for p in directories):
        name = path.name if path.name not in entries else f"{path.parent.name}/{path.name}"
        entries[name] = _read(name, path)
    for name, model in shelf().extracted.items():
        entries.setdefault(name, Entry(name, None, model.config))
    return entries


def readable() -> dict[str, ModelConfig]:
    """The shapes of all checkpoints that can be read, by name."""
    return {name: entry.config for name, entry in catalogue().items() if entry.config is not None}


def load(name: str) -> Translator:
    """The translator of a checkpoint; read once, then shared by all sessions.

    Raises:
        WorkbenchError: there is none of this name, or it is not sound.
    """
    entry = catalogue().get(name)
    if entry is None:
        raise WorkbenchError(f"There is no checkpoint {name!r} any more. See the Checkpoints page.")
    if entry.path is None:
        return shelf().extracted[name]
    if entry.config is None:
        raise WorkbenchError(entry.error)
    with shelf().lock:
        key = _key(entry.path)
        if key not in shelf().loaded:
            from workbench.decoding.translator import Translator

            model = Translator.load(entry.path)
            model.name = name
            unload(name)  # an older version of the same directory
            shelf().loaded[key] = model
        return shelf().loaded[key]


def is_loaded(entry: Entry) -> bool:
    """Whether the checkpoint is in memory."""
    return entry.path is None or _key(entry.path) in shelf().loaded


def unload(name: str) -> None:
    """Forget a checkpoint's translator; what was extracted and not saved is gone."""
    with shelf().lock:
        shelf().extracted.pop(name, None)
        entry = catalogue().get(name)
        for key in [k for k in shelf().loaded if entry and k[0] == str(entry.path)]:
            del shelf().loaded[key]


def add(text: str) -> str:
    """Put a directory that a person typed into the catalogue, and give its name there.

    Raises:
        WorkbenchError: it is no checkpoint; one line says why.
    """
    path = Path(text.strip()).expanduser()
    if not text.strip():
        raise WorkbenchError("Type the path of a checkpoint directory.")
    entry = _read(path.name, path)
    if entry.config is None:
        raise WorkbenchError(entry.error)
    if path.resolve() not in shelf().added:
        shelf().added.append(path.resolve())
    return next(e.name for e in catalogue().values() if e.path == path.resolve())


def architecture(config: ModelConfig) -> str:
    """The network in words: what routes each stack."""
    if config.is_dense:
        return "Dense"
    words = {name: _routing(stack) for name, stack in config.stacks}
    if words["encoder"] == words["decoder"]:
        return words["encoder"].capitalize()
    return "; ".join(f"{word} {name}" for name, word in words.items()).capitalize()


@st.cache_resource(show_spinner=False)
def warm_up() -> None:
    """Import the engine while the first page is being read: it takes seconds that a person need not wait."""
    threading.Thread(target=_import_engine, name="engine", daemon=True).start()


def _import_engine() -> None:
    import workbench.decoding.translator
    import workbench.routing.trace  # noqa: F401


def _routing(stack: StackConfig) -> str:
    router = stack.router
    if router is None:
        return "dense"
    by = f"{router.task_key} language" if router.task_key in ("source", "target") else router.task_key
    return f"routed by {by or router.granularity}, {stack.experts} experts, top {router.top_k}"


def _read(name: str, path: Path) -> Entry:
    if not path.is_dir():
        return Entry(name, path, None, f"There is no directory {path}.")
    size = sum(f.stat().st_size for f in path.iterdir() if f.is_file())
    try:
        table = json.loads((path / "config.json").read_text(encoding="utf-8"))
        config = from_json(table)
    except FileNotFoundError:
        return Entry(name, path, None, f"{path} has no config.json: it is not a checkpoint.", size)
    except (OSError, ValueError) as error:
        return Entry(name, path, None, f"{path}: {error}", size)
    missing = [f for f in ("model.safetensors", "tokenizer_config.json") if not (path / f).exists()]
    if missing:
        return Entry(name, path, None, f"{path} has no {missing[0]}: it is not whole.", size)
    return Entry(name, path, config, "", size)


def _key(path: Path) -> tuple[str, int]:
    return str(path), (path / "model.safetensors").stat().st_mtime_ns
