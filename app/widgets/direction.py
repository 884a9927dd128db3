"""Choosing languages: two searchable boxes and a button that swaps them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from workbench.languages import find_language
from workbench.tasks import Task


def language_label(code: str) -> str:
    """Name and code, e.g. `German · deu_Latn`."""
    return f"{find_language(code, among=(code,)).name} · {code}"


def choose_direction(columns: Sequence[Any], tasks: Sequence[Task]) -> Task:
    """The direction chosen in three `columns`: source, swap, target. Kept in the URL as `from` and `to`."""
    sources = list(dict.fromkeys(task.source for task in tasks))
    sources.sort(key=lambda code: (code != "eng_Latn", language_label(code)))
    _keep("from", sources, sources[0])
    with columns[0]:
        source = st.selectbox(
            "From", sources, format_func=language_label, key="from", bind="query-params"
        )
    targets = sorted({task.target for task in tasks if task.source == source}, key=language_label)
    preferred = "deu_Latn" if "deu_Latn" in targets else targets[0]
    _keep("to", targets, preferred)
    with columns[1]:
        st.button(
            "",
            icon=":material/swap_horiz:",
            help="Swap the two languages",
            on_click=_swap,
            disabled=Task(st.session_state["to"], source) not in tasks,
            width="stretch",
        )
    with columns[2]:
        target = st.selectbox(
            "To", targets, format_func=language_label, key="to", bind="query-params"
        )
    return Task(source, target)


def _keep(key: str, options: Sequence[str], default: str) -> None:
    """Start from the URL where it names an option, and give up a choice that is no longer one."""
    wanted = st.session_state.get(key, st.query_params.get(key))
    st.session_state[key] = wanted if wanted in options else default


def _swap() -> None:
    state = st.session_state
    state["from"], state["to"] = state["to"], state["from"]
