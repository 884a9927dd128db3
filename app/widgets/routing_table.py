"""Rows of routing as a table for a person."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from workbench.tasks import parse_task

GATE = "Gate: the weight of an expert's output, from 0 to 1.{mean} Layers, experts and positions are counted from 0."
#: Rows that a browser takes without delay.
MOST_ROWS = 10_000
COLUMNS = {
    "sentence": None,  # there is one only
    "task": "Task",
    "stack": "Stack",
    "layer": "Layer",
    "position": "Position",
    "token": "Token",
    "rank": "Rank (0: first choice)",
    "expert": "Expert",
    "tokens": "Tokens that chose it",
    "share": st.column_config.NumberColumn("Share of the task's tokens", format="percent"),
}


def show_table(frame: pd.DataFrame, gate: str) -> None:
    """The rows, with headers for a person. gate: what the column of that name holds."""
    if len(frame) > MOST_ROWS:
        st.caption(f"The first {MOST_ROWS:,} of {len(frame):,} rows; the file has all.")
    shown = frame.head(MOST_ROWS)
    labels = {task: parse_task(str(task)).label for task in shown["task"].unique()}
    shown = shown.assign(task=shown["task"].astype(str).map(labels))
    gates = st.column_config.NumberColumn(gate, format="%.3f")
    st.dataframe(shown, hide_index=True, width="stretch", column_config={**COLUMNS, "gate": gates})
