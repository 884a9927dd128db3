"""A text box that a reload leaves as it was: the address has a short text, and of a long one the digest."""

from __future__ import annotations

from typing import Any

import streamlit as st

from app.held import Held
from app.widgets.address import is_fresh, keep, together

#: A longer text is not in the page's address: mail programs and servers cut long ones.
MOST_IN_ADDRESS = 1_000
#: Bytes of long texts that the server holds.
MOST_HELD = 2**24
#: What the address calls the digest of a box's long text, after the box's own key.
_LONG = "-sha256"


@st.cache_resource(show_spinner=False)
def _held() -> Held:
    return Held(MOST_HELD)


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
        digest = _held().put(written.encode("utf-8", "surrogatepass")) if long else ""
        keep(key + _LONG, digest, "")
    return written


def _from_address(key: str, untouched: str, strange: list[str] | None) -> str:
    digest = st.query_params.get(key + _LONG)
    if digest is not None:
        text = _held().get(digest)
        if text is not None:
            return text.decode("utf-8", "surrogatepass")
        if strange is not None:
            strange.append(f"{key}{_LONG}={digest}")
    return str(st.query_params.get(key, untouched))
