"""What the pages share: which checkpoints there are, loaded once, and the bundled captions."""

from __future__ import annotations

import importlib
import json
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from workbench.checkpoint import CONFIG, INDEX, WEIGHTS
from workbench.checkpoint.hub_config import from_json
from workbench.config import ModelConfig
from workbench.errors import WorkbenchError

# JAX takes seconds to import: what needs it is imported where it is first used, after the first paint.
if TYPE_CHECKING:
    from workbench.decoding.translator import Translator

#: Where the Checkpoints page and `workbench app --checkpoints` look.
VARIABLE = "WORKBENCH_CHECKPOINTS"
_FIRST = ("captions-task-moe", "captions-token-moe", "captions-dense")


def root() -> Path:
    """The directory whose sub-directories are checkpoints."""
    chosen = os.environ.get(VARIABLE)
    return Path(chosen) if chosen else Path(__file__).resolve().parent.parent / "checkpoints"


def checkpoints() -> dict[str, Path]:
    """Every checkpoint to choose from by name: those under `root`, then those added by hand."""
    found = sorted(p.parent for p in root().glob(f"*/{CONFIG}")) if root().is_dir() else []
    found.sort(key=lambda p: _FIRST.index(p.name) if p.name in _FIRST else len(_FIRST))
    names = {path.name: path for path in found}
    for path in st.session_state.get("added", []):
        names.setdefault(path.name, path)
    return names


def add(path: Path) -> None:
    """Offer the checkpoint in `path` too, for this session. Raises WorkbenchError where its name is taken."""
    there = checkpoints().get(path.name)
    if there is not None and there.resolve() == path:
        raise WorkbenchError(f"{path.name} is in the list already.")
    if there is not None:
        raise WorkbenchError(
            f"There is a checkpoint named {path.name} already, in {there}. Give the directory {path} another name"
            " and add it again."
        )
    st.session_state["added"] = [*st.session_state.get("added", []), path]


def config_of(path: Path) -> ModelConfig:
    """A checkpoint's configuration, read anew when its file changes. Raises WorkbenchError."""
    return _config(path, version_of(path))


def load(path: Path) -> Translator:
    """The checkpoint in `path`, loaded once for all sessions. Raises WorkbenchError."""
    version = version_of(path)
    loaded().setdefault(path, version)
    return _load(path, version)


def unload(path: Path) -> None:
    """Forget a loaded checkpoint and its compiled programs."""
    version = loaded().pop(path, None)
    if version is not None:
        _load.clear(path, version)


@st.cache_resource
def loaded() -> dict[Path, tuple[float, ...]]:
    """The checkpoints in memory, with the version of their files."""
    return {}


def usable() -> dict[str, ModelConfig]:
    """Configurations of the checkpoints that can be read; the others are named in a warning."""
    found = {}
    for name, path in checkpoints().items():
        try:
            found[name] = config_of(path)
        except WorkbenchError as error:
            st.warning(f"{name} is left out. {error}", icon=":material/warning:")
    if not found:
        st.info(
            f"There is no checkpoint in `{root()}` yet. Train one with `workbench train RECIPE`, or add a"
            " directory on the Checkpoints page.",
            icon=":material/info:",
        )
        st.stop()
    return found


def version_of(path: Path) -> tuple[float, ...]:
    """When the files of a checkpoint were last written, to tell whether they are still the same."""
    return tuple(
        (path / name).stat().st_mtime if (path / name).exists() else 0.0
        for name in (CONFIG, WEIGHTS, INDEX)
    )


@st.cache_data(show_spinner=False, max_entries=64)
def _config(path: Path, version: tuple[float, ...]) -> ModelConfig:
    try:
        config = from_json(json.loads((path / CONFIG).read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise WorkbenchError(f"{path / CONFIG}: {error}") from error
    if config.languages:
        return config
    from workbench.decoding.opening import open_checkpoint

    return open_checkpoint(path)[0]  # a published model, whose languages its tokenizer knows


@st.cache_resource(show_spinner="Loading the checkpoint", max_entries=6)
def _load(path: Path, version: tuple[float, ...]) -> Translator:
    from workbench.decoding.translator import Translator

    return Translator.load(path)


@st.cache_resource(show_spinner=False)
def warm_up() -> None:
    """Begin to import what translating needs, in a thread, once a server: the first page is drawn by now."""
    threading.Thread(
        target=importlib.import_module, args=("workbench.routing.trace",), daemon=True
    ).start()
