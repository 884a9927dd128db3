"""Trade-offs: quality against latency, a point a system."""

from __future__ import annotations

import altair as alt
import pandas as pd

from workbench.figures import theme
from workbench.figures.tables import as_table


def quality_against_latency(systems: pd.DataFrame, metric: str, conditions: str) -> alt.LayerChart:
    """Quality over latency, a labelled point a system, and the front of the best; up and to the left is better.

    systems: columns system, score (points of `metric`) and p50_ms (milliseconds a batch).
    conditions: how latency was measured: batch size, beam, device, dtype.
    """
    systems = as_table(systems, "systems", "a comparison", "system", "score", "p50_ms")
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
    points = base.mark_point(filled=True, size=140, opacity=1).encode(
        color=theme.system_colour(names),
        shape=theme.system_shape(names),
        tooltip=[
            alt.Tooltip("system:N", title="System"),
            alt.Tooltip("score:Q", title=metric, format=".1f"),
            alt.Tooltip("p50_ms:Q", title="Median latency (ms)", format=".1f"),
        ],
    )
    best = front(systems)
    line = base.mark_line(
        interpolate="step-after", color=theme.FAINT, strokeDash=[4, 3], strokeWidth=1.5
    ).transform_filter(alt.FieldOneOfPredicate("system", oneOf=list(best["system"])))
    note = "Dashed: the front, whose systems none beats in both" if len(best) > 1 else ""
    return theme.styled(
        alt.layer(*((line,) if len(best) > 1 else ()), points).properties(
            title=theme.title(
                f"{metric} over latency", "\n".join(filter(None, [conditions, note]))
            ),
            width=theme.WIDTH,
            height=290 + 18 * len(names),
        )
    )


def front(systems: pd.DataFrame) -> pd.DataFrame:
    """The systems that no other beats in quality and in latency alike (Pareto), the fastest first."""
    ordered = systems.sort_values(["p50_ms", "score"], ascending=[True, False])
    before = ordered["score"].astype(float).cummax().shift(fill_value=float("-inf"))
    return ordered[ordered["score"] > before]
