"""Checkpoints: what there is, what is in memory, and the model cards."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import streamlit as st

from app import session
from workbench.checkpoint.components import parameters_by_component
from workbench.checkpoint.description import stack_in_words
from workbench.checkpoint.directory import CARD, read_config
from workbench.checkpoint.model_card import licence_of
from workbench.config import ModelConfig
from workbench.errors import WorkbenchError
from workbench.languages import find_language


def size_of(path: Path) -> int:
    """Bytes of the files in a checkpoint directory."""
    return sum(file.stat().st_size for file in path.iterdir() if file.is_file())


def show(name: str, path: Path, config: ModelConfig) -> None:
    """One checkpoint: facts, a button to unload it, and its card."""
    counts = parameters_by_component(config)
    with st.container(border=True):
        left, right = st.columns([5, 1], vertical_alignment="center")
        left.subheader(name, anchor=False)
        if path in session.loaded():
            if right.button(
                "Unload", key=f"unload {path}", icon=":material/eject:", width="stretch"
            ):
                session.unload(path)
                st.rerun()
        else:
            right.caption("not in memory")
        languages = ", ".join(find_language(c, among=(c,)).name for c in config.languages)
        card = path / CARD
        text = card.read_text(encoding="utf-8", errors="replace") if card.exists() else ""
        facts = {
            "Parameters": f"{sum(counts.values()) / 1e6:.2f} M,"
            f" of which experts {counts['experts'] / 1e6:.2f} M",
            "On disk": f"{size_of(path) / 2**20:.1f} MiB",
            "Encoder": stack_in_words(config.encoder),
            "Decoder": stack_in_words(config.decoder),
            "Languages": f"{languages} ({len(config.directions)} directions)",
            "Licence": licence_of(text) or "not stated",
            "Directory": f"`{path}`",
        }
        st.markdown("\n".join(f"- **{label}** {value}" for label, value in facts.items()))
        if text:
            with st.expander("Model card"):
                body = text.split("---\n", 2)[2] if text.startswith("---\n") else text
                st.markdown(body)


st.title("Checkpoints", anchor=False)
st.caption(f"From `{session.root()}`, and what you add here.")
with st.form("add", border=False):
    left, right = st.columns([6, 1], vertical_alignment="bottom")
    written = left.text_input("Add a checkpoint directory", placeholder="/path/to/checkpoint")
    added = right.form_submit_button("Add", icon=":material/add:", width="stretch")
if added and written.strip():
    path = Path(written.strip()).expanduser().resolve()
    try:
        read_config(path)
        session.add(path)
        st.toast(f"Added {path.name}", icon=":material/check:")
    except WorkbenchError as error:
        st.error(str(error), icon=":material/error:")
configs = session.usable()
paths = session.checkpoints()
total = sum(
    sum(parameters_by_component(configs[n]).values())
    for n in configs
    if paths[n] in session.loaded()
)
st.caption(
    f"{len(configs)} checkpoints; in memory {4 * total / 2**20:.1f} MiB of weights (float32), caches apart."
    " Layers are counted from 0."
)
overview = pd.DataFrame(
    {
        "Checkpoint": list(configs),
        "Encoder": [stack_in_words(c.encoder) for c in configs.values()],
        "Decoder": [stack_in_words(c.decoder) for c in configs.values()],
        "Parameters (M)": [
            sum(parameters_by_component(c).values()) / 1e6 for c in configs.values()
        ],
    }
)
st.dataframe(
    overview,
    hide_index=True,
    width="stretch",
    column_config={"Parameters (M)": st.column_config.NumberColumn(format="%.2f")},
)
for name, config in configs.items():
    show(name, paths[name], config)
