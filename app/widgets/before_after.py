"""Sizes before and after: three figures, and bars and a table by component."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from app import session
from app.widgets.charts import show_chart
from workbench.checkpoint.components import parameters_by_component, stored_by_component
from workbench.config import ModelConfig
from workbench.errors import WorkbenchError
from workbench.figures.sizes import (
    FULL,
    PART,
    before_and_after,
    component_bars,
    component_sizes,
)

#: Bytes in a MiB.
MIB = 2**20


def show_totals(before: ModelConfig, after: ModelConfig) -> None:
    """Parameters of both networks, and what the smaller one occupies."""
    totals = [sum(parameters_by_component(config).values()) for config in (before, after)]
    first, second, third = st.columns(3)
    first.metric("Parameters before", f"{totals[0] / 1e6:.2f} M", help="float32: 4 bytes each")
    second.metric(
        "Parameters after",
        f"{totals[1] / 1e6:.2f} M",
        f"{totals[1] / totals[0] - 1:.0%}",
        delta_color="inverse",
    )
    third.metric(
        "In memory, float32",
        f"{4 * totals[1] / 2**20:.1f} MiB",
        f"of {4 * totals[0] / 2**20:.1f} MiB",
        delta_color="off",
        delta_arrow="off",
    )


def show_components(
    bars: Any,
    table: Any,
    before: ModelConfig,
    after: ModelConfig,
    of: str,
    path: Path | None = None,
) -> None:
    """What each component of both networks takes, in two places: bars, and a table of parameters and bytes.

    of: what a line of provenance calls them. path: where the larger one is stored, if anywhere.
    """
    stored = {} if path is None else {FULL: stored_in(path, before)}
    sizes = component_sizes(before, after, stored)
    with bars:
        show_chart(component_bars(sizes), sizes, "components", of)
    with table.expander("Parameters and bytes by component"):
        show_sizes(sizes)


def show_sizes(sizes: pd.DataFrame) -> None:
    """The table of sizes before and after, as `component_sizes` gives them, with a row for their sum."""
    wide = before_and_after(sizes)
    shown = pd.DataFrame({"Component": wide["component"].str.capitalize()})
    for name, what, divisor, form in (
        ("Parameters", "parameters", 1, "{:,.0f}"),
        ("Memory, MiB", "bytes", MIB, "{:,.2f}"),
        ("Disk, MiB", "stored", MIB, "{:,.2f}"),
    ):
        known = [network for network in (FULL, PART) if wide[what, network].notna().any()]
        if known:
            shown[name] = [
                " → ".join(form.format(value / divisor) for value in row)
                for row in wide[what][known].to_numpy()
            ]
    st.dataframe(
        shown,
        hide_index=True,
        width="stretch",
        column_config={
            "Parameters": st.column_config.TextColumn(help="Before → after", alignment="right"),
            "Memory, MiB": st.column_config.TextColumn(
                help="Before → after, as float32", alignment="right"
            ),
            "Disk, MiB": st.column_config.TextColumn(
                help="Of the checkpoint's files, in the type that they have: the result is not stored yet",
                alignment="right",
            ),
        },
    )


def stored_in(path: Path, config: ModelConfig) -> dict[str, int]:
    """Bytes on disk by component; nothing where the files do not say."""
    return _stored(path, session.version_of(path), config)


@st.cache_data(show_spinner=False, max_entries=32)
def _stored(path: Path, version: tuple[float, ...], _config: ModelConfig) -> dict[str, int]:
    try:
        return stored_by_component(path, _config)
    except WorkbenchError:
        return {}
