"""Sizes: parameters of each component, before and after a cut."""

from __future__ import annotations

from collections.abc import Mapping

import altair as alt
import pandas as pd

from workbench.checkpoint.components import parameters_by_component
from workbench.config import ModelConfig
from workbench.figures import theme
from workbench.figures.tables import as_table

#: Bytes of a parameter in memory.
FLOAT32 = 4
FULL, PART = "full", "sub-network"


def component_sizes(
    before: ModelConfig,
    after: ModelConfig,
    stored: Mapping[str, Mapping[str, int]] | None = None,
) -> pd.DataFrame:
    """What each component of a network takes before and after a cut.

    stored: bytes by component as `stored_by_component` gives them, of `FULL`, `PART` or both where they lie on disk.

    Gives columns component, network, parameters, bytes (in memory, float32) and stored (bytes, NaN where nothing is
    stored); components that neither network has are left out.
    """
    counts = {FULL: parameters_by_component(before), PART: parameters_by_component(after)}
    rows = [
        (component, network, own[component], FLOAT32 * own[component], of_files.get(component))
        for component in counts[FULL]
        if any(both[component] for both in counts.values())
        for network, own in counts.items()
        for of_files in [(stored or {}).get(network, {})]
    ]
    frame = pd.DataFrame(rows, columns=["component", "network", "parameters", "bytes", "stored"])
    return frame.astype({"stored": float})


def before_and_after(sizes: pd.DataFrame) -> pd.DataFrame:
    """The same with a row for each component and one for their sum: columns by (what, network), for a table.

    sizes: as `component_sizes` gives it.
    """
    components = list(dict.fromkeys(sizes["component"]))
    wide = sizes.pivot(index="component", columns="network").loc[components]
    wide = wide.reindex(columns=[FULL, PART], level="network")
    wide.loc["all"] = wide.sum(min_count=1)
    return wide.reset_index(names="component")


def component_bars(sizes: pd.DataFrame) -> alt.Chart:
    """Parameters by component, a bar for each network.

    sizes: columns network, component and parameters, in the order to show, as `component_sizes` of this module gives them.
    """
    sizes = as_table(sizes, "sizes", "component_sizes", "component", "network", "parameters")
    networks = list(dict.fromkeys(sizes["network"]))
    return theme.styled(
        alt.Chart(sizes)
        .mark_bar(cornerRadiusEnd=2)
        .encode(
            x=alt.X(
                "parameters:Q",
                title="Parameters",
                axis=alt.Axis(
                    format="~s",
                    labelExpr="datum.value ? datum.label : '0'",
                    gridOpacity=0.4,
                    tickCount=5,
                ),
            ),
            y=alt.Y("component:N", title=None, sort=None, axis=theme.row_axis()),
            yOffset=alt.YOffset("network:N", sort=networks),
            color=alt.Color(
                "network:N",
                title=None,
                sort=networks,
                scale=alt.Scale(domain=networks, range=[theme.category(7), theme.category(0)]),
                legend=alt.Legend(orient="top", labelLimit=320, columns=1),
            ),
            tooltip=[
                alt.Tooltip("component:N", title="Component"),
                alt.Tooltip("network:N", title="Network"),
                alt.Tooltip("parameters:Q", title="Parameters", format=","),
            ],
        )
        .properties(
            title=theme.title("Parameters by component, before and after"),
            width=theme.WIDTH,
            height=alt.Step(16),
        )
    )
