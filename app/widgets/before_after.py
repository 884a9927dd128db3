"""Sizes before and after: three figures, and bars by component."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from app.widgets.charts import show_chart
from workbench.checkpoint.components import parameters_by_component
from workbench.config import ModelConfig
from workbench.figures.sizes import component_bars


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


def show_components(place: Any, before: ModelConfig, after: ModelConfig, of: str) -> None:
    """In `place`, the parameters of each component of both networks. of: what a line of provenance calls them."""
    counts = parameters_by_component(before), parameters_by_component(after)
    sizes = pd.DataFrame(
        [
            {"component": component, "network": network, "parameters": count}
            for network, own in zip(("full", "sub-network"), counts, strict=True)
            for component, count in own.items()
            if any(both[component] for both in counts)
        ]
    )
    with place:
        show_chart(component_bars(sizes), sizes, "components", of)
