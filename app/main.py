"""The app's frame: its pages and what they share. Run with `workbench app`."""

from __future__ import annotations

import sys
from pathlib import Path

import streamlit as st

# Streamlit runs this file as a script; its package is found from the folder above.
_ROOT = str(Path(__file__).resolve().parent.parent)
if _ROOT not in sys.path:
    sys.path.insert(0, _ROOT)

# A file of our own: Streamlit's icons would be fetched from the web for this.
_ICON = str(Path(__file__).parent / "icon.svg")
st.set_page_config(page_title="Task-MoE workbench", page_icon=_ICON, layout="wide")

# Not "pages": a directory of that name Streamlit would take for its own kind of pages, and show those first.
_PAGES = Path(__file__).parent / "views"
# Streamlit serves it at / alone and reserves its name all the same: it has another, so that /translate is free.
_FIRST = st.Page(
    _PAGES / "translate.py",
    title="Translate",
    icon=":material/translate:",
    url_path="first",
    default=True,
)


def _to_first() -> None:
    """Send who asks for the first page by its name, as for all others, to where it is."""
    asked = {key: st.query_params.get_all(key) for key in st.query_params}
    st.switch_page(_FIRST, query_params=asked)


page = st.navigation(
    [
        _FIRST,
        st.Page(_PAGES / "experts.py", title="Experts", icon=":material/grid_view:"),
        st.Page(_PAGES / "subnetworks.py", title="Sub-networks", icon=":material/content_cut:"),
        st.Page(_PAGES / "compare.py", title="Compare", icon=":material/balance:"),
        st.Page(_PAGES / "runs.py", title="Runs", icon=":material/show_chart:"),
        st.Page(_PAGES / "checkpoints.py", title="Checkpoints", icon=":material/inventory_2:"),
        st.Page(_to_first, title="Translate", url_path="translate", visibility="hidden"),
    ],
    position="top",
)
st.html(
    "<style>.block-container{padding-top:4.5rem;max-width:84rem}"
    "h1{font-size:1.9rem!important;padding-bottom:.2rem!important}"
    # Each line that a person types runs as its script does.
    "textarea{unicode-bidi:plaintext;text-align:start}"
    # In the primary colour, which is dark enough for white text on it, the chosen one is too faint on dark pages.
    "[data-testid=stButtonGroup] [aria-checked=true]{color:inherit!important}</style>"
)
page.run()

from app import session  # noqa: E402 - the path above comes first

# On pages too that have no checkpoints to choose from: what was added stays in the address.
session.refused_in_address()
session.warm_up()
