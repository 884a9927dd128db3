"""Trade-offs: quality against latency, a point a system."""

from __future__ import annotations

import altair as alt
import pandas as pd

from workbench.figures import theme


def quality_against_latency(systems: pd.DataFrame, metric: str, conditions: str) -> alt.LayerChart:
    """Quality over latency, a labelled point a system; up and to the left is better.

    systems: columns system, score (points of `metric`) and p50_ms (milliseconds a batch).
    conditions: how latency was measured: batch size, beam, device, dtype.
    """
    names = list(systems["system"])
    low, high = systems["score"].min(), systems["score"].max()
    spread = max(0.0, 1.0 - (high - low) / 2)  # room around scores that hardly differ
    base = alt.Chart(systems).encode(
        x=alt.X(
            "p50_ms:Q",
            title="Median latency (ms)",
            scale=alt.Scale(domain=[0, 1.05 * systems["p50_ms"].max()], nice=True),
            axis=alt.Axis(grid=True, gridOpacity=0.4, tickCount=6),
        ),
        y=alt.Y(
            "score:Q",
            title=metric,
            scale=alt.Scale(domain=[low - spread, high + spread], nice=True, padding=24),
            axis=alt.Axis(grid=True, gridOpacity=0.4, tickCount=5, format=".1f"),
        ),
    )
    colour = alt.Color(
        "system:N",
        title=None,
        scale=alt.Scale(domain=names, range=[theme.category(i) for i in range(len(names))]),
        legend=alt.Legend(orient="top", columns=1, labelLimit=260),
    )
    shape = alt.Shape(
        "system:N",
        title=None,
        scale=alt.Scale(
            domain=names, range=[theme.SHAPES[i % len(theme.SHAPES)] for i in range(len(names))]
        ),
    )
    points = base.mark_point(filled=True, size=140, opacity=1).encode(
        color=colour,
        shape=shape,
        tooltip=[
            alt.Tooltip("system:N", title="System"),
            alt.Tooltip("score:Q", title=metric, format=".1f"),
            alt.Tooltip("p50_ms:Q", title="Median latency (ms)", format=".1f"),
        ],
    )
    return theme.styled(
        alt.layer(points).properties(
            title=theme.title(f"{metric} over latency", conditions),
            width=theme.WIDTH,
            height=290 + 18 * len(names),
        )
    )
