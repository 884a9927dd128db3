"""What the pages share: which checkpoints there are, those in memory, and the networks that were made here."""

from __future__ import annotations

import importlib
import itertools
import os
import re
import threading
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from app import jobs
from workbench.arguments import as_json
from workbench.checkpoint import CONFIG, INDEX, RESULT, WEIGHTS
from workbench.checkpoint.hub import find_checkpoint
from workbench.checkpoint.hub_config import from_json
from workbench.config import ModelConfig
from workbench.errors import WorkbenchError

# JAX takes seconds to import: what needs it is imported where it is first used, after the first paint.
if TYPE_CHECKING:
    from workbench.decoding.translator import Translator

#: Where the Checkpoints page and `workbench app --checkpoints` look.
VARIABLE = "WORKBENCH_CHECKPOINTS"
_FIRST = ("captions-task-moe", "captions-token-moe", "captions-dense")
#: Checkpoints in memory, at most: the one that was used longest ago goes first.
MOST_LOADED = 6
#: Networks made on the pages of this server that stay in memory, at most: the one that was made longest ago goes first.
MOST_MADE = 6
#: What the address calls a checkpoint that was added by hand.
ADDED = "checkpoint"
_BOOKS, _LOADING = threading.Lock(), threading.Lock()
_NEXT = itertools.count()


@dataclass(frozen=True)
class Making:
    """What network was asked for on the Sub-networks page. version: of the checkpoint's files, so that one that was
    written anew is cut anew. settings: what is made of it.

    Results of its job have it as `network`.
    """

    path: Path
    version: tuple[float, ...]
    how: str
    settings: Any


@dataclass(frozen=True)
class Loaded:
    """A checkpoint in memory. version: of its files when they were read."""

    model: Translator
    version: tuple[float, ...]


def root() -> Path:
    """The directory whose sub-directories are checkpoints."""
    chosen = os.environ.get(VARIABLE)
    return Path(chosen) if chosen else Path(__file__).resolve().parent.parent / "checkpoints"


def checkpoints() -> dict[str, Path]:
    """Every checkpoint to choose from by name: those under `root`, then those added by hand or by the address."""
    refused_in_address()
    return _by_name()


def _by_name() -> dict[str, Path]:
    found = sorted(p.parent for p in root().glob(f"*/{CONFIG}")) if root().is_dir() else []
    found.sort(key=lambda p: _FIRST.index(p.name) if p.name in _FIRST else len(_FIRST))
    names = {path.name: path for path in found}
    for path in added():
        names.setdefault(called(path), path)
    return names


def path_of(written: str) -> Path:
    """The path that a person wrote; `~` is their home. Raises WorkbenchError where there can be none of that name."""
    try:
        path = Path(written).expanduser().absolute()
        path.exists()
    except (OSError, ValueError, RuntimeError) as error:  # no access, too long, no such person
        reason = error.strerror if isinstance(error, OSError) else str(error).rstrip(".")
        raise WorkbenchError(f"{written[:80]!r} cannot be a path here: {reason}.") from error
    return path


def called(path: Path) -> str:
    """The name of a checkpoint: its directory's, of a run's the run's, of one in the hub's cache the repository's."""
    if path.parent.name == "snapshots" and "--" in path.parents[1].name:
        return path.parents[1].name.rpartition("--")[2]
    return path.parent.name if path.name == RESULT and path.parent.name else path.name


def added() -> list[Path]:
    """The checkpoints that were added in this session."""
    return list(st.session_state.get("added", []))


def add(path: Path) -> None:
    """Offer the checkpoint in `path` too, for this session and in its address.

    Raises:
        WorkbenchError: there is no checkpoint, or its name is taken.
    """
    # It imports JAX, which few sessions need for this.
    from workbench.checkpoint.directory import read_config

    try:
        path = path.resolve()
        if path.is_file():
            raise WorkbenchError(
                f"{path} is a file. A checkpoint is a directory, here perhaps {path.parent}."
            )
        read_config(find_checkpoint(path))
    except WorkbenchError:
        raise
    except (OSError, ValueError) as error:  # no access, or no path at all
        raise WorkbenchError(f"Cannot read {str(path)!r}: {error}.") from error
    name, names = called(path), _by_name()
    there = names.get(name)
    if path in [each.resolve() for each in names.values()]:
        raise WorkbenchError(f"{name} is in the list already.")
    if there is not None:
        raise WorkbenchError(
            f"There is a checkpoint named {name} already, in {there}. Give the directory {path} another name"
            " and add it again."
        )
    st.session_state["added"] = [*added(), path]


def forget(path: Path) -> None:
    """Offer an added checkpoint no longer."""
    st.session_state["added"] = [each for each in added() if each != path]
    _write_address([str(each) for each in added()])


def refused_in_address() -> dict[str, str]:
    """Add the checkpoints that the address names, and name there what was added: pages change, and it is empty.

    Gives what cannot be added, with the reason.
    """
    there = {str(each.resolve()) for each in _by_name().values()}
    refused = {}
    for text in st.query_params.get_all(ADDED):
        if text in there:
            continue
        try:
            if not Path(text).is_absolute():
                raise WorkbenchError("The address must name its directory from the root on.")
            add(Path(text))
            there.add(text)
        except WorkbenchError as error:
            refused[text] = str(error)
    _write_address([*map(str, added()), *refused])
    return refused


def _write_address(texts: list[str]) -> None:
    if texts and st.query_params.get_all(ADDED) != texts:
        st.query_params[ADDED] = texts
    elif not texts and ADDED in st.query_params:
        del st.query_params[ADDED]


