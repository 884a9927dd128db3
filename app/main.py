"""The app's entry: its pages, its look, and the imports that are made while the first page is read."""

from __future__ import annotations

import sys
from pathlib import Path

import streamlit as st

# Streamlit puts this file's folder in the path, but not the one that holds `app` and `workbench`.
ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from app import session  # noqa: E402

st.set_page_config(page_title="Task-MoE", page_icon=":material/hub:", layout="wide")
st.html(Path(__file__).with_name("style.html"))

page = st.navigation(
    [
        st.Page("pages/translate.py", title="Translate", icon=":material/translate:", default=True),
        st.Page("pages/experts.py", title="Experts", icon=":material/hub:"),
        st.Page("pages/subnetworks.py", title="Sub-networks", icon=":material/content_cut:"),
        st.Page("pages/compare.py", title="Compare", icon=":material/compare_arrows:"),
        st.Page("pages/checkpoints.py", title="Checkpoints", icon=":material/inventory_2:"),
    ],
    position="top",
)
page.run()
session.warm_up()
