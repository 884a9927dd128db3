"""Heat maps: which experts each task uses, in one layer."""

from __future__ import annotations

import altair as alt
import pandas as pd

from workbench.arguments import as_count
from workbench.errors import WorkbenchError
from workbench.figures import theme
from workbench.figures.tables import as_table
from workbench.routing.ordering import ExpertOrder, TaskOrder, order_experts, order_tasks
from workbench.routing.usage import Usage
from workbench.tasks import parse_task

_GAP = 0.05  # between cells, of a cell
_ROW, _LOW_ROW, _MANY = 34, 20, 40  # pixels of a row, and of one where there are more than so many


def expert_heat_map(
    usage: pd.DataFrame | Usage,
    stack: str,
    layer: int,
    top_k: int,
    tasks: TaskOrder = "given",
    experts: ExpertOrder = "number",
    most: int | None = None,
) -> alt.LayerChart:
    """Share of each task's tokens that chose each expert of one layer: task down, expert across.

    usage: what `expert_usage` gives, or its table. top_k: experts a token chooses, for the chance level. tasks, experts:
    their orders, see `workbench.routing.ordering`. most: how many experts to show, the most used of all tasks; default all.

    Raises:
        WorkbenchError: the table has no such layer, or there is no such order.
    """
    frame = rows_of(usage_table(usage), stack, layer)
    shares = by_task(frame, "share")
    rows = order_tasks(shares, tasks)
    most = None if most is None else as_count(most, "most")
    columns = order_experts(shares.loc[rows], experts, most)
    total = len(shares.columns)
    frame = frame[frame["expert"].isin(columns)]
    frame = frame.assign(direction=[parse_task(str(task)).label for task in frame["task"]])
    base = alt.Chart(frame).encode(
        x=alt.X(
            "expert:O",
            title="Expert",
            sort=columns,
            axis=theme.expert_axis(),
            scale=alt.Scale(paddingInner=_GAP),
        ),
        y=alt.Y(
            "direction:N",
            title=None,
            sort=[parse_task(task).label for task in rows],
            axis=theme.row_axis(),
            scale=alt.Scale(paddingInner=_GAP),
        ),
    )
    shown = len(columns)
    cells = base.mark_rect(cornerRadius=theme.corners(shown)).encode(
        color=theme.share_colour("Share of tokens"),
        tooltip=[
            alt.Tooltip("direction:N", title="Task"),
            alt.Tooltip("expert:O", title="Expert"),
            alt.Tooltip("share:Q", title="Share of tokens", format=".1%"),
            alt.Tooltip("gate:Q", title="Mean gate", format=".3f"),
            alt.Tooltip("tokens:Q", title="Tokens", format=","),
        ],
    )
    numbers = theme.share_numbers(base, shown)
    some = f"; the {shown} most used are shown" if shown < total else ""
    return theme.styled(
        alt.layer(*((cells, numbers) if shown <= theme.NUMBERED else (cells,))).properties(
            title=theme.title(
                f"{stack.capitalize()} layer {layer}: share of tokens per expert",
                f"Each token chooses {top_k} of {total}: by chance {100 * top_k / total:.3g}% per expert{some}",
            ),
            width=theme.width_of(shown),
            height=alt.Step(_ROW if frame["task"].nunique() <= _MANY else _LOW_ROW),
        )
    )


def usage_table(usage: pd.DataFrame | Usage) -> pd.DataFrame:
    """What `expert_usage` gives, or its table, as the table."""
    return as_table(
        usage, "usage", "expert_usage", "task", "stack", "layer", "expert", "share", "tokens"
    )


def rows_of(usage: pd.DataFrame, stack: str, layer: int) -> pd.DataFrame:
    """The rows of one layer.

    Raises:
        WorkbenchError: the table has no such layer.
    """
    frame = usage[(usage["stack"] == stack) & (usage["layer"] == layer)]
    if frame.empty:
        pairs = usage[["stack", "layer"]].drop_duplicates().itertuples(index=False)
        found = ", ".join(f"{name} {number}" for name, number in pairs) or "none"
        raise WorkbenchError(
            f"There is no {stack} layer {layer} in this table. Layers with experts: {found}."
        )
    return frame


def by_task(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """A column of the rows of one layer with a row a task, as they come, and a column an expert."""
    wide = frame.pivot(index="task", columns="expert", values=column)
    return wide.loc[list(dict.fromkeys(frame["task"]))]
