"""Differences: what systems gain or lose against a baseline, direction by direction, with their intervals."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.evaluation.differences import MEAN
from workbench.evaluation.quality import metric_in_words
from workbench.figures import theme
from workbench.figures.tables import as_table
from workbench.tasks import parse_task

_ROW = 18  # pixels for each system of a direction
_NARROWEST = 0.5  # points to either side, at least


def difference_chart(table: pd.DataFrame, metric: str, systems: Sequence[str]) -> alt.LayerChart:
    """A point for each system and direction, with the 95 % interval of its difference; right of zero is a gain.

    table: as `workbench.evaluation.differences.from_baseline` gives it. metric: as the table calls it. systems: all of the
    comparison, the baseline first.

    Raises:
        WorkbenchError: the table has nothing of this metric.
    """
    table = as_table(
        table, "table", "from_baseline", "system", "task", "metric", "delta", "ci", "p_value"
    )
    frame = table[table["metric"] == metric]
    if frame.empty:
        raise WorkbenchError(f"There is no difference in {metric} in this table.")
    frame = frame.assign(
        direction=["Mean" if t == MEAN else parse_task(str(t)).label for t in frame["task"]],
        low=frame["delta"] - frame["ci"].fillna(0.0),
        high=frame["delta"] + frame["ci"].fillna(0.0),
    )
    name = metric_in_words(metric)
    others = list(systems)[1:]
    base = alt.Chart(frame).encode(
        y=alt.Y("direction:N", title=None, sort=None, axis=theme.row_axis()),
        yOffset=alt.YOffset("system:N", sort=others),
        color=theme.system_colour(systems, values=others),
        tooltip=[
            alt.Tooltip("direction:N", title="Direction"),
            alt.Tooltip("system:N", title="System"),
            alt.Tooltip("delta:Q", title=f"Difference in {name}", format="+.2f"),
            alt.Tooltip("ci:Q", title="± (95 % interval)", format=".2f"),
            alt.Tooltip("p_value:Q", title="p", format=".3f"),
        ],
    )
    least, most = min(frame["low"].min(), 0.0), max(frame["high"].max(), 0.0)
    room = 0.05 * max(most - least, 2 * _NARROWEST) + max(0.0, _NARROWEST - (most - least) / 2)
    reach = alt.X(
        "low:Q",
        title=f"Difference in {name}, points",
        scale=alt.Scale(domain=[least - room, most + room], nice=False),
        axis=alt.Axis(
            grid=True,
            gridOpacity=0.4,
            tickCount=6,
            format="+.1~f",
            labelExpr="datum.value ? datum.label : '0'",
        ),
    )
    intervals = base.mark_rule(strokeWidth=2).encode(x=reach, x2="high:Q")
    points = base.mark_point(filled=True, size=90, opacity=1).encode(
        x="delta:Q", shape=theme.system_shape(systems, values=others)
    )
    zero = (
        alt.Chart(pd.DataFrame({"zero": [0.0]}))
        .mark_rule(color=theme.FAINT, strokeDash=[4, 3])
        .encode(x="zero:Q")
    )
    return theme.styled(
        alt.layer(zero, intervals, points).properties(
            title=theme.title(
                f"{name} against {systems[0]}",
                "Bars: 95 % intervals, paired bootstrap over sentences",
            ),
            width=theme.WIDTH,
            height=alt.Step(_ROW),
        )
    )
