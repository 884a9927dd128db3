"""Sentence maps: sentences as points that lie near each other where they use the same experts."""

from __future__ import annotations

import altair as alt
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.figures import theme
from workbench.figures.tables import as_table
from workbench.tasks import parse_task

#: Name of the selection that `selectable` adds.
BRUSH = "brush"
#: Tasks that a legend has room for; of more there is none.
NAMED = 30


def sentence_map(
    points: pd.DataFrame, stack: str, layer: int, selectable: bool = False
) -> alt.Chart:
    """Sentences in the plane, coloured and shaped by task.

    points: a row a sentence: sentence, task, x, y, source and translation. selectable: whether a rectangle drawn over
    points selects them (the parameter `brush`, whose points keep their colour).

    Raises:
        WorkbenchError: there are no points.
    """
    points = as_table(
        points, "points", "sentence_points", "task", "x", "y", "source", "translation"
    )
    if points.empty:
        raise WorkbenchError("There are no sentences to draw.")
    frame = points.assign(direction=[parse_task(str(task)).label for task in points["task"]])
    names = list(dict.fromkeys(frame["direction"]))
    # Drawn in no order of tasks, else the last would hide those that lie below it.
    frame = frame.sample(frac=1, random_state=0)
    bare = alt.Axis(labels=False, grid=False, title=None)
    named = len(names) <= NAMED
    legend = theme.name_legend(names, symbolOpacity=1) if named else None
    reading = (
        "UMAP of their mean gates: near means alike, directions and far distances mean nothing"
    )
    colour = alt.Color(
        "direction:N",
        title=None,
        scale=alt.Scale(domain=names, range=[theme.category(i) for i in range(len(names))]),
        legend=legend,
    )
    chart = (
        alt.Chart(frame)
        .mark_point(filled=True, size=55)
        .encode(
            x=alt.X("x:Q", axis=bare, scale=alt.Scale(zero=False, padding=12)),
            y=alt.Y("y:Q", axis=bare, scale=alt.Scale(zero=False, padding=12)),
            color=colour,
            shape=alt.Shape(
                "direction:N",
                title=None,
                scale=alt.Scale(
                    domain=names,
                    range=[theme.SHAPES[i % len(theme.SHAPES)] for i in range(len(names))],
                ),
                legend=legend,
            ),
            opacity=alt.value(0.75),
            tooltip=[
                alt.Tooltip("direction:N", title="Task"),
                alt.Tooltip("source:N", title="Source"),
                alt.Tooltip("translation:N", title="Translation"),
            ],
        )
    )
    if selectable:
        brush = alt.selection_interval(name=BRUSH)
        chart = chart.add_params(brush).encode(
            opacity=alt.condition(brush, alt.value(0.85), alt.value(0.15))
        )
    return theme.styled(
        chart.properties(
            title=theme.title(
                f"{stack.capitalize()} layer {layer}: sentences by the experts they use",
                reading
                if named
                else f"{reading}\n{len(names)} tasks, too many for a legend: the numbers name them",
            ),
            width=theme.WIDTH,
            height=420,
        )
    )
