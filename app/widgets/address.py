"""Choices in the page's address, by the names that the command line has for them rather than by their labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import streamlit as st
from streamlit.errors import StreamlitAPIException
from streamlit.runtime.scriptrunner import get_script_run_ctx

#: What `keep` was told within `together`: values, or None for what leaves the address.
_waiting: ContextVar[dict[str, str | list[str] | None] | None] = ContextVar("waiting", default=None)


def begin_one(key: str, options: Sequence[str]) -> list[str]:
    """Before a widget of one choice: start from the address, else from the first option.

    Returns what the address asks for and is no option, as `key=value`.
    """
    fresh = is_fresh(key)
    wanted = st.query_params.get(key) if fresh else st.session_state[key]
    st.session_state[key] = wanted if wanted in options else options[0]
    return strange(key, [wanted] if fresh and wanted is not None else [], options)


def begin_many(key: str, options: Sequence[str], default: Sequence[str]) -> list[str]:
    """Before a widget of many: start from the address, else from `default`; drop what is no longer an option.

    Returns what the address asks for and is no option, as `key=value`.
    """
    fresh = is_fresh(key)
    wanted = st.query_params.get_all(key) if fresh else st.session_state[key]
    found = list(dict.fromkeys(name for name in wanted if name in options))
    if fresh or len(found) < len(wanted):
        st.session_state[key] = found or list(default)
    return strange(key, wanted if fresh else [], options)


def choose_one(
    place: Any,
    label: str,
    key: str,
    options: Mapping[str, str],
    segmented: bool = False,
    strange: list[str] | None = None,
    **more: Any,
) -> str:
    """One of the options, the first by default, shown in words and kept in the address.

    options: by the names that the address has. segmented: buttons in a row in place of a box. strange: takes what the
    address asks for in vain. more: for the widget.
    """
    names = list(options)
    missing = begin_one(key, names)
    if strange is not None:
        strange += missing
    if segmented:
        more["required"] = True
    widget = place.segmented_control if segmented else place.selectbox
    chosen = str(
        widget(
            label,
            names,
            format_func=options.__getitem__,
            key=key,
            persist_state="session",
            **more,
        )
    )
    keep(key, chosen, names[0])
    return chosen


def is_fresh(key: str) -> bool:
    """Whether the address decides: the choice was not made yet, or Back or Forward led to an earlier one."""
    return key not in st.session_state or went_back()


def went_back() -> bool:
    """Whether Back or Forward led here. Their address then stands above what the widgets still hold."""
    context = get_script_run_ctx()
    return context is not None and context.is_history_navigation


def strange(key: str, wanted: Sequence[str], options: Sequence[str]) -> list[str]:
    """Those of `wanted` that are no option, as `key=value`."""
    return [f"{key}={value}" for value in wanted if value not in options]


def say_strange(found: Sequence[str]) -> None:
    """One line on what the address asked for in vain."""
    if found:
        named = ", ".join(f"`{each[:80].replace('`', '')}`" for each in found)
        st.warning(
            f"The address names what is not here: {named}. The page shows other choices instead.",
            icon=":material/link_off:",
        )


def keep(key: str, value: str | list[str], default: str | list[str]) -> None:
    """After a widget: write what is chosen into the address, unless that is the default."""
    with together():
        waiting = _waiting.get()
        assert waiting is not None
        waiting[key] = None if value in (default, []) else value


@contextmanager
def together() -> Iterator[None]:
    """Within it, `keep` writes at the end and at once, so that Back finds no address that was half changed."""
    if _waiting.get() is not None:
        yield
        return
    token = _waiting.set({})
    try:
        yield
        _write(_waiting.get() or {})
    finally:
        _waiting.reset(token)


def _write(values: dict[str, str | list[str] | None]) -> None:
    there = {key: st.query_params.get_all(key) for key in st.query_params}
    lists = {k: [v] if isinstance(v, str) else v for k, v in values.items() if v is not None}
    gone = [key for key, value in values.items() if value is None and key in there]
    new = {key: value for key, value in lists.items() if value != there.get(key)}
    if new and gone:
        try:
            st.query_params.from_dict({k: v for k, v in (there | new).items() if k not in gone})
            return
        except StreamlitAPIException:
            pass  # of widgets that Streamlit itself binds to the address: these must be written one by one
    if new:
        st.query_params.update(new)
    for key in gone:
        del st.query_params[key]
