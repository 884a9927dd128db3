"""The address: a page's choices live in the URL, so that a link shows the same view."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st


def choice(key: str, options: Sequence[str], default: str | None = None) -> str | None:
    """Prepare the widget `key` with one of `options`: what it has, else what the URL says, else `default`."""
    if not options:
        st.session_state.pop(key, None)
        return None
    first = default if default in options else options[0]
    value = st.session_state.get(key, st.query_params.get(key))
    st.session_state[key] = value if value in options else first
    return st.session_state[key]


def choices(key: str, options: Sequence[str], default: Sequence[str], most: int = 99) -> list[str]:
    """As `choice`, for a widget that takes several."""
    values = st.session_state.get(key)
    if values is None:
        values = st.query_params.get_all(key) or list(default)
    st.session_state[key] = [v for v in dict.fromkeys(values) if v in options][:most]
    return st.session_state[key]


def text(key: str, default: str = "") -> str:
    """As `choice`, for free text."""
    value = st.session_state.get(key)
    st.session_state[key] = value if value is not None else st.query_params.get(key, default)
    return st.session_state[key]


def keep(*keys: str, **more: str) -> None:
    """Write what the widgets `keys` now hold, and `more`, into the URL; nothing else stays there."""
    wanted: dict[str, str | list[str]] = {}
    for key in keys:
        value = st.session_state.get(key)
        if value:
            wanted[key] = list(value) if isinstance(value, list | tuple) else str(value)
    wanted |= {key: value for key, value in more.items() if value}
    now = {key: st.query_params.get_all(key) for key in st.query_params}
    if now != {k: v if isinstance(v, list) else [v] for k, v in wanted.items()}:
        st.query_params.from_dict(wanted)
