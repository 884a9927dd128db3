"""Tables of routes or of usage that the command line wrote, perhaps on another machine, from a person's files."""

from __future__ import annotations

import io
from typing import Any

import pandas as pd
import streamlit as st

from app.held import Held
from app.widgets.address import is_fresh, keep
from app.widgets.routing import Routing, routing_of
from workbench.arguments import as_json
from workbench.errors import WorkbenchError
from workbench.routing.files import SUFFIXES, routes_from, usage_from_json
from workbench.wording import counted

#: Bytes of files that the server holds.
MOST_HELD = 2**27
_FILES, _DIGESTS = "routing files", "files"


def choose_saved(place: Any, strange: list[str]) -> Routing | None:
    """What is in the files that a person gives; a reload finds them again.

    strange: takes what the address asks for in vain.

    Raises:
        WorkbenchError: the files hold something else.
    """
    state = st.session_state
    place.file_uploader(
        "Tables of routes, or one of usage",
        [*(suffix[1:] for suffix in SUFFIXES), "json"],
        accept_multiple_files=True,
        key=_FILES,
        on_change=_take,
        help="What `workbench routes … -o routes.parquet` wrote, of one or more directions of one network, or what"
        " `workbench usage … -o usage.json` wrote: of a network that is too large for this machine, say.",
    )
    if is_fresh(_DIGESTS):
        state[_DIGESTS] = st.query_params.get_all(_DIGESTS)
    missing = [digest for digest in state[_DIGESTS] if _held().get(digest) is None]
    strange += [f"{_DIGESTS}={digest}" for digest in missing]
    there = [digest for digest in state[_DIGESTS] if digest not in missing]
    keep(_DIGESTS, there, [])
    return _read(tuple(there)) if there else None


@st.cache_resource(show_spinner=False)
def _held() -> Held:
    return Held(MOST_HELD)


def _take() -> None:
    """Hold what was uploaded, under its name: the ending says what it is. Tasks chosen before were of other tables."""
    st.query_params.pop("tasks", None)
    st.session_state[_DIGESTS] = [
        _held().put(file.name.encode() + b"\0" + file.getvalue())
        for file in st.session_state[_FILES]
    ]


@st.cache_resource(max_entries=4, show_spinner="Reading the tables …")
def _read(digests: tuple[str, ...]) -> Routing:
    files: list[tuple[str, bytes]] = []
    for digest in digests:
        name, _, data = (_held().get(digest) or b"").partition(b"\0")
        files.append((name.decode(), data))
    key = repr(digests)
    if any(name.endswith(".json") for name, _ in files):
        if len(files) > 1:
            raise WorkbenchError("Give one table of usage, or tables of routes, not both at once.")
        return _usage(*files[0], key)
    first, *others = (routes_from(io.BytesIO(data), name) for name, data in files)
    routes = sum(others, first)
    names = ", ".join(name for name, _ in files)
    of = f"{routes.model}: routes of {names}" if routes.model else f"routes of {names}"
    return routing_of(routes, key, routes.model or names, of)


def _usage(name: str, data: bytes, key: str) -> Routing:
    """A table of usage, with the specialisation that `workbench usage` writes beside it."""
    table = as_json(data, name)
    usage = usage_from_json(table, name)
    rows = table.get("specialization")
    specialization = pd.DataFrame(rows) if rows and len(usage.tasks) > 1 else None
    of = f"{usage.model or name}: usage of {name}, {counted(len(usage.tasks), 'task')}"
    return Routing(key, usage.model or name, of, usage, specialization=specialization)
