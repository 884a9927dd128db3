"""Long lists in pages, so that none takes long to draw."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

PAGE = 50


def choose_page(numbers: Sequence[int], noun: str) -> tuple[list[int], Callable[[], None]]:
    """The part of `numbers` that is to be shown, and what draws the same buttons below it once more.

    noun: what they are numbers of, e.g. `sentence`. Buttons are there where there is more than one page.
    """
    key = _key(noun)
    last = (len(numbers) - 1) // PAGE * PAGE if numbers else 0
    first = min(st.session_state.get(key, 0), last)
    st.session_state[key] = first
    shown = list(numbers[first : first + PAGE])

    def buttons(where: str) -> None:
        if last == 0:
            return
        row = st.container(horizontal=True, vertical_alignment="center", key=f"pages {where}")
        for label, icon, to in (
            ("Previous", "chevron_left", first - PAGE),
            ("Next", "chevron_right", first + PAGE),
        ):
            row.button(
                label,
                key=f"{label} {noun} {where}",
                icon=f":material/{icon}:",
                on_click=_go,
                args=(key, to),
                disabled=not 0 <= to <= last,
            )
        row.caption(
            f"{noun.capitalize()}s {first + 1:,} to {first + len(shown):,} of {len(numbers):,}",
            width="content",
        )

    buttons("above")
    return shown, lambda: buttons("below")


def to_first_page(noun: str) -> None:
    """Show the first page next: what there are pages of is new."""
    st.session_state.pop(_key(noun), None)


def _key(noun: str) -> str:
    return f"first {noun}"


def _go(key: str, first: int) -> None:
    st.session_state[key] = first
