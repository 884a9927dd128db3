"""Task similarity: which tasks use the experts of a layer alike, ordered and joined by a tree."""

from __future__ import annotations

import json

import altair as alt
import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.figures import theme
from workbench.figures.tables import as_table
from workbench.routing.ordering import average_linkage
from workbench.tasks import parse_task

_NUMBER = 30  # pixels that a number needs; in narrower cells there is none
_FEW, _NAMED = 12, 40  # tasks whose rows are high, and those whose names all have room
_ROW, _LOW_ROW, _LOWEST = 30, 20, 5  # pixels of a row: of few tasks, of many, and of a great many
_TREE = 0.3  # width of the tree, of the map's


def task_similarity_map(similarity: pd.DataFrame, stack: str, layer: int) -> alt.LayerChart:
    """Similarity of the tasks of one layer as a map, most alike side by side, with the tree that joins them.

    similarity: as `workbench.routing.similarity.similarity` gives it. The tree is of average linkage: groups are
    joined at the mean divergence of their tasks.

    Raises:
        WorkbenchError: the table has no such layer, or there are fewer than two tasks.
    """
    similarity = as_table(
        similarity, "similarity", "similarity", "stack", "task", "other", "divergence"
    )
    frame = similarity[(similarity["stack"] == stack) & (similarity["layer"] == layer)]
    frame = frame.dropna(subset=["divergence"])
    if frame.empty:
        raise WorkbenchError(f"There is no {stack} layer {layer} in this table.")
    square = frame.pivot(index="task", columns="other", values="divergence")
    if len(square) < 2:
        raise WorkbenchError("One task is like no other: similarity needs two or more.")
    order, tree = _tree(square.to_numpy())
    tasks = [square.index[i] for i in order]
    place = {task: i for i, task in enumerate(tasks)}
    count = len(tasks)
    cells = frame.assign(
        x=frame["other"].map(place).astype(float),
        y=frame["task"].map(place).astype(float),
        one=[parse_task(str(task)).label for task in frame["task"]],
        two=[parse_task(str(task)).label for task in frame["other"]],
    )
    cells = cells.assign(x2=cells["x"] + 1, y2=cells["y"] + 1)[
        ["x", "x2", "y", "y2", "one", "two", "similarity", "divergence"]
    ]
    labels = json.dumps([parse_task(str(task)).label for task in tasks])
    row = _ROW if count <= _FEW else _LOW_ROW if count <= _NAMED else _LOWEST
    # Columns are in the rows' order, so that the rows' names will do.
    x = alt.X(
        "x:Q",
        title=None,
        axis=None,
        scale=alt.Scale(domain=[0, count * (1 + _TREE) + 0.5], nice=False),
    )
    y = alt.Y(
        "y:Q",
        title=None,
        scale=alt.Scale(domain=[0, count], nice=False, reverse=True),
        axis=alt.Axis(
            values=[i + 0.5 for i in range(count)],
            labelExpr=f"{labels}[floor(datum.value)]",
            labelLimit=220,
            labelOverlap=count > _NAMED,
            labelFlush=False,
            grid=False,
        ),
    )
    base = alt.Chart(cells).encode(
        x=x,
        y=y,
        tooltip=[
            alt.Tooltip("one:N", title="Task"),
            alt.Tooltip("two:N", title="And"),
            alt.Tooltip("similarity:Q", title="Similarity", format=".3f"),
            alt.Tooltip("divergence:Q", title="Divergence, bits", format=".3f"),
        ],
    )
    layers = [
        base.mark_rect(stroke=None).encode(
            x2="x2:Q",
            y2="y2:Q",
            color=alt.Color(
                "similarity:Q",
                title="Similarity (0: no expert shared)",
                scale=alt.Scale(scheme=theme.SEQUENTIAL, domain=[0, 1]),
                legend=theme.gradient_legend(values=[0, 0.5, 1], titleLimit=320),
            ),
        )
    ]
    if count <= _NAMED:
        layers.append(
            base.transform_calculate(x="datum.x + 0.5", y="datum.y + 0.5")
            .mark_text(
                fontSize=11,
                opacity=alt.ExprRef(f"width / {count * (1 + _TREE):.1f} >= {_NUMBER} ? 1 : 0"),
            )
            .encode(
                text=alt.Text("similarity:Q", format=".2f"),
                color=alt.condition(
                    "datum.similarity > 0.55", alt.value("#000000"), alt.value("#ffffff")
                ),
            )
        )
    tree = tree.assign(x=count + 0.15 + tree["depth"] * count * _TREE)
    layers.append(
        alt.Chart(tree)
        .mark_line(color=theme.FAINT, strokeWidth=1.5 if count <= _NAMED else 0.6)
        .encode(x=x, y=y, detail="branch:N", order="step:Q")
    )
    return theme.styled(
        alt.layer(*layers).properties(
            title=theme.title(
                f"{stack.capitalize()} layer {layer}: how alike tasks use its experts",
                "1 less the Jensen-Shannon divergence in bits; columns as rows; the tree joins the most alike first",
            ),
            width=theme.width_of(round(count * (1 + _TREE))),
            height=row * count,
        )
    )


def _tree(divergence: np.ndarray) -> tuple[list[int], pd.DataFrame]:
    """The order of the leaves, and the tree's lines: columns branch, step (along it), depth (0 at the leaves, bits) and
    y (rows from the top).
    """
    from scipy.cluster.hierarchy import dendrogram

    found = dendrogram(average_linkage(divergence), no_plot=True)
    rows = [
        (branch, step, depth, place / 10)
        for branch, (places, depths) in enumerate(
            zip(found["icoord"], found["dcoord"], strict=True)
        )
        for step, (place, depth) in enumerate(zip(places, depths, strict=True))
    ]
    return found["leaves"], pd.DataFrame(rows, columns=["branch", "step", "depth", "y"])