def literal(text: str) -> str:
    """The text for a message, which would take signs in paths and patterns for Markdown."""
    return re.sub(r"([\\`*_{}\[\]()#$~|<>:])", r"\\\1", text)


def config_of(path: Path) -> ModelConfig:
    """A checkpoint's configuration, read anew when its file changes. Raises WorkbenchError."""
    return _config(path, version_of(path))


def load(path: Path) -> Translator:
    """The checkpoint in `path`, loaded once for all sessions. Raises WorkbenchError."""
    version = version_of(path)
    model = _held(path, version)
    if model is not None:
        return model
    with _LOADING:
        model = _held(path, version)  # by another session, while this one waited
        if model is None:
            with _BOOKS:
                while len(loaded()) >= MOST_LOADED:
                    del loaded()[next(iter(loaded()))]
            with _loading(path):
                from workbench.decoding.translator import Translator

                model = Translator.load(path)
            model.name = called(path)
            with _BOOKS:
                loaded()[path] = Loaded(model, version)
    return model


def _held(path: Path, version: tuple[float, ...]) -> Translator | None:
    """The model, if it is in memory as its files are; it is the last one to go now."""
    with _BOOKS:
        held = loaded().pop(path, None)
        if held is None or held.version != version:
            return None
        loaded()[path] = held
        return held.model


def _loading(path: Path) -> AbstractContextManager[Any]:
    """Says on the page, if there is one, what is loaded and the memory that it takes."""
    if get_script_run_ctx(suppress_warning=True) is None:
        return nullcontext()
    need = f"{memory_needed(config_of(path)) / 2**20:,.1f} MiB of memory for its weights"
    return st.spinner(f"Loading {called(path)}: {need} (float32)")


def memory_needed(config: ModelConfig) -> int:
    """Bytes that the weights of a checkpoint take in memory, in float32."""
    from workbench.checkpoint import weights

    return weights.memory_needed(config)


def unload(path: Path) -> None:
    """Forget a loaded checkpoint and its compiled programs."""
    with _BOOKS:
        loaded().pop(path, None)


@st.cache_resource
def loaded() -> dict[Path, Loaded]:
    """The checkpoints in memory, the one that was used last at the end."""
    return {}


@st.cache_resource
def _numbers() -> WeakKeyDictionary[Translator, int]:
    """The number of every network that was made."""
    return WeakKeyDictionary()


def number_of(model: Translator) -> int:
    """A number that no other network of this server has, nor ever had: two of one name can be told apart."""
    with _BOOKS:
        return _numbers().setdefault(model, next(_NEXT))


@st.cache_resource
def _made() -> dict[str, Translator]:
    """The networks that were made here, the newest last. Of the server, so that a reload does not lose them."""
    return {}


def made() -> dict[str, Translator]:
    """The networks that were made on the pages of this server and are in memory, the newest last."""
    with _BOOKS:
        return dict(_made())


def keep(model: Translator) -> None:
    """Add a network to `made()`; the oldest goes where they are too many."""
    with _BOOKS:
        networks = _made()
        networks.pop(model.name, None)
        networks[model.name] = model
        gone = [networks.pop(name) for name in list(networks)[:-MOST_MADE]]
    jobs.forget(lambda job: any(_holds(job, network) for network in gone))


def drop(model: Translator) -> None:
    """Forget a network that was made here, and the jobs that hold it."""
    with _BOOKS:
        if _made().get(model.name) is model:
            del _made()[model.name]
    jobs.forget(lambda job: _holds(job, model))
    for key in ("cutting", "making"):
        job = st.session_state.get(key)
        if job is not None and _holds(job, model):
            del st.session_state[key]


def _holds(job: jobs.Job, model: Translator) -> bool:
    return isinstance(job.of, Making) and any(result.network is model for result in job.results)


def free_name(name: str) -> str:
    """`name` for a network to be made, with a number where one of that name was made or lies here already."""
    taken = {*made(), *checkpoints()}
    numbered = (f"{name}-{number}" for number in range(2, 2 + len(taken)))
    return name if name not in taken else next(n for n in numbered if n not in taken)


def network(name: str) -> Translator:
    """The network of that name: one that was made here, else the checkpoint. Raises WorkbenchError."""
    if (model := made().get(name)) is not None:
        return model
    path = checkpoints().get(name)
    if path is None:
        raise WorkbenchError(f"{name} is neither a checkpoint nor a network that was made here.")
    return load(path)


def usable() -> dict[str, ModelConfig]:
    """Configurations of the checkpoints that can be read; the others are named in a warning."""
    found = {}
    for text, reason in refused_in_address().items():
        st.warning(
            literal(f"{text} in the address is left out. {reason}"), icon=":material/warning:"
        )
    for name, path in checkpoints().items():
        try:
            found[name] = config_of(path)
        except WorkbenchError as error:
            st.warning(literal(f"{name} is left out. {error}"), icon=":material/warning:")
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
    file = path / CONFIG
    try:
        table = as_json(file.read_bytes(), str(file))
    except OSError as error:
        raise WorkbenchError(f"Cannot read {file}: {error.strerror}.") from error
    try:
        config = from_json(table)
    except WorkbenchError as error:
        raise WorkbenchError(f"{file}: {error}") from error
    if config.languages:
        return config
    from workbench.decoding.opening import open_checkpoint

    return open_checkpoint(path)[0]  # a published model, whose languages its tokenizer knows


@st.cache_resource(show_spinner=False)
def warm_up() -> None:
    """Begin to import what translating needs, in a thread, once a server: the first page is drawn by now."""
    threading.Thread(
        target=importlib.import_module, args=("workbench.routing.trace",), daemon=True
    ).start()
