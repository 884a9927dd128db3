"""Choices in the page's address, by the names that the command line has for them rather than by their labels."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st


def begin_one(key: str, options: Sequence[str]) -> None:
    """Before a widget of one choice: start from the address, else from the first option."""
    wanted = st.session_state.get(key, st.query_params.get(key))
    st.session_state[key] = wanted if wanted in options else options[0]


def begin_many(key: str, options: Sequence[str], default: Sequence[str]) -> None:
    """Before a widget of many: start from the address, else from `default`; drop what is no longer an option."""
    fresh = key not in st.session_state
    wanted = st.query_params.get_all(key) if fresh else st.session_state[key]
    found = [name for name in wanted if name in options]
    if fresh or len(found) < len(wanted):
        st.session_state[key] = found or list(default)


def keep(key: str, value: str | list[str], default: str | list[str]) -> None:
    """After a widget: write what is chosen into the address, unless that is the default."""
    if value != default:
        st.query_params[key] = value
    elif key in st.query_params:
        del st.query_params[key]
