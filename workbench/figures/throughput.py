"""Throughput: sentences a second over the size of a batch."""

from __future__ import annotations

import altair as alt
import pandas as pd

from workbench.figures import theme
from workbench.figures.tables import as_table


def throughput_chart(speeds: pd.DataFrame, conditions: str) -> alt.LayerChart:
    """Sentences a second at each batch size, a line a system, both on logarithmic scales.

    speeds: as `workbench.evaluation.speed.Speeds.to_frame` gives it. conditions: how it was measured.
    """
    speeds = as_table(
        speeds,
        "speeds",
        "benchmark",
        "system",
        "batch_size",
        "sentences_per_second",
        "p50_ms",
        "p95_ms",
    )
    names = list(dict.fromkeys(speeds["system"]))
    sizes = sorted(int(size) for size in speeds["batch_size"].unique())
    base = alt.Chart(speeds).encode(
        x=alt.X(
            "batch_size:Q",
            title="Batch size, sentences",
            scale=alt.Scale(type="log", base=2, domain=[sizes[0], max(sizes[-1], 2 * sizes[0])]),
            axis=alt.Axis(values=sizes, grid=False, format="d"),
        ),
        y=alt.Y(
            "sentences_per_second:Q",
            title="Sentences a second",
            scale=alt.Scale(type="log", nice=True),
            axis=alt.Axis(grid=True, gridOpacity=0.4, tickCount=5, format="~s"),
        ),
        color=theme.system_colour(names),
    )
    points = base.mark_point(filled=True, size=90, opacity=1).encode(
        shape=theme.system_shape(names),
        tooltip=[
            alt.Tooltip("system:N", title="System"),
            alt.Tooltip("batch_size:Q", title="Batch size"),
            alt.Tooltip("sentences_per_second:Q", title="Sentences a second", format=",.0f"),
            alt.Tooltip("tokens_per_second:Q", title="Tokens a second", format=",.0f"),
            alt.Tooltip("p50_ms:Q", title="Median of a batch (ms)", format=",.1f"),
            alt.Tooltip("p95_ms:Q", title="95th percentile (ms)", format=",.1f"),
        ],
    )
    return theme.styled(
        alt.layer(base.mark_line(strokeWidth=2), points).properties(
            title=theme.title("Throughput over batch size", conditions),
            width=theme.WIDTH,
            height=290 + 18 * len(names),
        )
    )
