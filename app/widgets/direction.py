"""Choosing languages: two searchable boxes and a button that swaps them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from app.widgets.address import is_fresh, keep, say_strange, together, went_back
from workbench.languages import UnknownLanguageError, find_language
from workbench.tasks import Task


def language_label(code: str) -> str:
    """Name and code, e.g. `German · deu_Latn`."""
    return f"{find_language(code, among=(code,)).name} · {code}"


# The swap button's label is for those who hear the page: its column has room for the icon only.
_STYLE = """<style>.st-key-swap button *{gap:0}.st-key-swap button p{position:absolute;width:1px;height:1px;overflow:hidden;
 clip-path:inset(50%);white-space:nowrap}</style>"""


def choose_direction(
    columns: Sequence[Any],
    tasks: Sequence[Task],
    before_swap: Callable[[], None] = lambda: None,
    strange: list[str] | None = None,
) -> Task:
    """The direction chosen in three `columns`: source, swap, target. Kept in the URL as `from` and `to`.

    before_swap: called when the button is pressed, while the languages are still as they were. strange: takes what the
    URL asks for and is no language here; without it, that is said below the columns.
    """
    missing: list[str] = []
    sources = list(dict.fromkeys(task.source for task in tasks))
    sources.sort(key=lambda code: (code != "eng_Latn", language_label(code)))
    missing += _begin("from", sources, sources[0])
    with columns[0]:
        source = st.selectbox("From", sources, format_func=language_label, key="from")
    targets = sorted({task.target for task in tasks if task.source == source}, key=language_label)
    preferred = "deu_Latn" if "deu_Latn" in targets else targets[0]
    missing += _begin("to", targets, preferred)
    with columns[1]:
        st.html(_STYLE)
        st.button(
            "Swap languages",
            key="swap",
            icon=":material/swap_horiz:",
            help="Swap languages",
            on_click=_swap,
            args=(before_swap,),
            disabled=Task(st.session_state["to"], source) not in tasks,
            width="stretch",
        )
    with columns[2]:
        target = st.selectbox("To", targets, format_func=language_label, key="to")
    # Codes: bound to the address, the boxes would write their labels there.
    with together():
        keep("from", source, sources[0])
        keep("to", target, preferred)
    if strange is None:
        say_strange(missing)
    else:
        strange += missing
    st.session_state.update({"last from": source, "last to": target})
    return Task(source, target)


def _begin(key: str, options: Sequence[str], default: str) -> list[str]:
    """Start from the URL where it names an option, in any way a language is written, else from before; give up a choice
    that is no longer one. Returns what the URL asks for in vain.
    """
    # Its last value under a second name as well: Streamlit forgets a widget's own when another page is shown.
    last = st.session_state.get(f"last {key}", default)
    asked = st.query_params.get(key) if is_fresh(key) else None
    if is_fresh(key):
        wanted = (default if went_back() else last) if asked is None else _code(asked, options)
    else:
        wanted = st.session_state[key]
    st.session_state[key] = wanted if wanted in options else default
    return [f"{key}={asked}"] if asked is not None and wanted is None else []


def _code(written: str, options: Sequence[str]) -> str | None:
    """The option that a person means by what is written, if any."""
    try:
        return find_language(written, among=options).code
    except UnknownLanguageError:
        return None


def _swap(before: Callable[[], None]) -> None:
    before()
    state = st.session_state
    state["from"], state["to"] = state["to"], state["from"]
