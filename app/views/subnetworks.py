"""Sub-networks: what some tasks need of a checkpoint cut out exactly; or a smaller network, pruned or merged."""

from __future__ import annotations

import streamlit as st

from app import session
from app.widgets.address import choose_one, say_strange
from app.widgets.extraction import choose_directions, extraction
from app.widgets.smaller import MERGE, PRUNE, smaller
from workbench.config import ModelConfig
from workbench.errors import WorkbenchError

EXTRACT = "Extract exactly"


def ways(config: ModelConfig) -> list[str]:
    """What can be done with a checkpoint of this shape."""
    kinds = {stack.router.granularity for _, stack in config.stacks if stack.router}
    found = [EXTRACT] if "task" in kinds else []
    return [*found, PRUNE, MERGE] if kinds & {"token", "sentence"} else found


st.title("Sub-networks", anchor=False)
configs = session.usable()
offered = {name: found for name, config in configs.items() if (found := ways(config))}
if not offered:
    st.info(
        "None of the checkpoints has experts, so there is nothing to cut.", icon=":material/info:"
    )
    st.stop()
strange: list[str] = []
columns = st.columns([2, 3], vertical_alignment="bottom")
name = choose_one(columns[0], "Checkpoint", "model", {n: n for n in offered}, strange=strange)
several = offered[name]
how = several[0]
if len(several) > 1:
    words = {way: way for way in several}
    how = choose_one(columns[1], "What to do", "how", words, segmented=True, strange=strange)
say_strange(strange)
try:
    path = session.checkpoints()[name]
    model = session.load(path)
except WorkbenchError as error:
    st.error(session.literal(str(error)), icon=":material/error:")
    st.stop()
if how == EXTRACT:
    extraction(path, model, choose_directions(configs[name]))
else:
    smaller(how, path, model, st.container())
