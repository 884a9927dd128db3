"""A text box that a reload leaves as it was: the address has a short text, and of a long one the digest."""

from __future__ import annotations

import hashlib
import threading
from typing import Any

import streamlit as st

from app.widgets.address import is_fresh, keep, together

#: A longer text is not in the page's address: mail programs and servers cut long ones.
MOST_IN_ADDRESS = 1_000
#: Characters of long texts that the server holds for all sessions: those that were seen longest ago go first.
MOST_HELD = 2**24
#: What the address calls the digest of a box's long text, after the box's own key.
_LONG = "-sha256"
_LOCK = threading.Lock()


@st.cache_resource(show_spinner=False)
def _held() -> dict[str, str]:
    """Long texts by their digests."""
    return {}


def write_text(
    place: Any,
    label: str,
    key: str,
    most: int,
    height: int,
    untouched: str = "",
    strange: list[str] | None = None,
) -> str:
    """What is in the text box `key`: at first what the address says, else `untouched`.

    most: characters. strange: takes what the address asks for in vain: a text that this server does not hold.
    """
    state = st.session_state
    if is_fresh(key):
        state[key] = _from_address(key, untouched, strange)[:most]
    written = str(
        place.text_area(label, key=key, persist_state="session", height=height, max_chars=most)
    )
    long = len(written) > MOST_IN_ADDRESS
    with together():
        keep(key, untouched if long else written, untouched)
        keep(key + _LONG, _hold(written) if long else "", "")
    return written


def _from_address(key: str, untouched: str, strange: list[str] | None) -> str:
    digest = st.query_params.get(key + _LONG)
    if digest is not None:
        with _LOCK:
            text = _held().get(digest)
        if text is not None:
            return text
        if strange is not None:
            strange.append(f"{key}{_LONG}={digest}")
    return str(st.query_params.get(key, untouched))


def _hold(text: str) -> str:
    """Keep a long text, and give its digest."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    with _LOCK:
        held = _held()
        held.pop(digest, None)
        held[digest] = text
        while sum(map(len, held.values())) > MOST_HELD and len(held) > 1:
            del held[next(iter(held))]
    return digest
