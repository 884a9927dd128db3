"""Specialisation by depth: how much a layer's choice of experts tells of the task, beside chance."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.figures import theme
from workbench.figures.tables import as_table


def specialization_chart(table: pd.DataFrame, tasks: int) -> alt.LayerChart:
    """Bits that a choice of experts tells of the task, a bar a layer, and a mark for what chance would give.

    table: as `workbench.routing.specialization.specialization` gives it. tasks: how many there were, for the most that
    can be told.

    Raises:
        WorkbenchError: the table is of one task.
    """
    table = as_table(
        table, "table", "specialization", "stack", "layer", "information", "divergence"
    )
    frame = table.dropna(subset=["information"])
    if frame.empty:
        raise WorkbenchError("Specialisation needs the routes of two tasks or more.")
    frame = frame.assign(
        place=[
            f"{stack} {layer}" for stack, layer in zip(frame["stack"], frame["layer"], strict=True)
        ]
    )
    stacks = list(dict.fromkeys(frame["stack"].astype(str)))
    most = float(np.log2(max(tasks, 2)))
    base = alt.Chart(frame).encode(
        y=alt.Y("place:N", title=None, sort=None, axis=theme.row_axis()),
        tooltip=[
            alt.Tooltip("place:N", title="Layer"),
            alt.Tooltip("information:Q", title="Tells of the task, bits", format=".3f"),
            alt.Tooltip("information_chance:Q", title="By chance, bits", format=".3f"),
            alt.Tooltip("information_p:Q", title="Share of shuffles with as much", format=".3f"),
            alt.Tooltip("divergence:Q", title="Mean divergence of tasks, bits", format=".3f"),
            alt.Tooltip("divergence_chance:Q", title="By chance, bits", format=".3f"),
            alt.Tooltip("load_entropy:Q", title="Evenness of load", format=".3f"),
        ],
    )
    bars = base.mark_bar(cornerRadiusEnd=2).encode(
        x=alt.X(
            "information:Q",
            title="Bits that a choice tells of the task",
            scale=alt.Scale(domain=[0, most], nice=False),
            axis=alt.Axis(grid=False, tickCount=6),
        ),
        color=alt.Color(
            "stack:N",
            title=None,
            sort=stacks,
            scale=alt.Scale(domain=stacks, range=[theme.category(i) for i in range(len(stacks))]),
            legend=None,  # the rows name it
        ),
    )
    chance = base.mark_tick(color=theme.FAINT, thickness=3, size=34).encode(
        x="information_chance:Q"
    )
    # Beyond the bar and the mark, so that neither strikes it through.
    edges = base.transform_calculate(edge="max(datum.information, datum.information_chance)")
    numbers = edges.mark_text(align="left", dx=6, fontSize=12, color=theme.FAINT).encode(
        x="edge:Q", text=alt.Text("information:Q", format=".2f")
    )
    return theme.styled(
        alt.layer(bars, chance, numbers).properties(
            title=theme.title(
                "How much the choice of experts tells of the task",
                f"Mutual information; at most {most:.2f} bits for {tasks} tasks. Grey mark: the same with tasks shuffled",
            ),
            width=theme.WIDTH,
            height=alt.Step(34),
        )
    )
