"""Overviews of experts: all layers of a stack in one map, a part of which can be enlarged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from workbench.arguments import as_count, as_list
from workbench.errors import WorkbenchError
from workbench.figures import theme
from workbench.figures.heat_map import by_task, rows_of, usage_table
from workbench.routing.ordering import ExpertOrder, TaskOrder, order_experts, order_tasks
from workbench.routing.usage import Usage
from workbench.tasks import parse_task

#: Name of the selection that `enlarge` adds.
REGION = "region"
#: Cells of a map, at most: of more, each layer shows the experts that are used most.
MOST_CELLS = 25_000
_FEW, _NAMED = 12, 40  # tasks whose rows are high, and those whose names all have room
_ROW, _LOW_ROW, _LOWEST = 30, 20, 5  # pixels of a row: of few tasks, of many, and of a great many
_LOW, _HIGH, _ENLARGED = 90, 300, 440  # pixels of the whole beside a part, and of the part
_LONGEST, _CHARACTER = 220, 5.5  # pixels of a name of a task, at most, and of one of its characters
_COLUMNS, _ROWS = 24, 20  # cells of the part that is enlarged first
_INSIDE = " && ".join(
    f"datum.{axis}2 > min({REGION}.{axis}[0], {REGION}.{axis}[1])"
    f" && datum.{axis} < max({REGION}.{axis}[0], {REGION}.{axis}[1])"
    for axis in ("x", "y")
)


def expert_overview(
    usage: pd.DataFrame | Usage,
    stack: str,
    top_k: int,
    layers: int | Sequence[int] | None = None,
    tasks: TaskOrder = "given",
    experts: ExpertOrder = "number",
    most: int | None = None,
    enlarge: bool = False,
) -> alt.LayerChart | alt.VConcatChart:
    """Share of each task's tokens that chose each expert of several layers: task down, the layers' experts across.

    usage, top_k, tasks, experts: as for `expert_heat_map`; tasks are in one order for all layers, experts in one for each.
    layers: which, by default all of the stack with experts. most: how many experts of each layer to show, the most used;
    by default all that `MOST_CELLS` have room for. enlarge: draw the part in a rectangle, which can be drawn and moved
    over the map (the parameter `region`), large and with its names below it: for a screen.

    Raises:
        WorkbenchError: the table has no such layer, or there is no such order.
    """
    table = usage_table(usage)
    if layers is None:
        layers = list(dict.fromkeys(table.loc[table["stack"] == stack, "layer"])) or [0]
    layers = list(dict.fromkeys(as_list(layers, Integral, "layers", "the number of a layer")))
    if not layers:
        raise WorkbenchError("An overview needs one layer or more.")
    frames = {layer: rows_of(table, stack, layer) for layer in layers}
    shares = {layer: by_task(frame, "share") for layer, frame in frames.items()}
    rows = order_tasks(pd.concat(list(shares.values()), axis=1).fillna(0), tasks)
    totals = [len(found.columns) for found in shares.values()]
    room = max(1, MOST_CELLS // (len(rows) * len(layers)))
    shown = min(max(totals), room if most is None else as_count(most, "most"))
    cells, names = _cells(frames, rows, experts, shown)
    labels = [parse_task(task).label for task in rows]

    several = len(layers) > 1
    middles = cells.groupby("layer", sort=False)["x"].agg(lambda x: (x.min() + x.max() + 1) / 2)
    across, down = len(names), len(rows)
    base = alt.Chart(cells).transform_calculate(x2="datum.x + 1", y2="datum.y + 1")
    x = alt.X("x:Q", title="Expert", scale=alt.Scale(domain=[0, across], nice=False))
    y = alt.Y("y:Q", title=None, scale=alt.Scale(domain=[0, down], nice=False, reverse=True))
    text, subtitle = _heading(stack, layers, top_k, totals, shown)
    if not enlarge:
        row = _ROW if down <= _FEW else _LOW_ROW if down <= _NAMED else _LOWEST
        numbers = _axis([str(*name[1:]) for name in names])
        plot = _map(base, x.axis(numbers), y.axis(_axis(labels)))
        return theme.styled(  # type: ignore[no-any-return]
            alt.layer(plot, *([_headings(middles)] if several else [])).properties(
                title=theme.title(text, subtitle), width=theme.width_of(across), height=row * down
            )
        )
    region = alt.selection_interval(
        name=REGION,
        value={"x": [0, min(_COLUMNS, across)], "y": [0, min(_ROWS, down)]},
        zoom=False,  # the wheel scrolls the page
        mark=alt.BrushConfig(fill="white", fillOpacity=0.15, stroke="#D55E00", strokeWidth=2),
    )
    whole = _map(base, x.axis(_layer_axis(middles) if several else None).title(None), y.axis(None))
    part = _map(
        base.transform_filter(f"!isArray({REGION}.x) || ({_INSIDE})"),
        x.scale(domain={"param": REGION, "encoding": "x"}, nice=False)
        .axis(_axis([" · ".join(map(str, name[not several :])) for name in names]))
        .title("Layer · expert" if several else "Expert"),
        y.scale(domain={"param": REGION, "encoding": "y"}, nice=False, reverse=True).axis(
            _axis(labels, min(_LONGEST, _CHARACTER * max(map(len, labels))))
        ),
    )
    reading = f"{subtitle}\nDrag over the upper map: that part is enlarged below"
    return theme.styled(  # type: ignore[no-any-return]
        alt.vconcat(  # of two single views: Streamlit fits no others to its page
            whole.add_params(region).properties(
                width=theme.WIDTH, height=int(np.clip(3 * down, _LOW, _HIGH))
            ),
            part.properties(width=theme.WIDTH, height=_ENLARGED),
            title=theme.title(text, reading),
        )
    )


def _cells(
    frames: dict[int, pd.DataFrame], rows: list[str], experts: ExpertOrder, most: int
) -> tuple[pd.DataFrame, list[tuple[int, ...]]]:
    """A row a cell, x and y its left upper corner in cells; and of every column the layer and expert, none of gaps."""
    parts, names = [], list[tuple[int, ...]]()
    gap = max(1, most * len(frames) // 80)
    for layer, frame in frames.items():
        share, tokens = (
            by_task(frame, name).reindex(rows).fillna(0) for name in ("share", "tokens")
        )
        columns = order_experts(share, experts, most)
        names += [()] * (gap if names else 0)
        y, x = np.indices((len(rows), len(columns)))
        parts.append(
            pd.DataFrame(
                {
                    "x": x.reshape(-1) + len(names),
                    "y": y.reshape(-1),
                    "task": np.repeat([parse_task(task).label for task in rows], len(columns)),
                    "layer": layer,
                    "expert": np.tile(columns, len(rows)),
                    "share": share[columns].to_numpy().reshape(-1).round(4),
                    "tokens": tokens[columns].to_numpy(int).reshape(-1),
                }
            )
        )
        names += [(layer, expert) for expert in columns]
    return pd.concat(parts, ignore_index=True), names


def _map(base: Any, x: alt.X, y: alt.Y) -> alt.Chart:
    return base.mark_rect(clip=True, stroke=None).encode(
        x=x,
        x2="x2:Q",
        y=y,
        y2="y2:Q",
        color=theme.share_colour("Share of tokens"),
        tooltip=[
            alt.Tooltip("task:N", title="Task"),
            alt.Tooltip("layer:O", title="Layer"),
            alt.Tooltip("expert:O", title="Expert"),
            alt.Tooltip("share:Q", title="Share of tokens", format=".1%"),
            alt.Tooltip("tokens:Q", title="Tokens", format=","),
        ],
    )


def _headings(middles: pd.Series) -> alt.Chart:
    """The number of each layer above its columns."""
    named = pd.DataFrame({"middle": middles.to_numpy(), "name": _layer_names(middles)})
    text = alt.Chart(named).mark_text(baseline="bottom", dy=-4, fontSize=12, color=theme.FAINT)
    return text.encode(x="middle:Q", y=alt.value(0), text="name:N")


def _layer_axis(middles: pd.Series) -> alt.Axis:
    """The same as an axis."""
    names = dict(zip(middles.astype(float).astype(str), _layer_names(middles), strict=True))
    return alt.Axis(
        orient="top",
        values=middles.tolist(),
        tickCount=len(names),
        labelExpr=f"{json.dumps(names)}[format(datum.value, '.1f')]",
        labelFlush=False,
        labelOverlap="greedy",
        grid=False,
    )


def _layer_names(middles: pd.Series) -> list[str]:
    """The first in full, so that narrow layers have room for theirs."""
    return [f"Layer {middles.index[0]}", *map(str, middles.index[1:])]


def _heading(
    stack: str, layers: list[int], top_k: int, totals: list[int], shown: int
) -> tuple[str, str]:
    """Title and subtitle."""
    several = "s" if len(layers) > 1 else ""
    text = f"{stack.capitalize()} layer{several} {', '.join(map(str, layers))}: share of tokens per expert"
    parts = [
        f"Each token chooses {top_k} of {total}: by chance {100 * top_k / total:.3g}% per expert"
        for total in dict.fromkeys(totals)
    ]
    some = f"; the {shown} most used{' of each' if several else ''} are shown"
    return text, " or ".join(parts) + (some if shown < max(totals) else "")


def _axis(names: list[str], extent: Any = alt.Undefined) -> alt.Axis:
    """Names at the middle of their cells, those that there is room for; none of a gap.

    extent: pixels that they always take, so that others that come into view do not move the plot.
    """
    return alt.Axis(
        values=[place + 0.5 for place, name in enumerate(names) if name],
        labelExpr=f"{json.dumps(names)}[floor(datum.value)]",
        tickCount=len(names),  # else Vega-Lite thins them out by its own rule
        labelAngle=0,
        labelFlush=False,
        labelBound=6,
        labelOverlap="greedy",
        labelSeparation=1,
        labelLimit=_LONGEST,
        grid=False,
        minExtent=extent,
        maxExtent=extent,
    )
