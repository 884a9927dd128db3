"""Sizes: parameters of each component, before and after a cut."""

from __future__ import annotations

import altair as alt
import pandas as pd

from workbench.figures import theme


def component_bars(sizes: pd.DataFrame) -> alt.Chart:
    """Parameters by component, a bar for each network.

    sizes: columns network, component and parameters, in the order to show.
    """
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
