"""What follows when a network was made on a page: save it, download it, compare it with the whole."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import streamlit as st

from app import session
from app.widgets.before_after import stored_in
from workbench.decoding.translator import Translator
from workbench.errors import WorkbenchError
from workbench.tasks import Task


def archive(small: Translator) -> bytes:
    """The network's directory as a zip file."""
    name = small.name
    with tempfile.TemporaryDirectory() as folder:
        small.save(Path(folder) / name)
        data = BytesIO()
        with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as file:
            for path in sorted((Path(folder) / name).iterdir()):
                file.write(path, f"{name}/{path.name}")
        return data.getvalue()


def offer(small: Translator, whole: str, tasks: Sequence[Task]) -> None:
    """What to do with `small`: save it in a directory, download it, compare it with the network that it is made of.

    whole: the name of that one. tasks: the directions to compare them on.
    """
    left, right = st.columns([3, 2], gap="medium", vertical_alignment="bottom")
    place = left.text_input("Save as", str(session.root() / small.name)).strip()
    save, download = right.columns(2)
    if save.button("Save", icon=":material/save:", width="stretch"):
        save_in(place, small)
    download.download_button(
        "Download",
        lambda: archive(small),
        f"{small.name}.zip",
        icon=":material/download:",
        width="stretch",
        on_click="ignore",
    )
    if small.path is not None and small.path.is_dir():
        st.caption(
            f"Saved in `{small.path}`: {sum(stored_in(small.path, small.config).values()) / 2**20:.1f} MiB on disk."
        )
    if st.button("Compare with the whole network", key="to-compare", icon=":material/balance:"):
        asked = {"systems": [whole, small.name]}
        if tasks:
            asked["directions"] = [str(task) for task in tasks]
        session.keep(small)  # others may have been made since
        # In the state too: a page that was open before goes by that rather than by its address.
        st.session_state.update(asked)
        st.switch_page("views/compare.py", query_params=asked)


def save_in(place: str, small: Translator) -> None:
    """Save `small` in the directory that a person wrote, or say why not."""
    if not place:
        st.error("Name a directory to save it in.", icon=":material/error:")
        return
    try:
        path = session.path_of(place)
        small.save(path)
    except WorkbenchError as error:
        st.error(session.literal(str(error)), icon=":material/error:")
        return
    small.path = path
    st.toast(f"Saved in {session.literal(str(path))}", icon=":material/check:")
