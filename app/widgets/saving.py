"""Keeping a network that was made on a page: saved in a directory, or downloaded as a zip file."""

from __future__ import annotations

import tempfile
import zipfile
from io import BytesIO
from pathlib import Path

import streamlit as st

from app import session
from workbench.decoding.translator import Translator
from workbench.errors import WorkbenchError


@st.cache_data(show_spinner="Packing", max_entries=2)
def archive(name: str, stamp: int, _small: Translator) -> bytes:
    """The network's directory as a zip file."""
    with tempfile.TemporaryDirectory() as folder:
        _small.save(Path(folder) / name)
        data = BytesIO()
        with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as file:
            for path in sorted((Path(folder) / name).iterdir()):
                file.write(path, f"{name}/{path.name}")
        return data.getvalue()


def offer(small: Translator) -> None:
    """A directory to save `small` in, and a button to download it."""
    left, right = st.columns([3, 2], gap="medium", vertical_alignment="bottom")
    place = left.text_input("Save as", str(session.root() / small.name))
    save, download = right.columns(2)
    if save.button("Save", icon=":material/save:", width="stretch"):
        try:
            small.save(place)
            st.toast(f"Saved in {place}", icon=":material/check:")
        except WorkbenchError as error:
            st.error(str(error), icon=":material/error:")
    download.download_button(
        "Download",
        lambda: archive(small.name, id(small), small),
        f"{small.name}.zip",
        icon=":material/download:",
        width="stretch",
    )
