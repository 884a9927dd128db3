"""Training runs: loss, BLEU, and what the routers do, over steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import altair as alt
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.figures import theme
from workbench.tasks import parse_task
from workbench.training.run_folder import AVERAGE

#: Pixels of a chart of lines; in the app its legend, of rows so high, takes of them.
_HEIGHT, _LEGEND_ROW, _LEGEND_COLUMNS = 260, 18, 2
#: Points of a line, of one that marks them, and columns of a map, at most: in longer runs each is the mean of several.
_POINTS, _MARKS, _COLUMNS = 400, 120, 150
_NUMBER = 34  # pixels that a number needs; in narrower cells there is none
_DASHES = ([1, 0], [7, 3], [2, 2], [9, 3, 2, 3], [4, 4], [12, 4])
_MEANINGS = {
    "entropy": (
        "Router entropy",
        "Entropy (nats)",
        "~g",
        "From 0, one expert for sure, to ln E, all E experts alike",
    ),
    "dropped": (
        "Dropped choices",
        "Dropped",
        ".1~%",
        "Share of choices beyond the experts' capacity",
    ),
}


def loss_chart(losses: pd.DataFrame, runs: Sequence[str] | None = None) -> alt.LayerChart:
    """Training and validation loss over steps, a colour, dash and shape for each run.

    losses: as `Run.losses` gives it, of one run or of several below each other. runs: their order, so that a run
    looks the same in several charts; by default that of the table.
    """
    trained = losses["text"] == "training"
    training = _thinned(losses[trained], ["run"], "nats", _POINTS)
    names = list(losses["run"].unique()) if runs is None else runs
    color, dash, shape = _series("run", names)
    x, y = _steps(), _values("nats", "Loss (nats a token)", "~g")
    tooltip = _tooltip("run", "Run", "nats", "Loss (nats a token)", ".3f")
    base = alt.Chart(training).encode(x=x, y=y)
    lines = base.mark_line(strokeWidth=1.5, opacity=0.8).encode(color=color, strokeDash=dash)
    hover = base.mark_point(opacity=0, size=80).encode(tooltip=tooltip)
    # A line has two points at least.
    alone = training[~training["run"].duplicated(keep=False)]
    dashes = (
        alt.Chart(alone)
        .mark_point(shape="stroke", size=300, strokeWidth=1.5, opacity=0.8)
        .encode(x=x, y=y, color=color)
    )
    points = (
        alt.Chart(losses[~trained])
        .mark_point(filled=True, size=70, opacity=1)
        .encode(x=x, y=y, color=color, shape=shape, tooltip=tooltip)
    )
    return _finished(
        alt.layer(lines, dashes, hover, points),
        len(names),
        "Loss over steps",
        "Lines: training. Points: validation, all directions",
    )


def bleu_chart(
    validation: pd.DataFrame, task: str = AVERAGE, runs: Sequence[str] | None = None
) -> alt.LayerChart:
    """Validation BLEU over steps, a colour, dash and shape for each run.

    validation: as `Run.validation`, of one run or of several below each other. task: a direction, or `average`.
    runs: as in `loss_chart`.

    Raises:
        WorkbenchError: the table has no such task.
    """
    frame = validation[validation["task"] == task].dropna(subset="bleu")
    if frame.empty:
        found = ", ".join(validation["task"].unique()) or "none"
        raise WorkbenchError(f"There is no BLEU of {task!r} in this table. Tasks: {found}.")
    return _lines(
        frame,
        ("run", "Run"),
        ("bleu", "BLEU", ".1f"),
        "Validation BLEU over steps",
        f"{task_label(task)}, greedy",
        runs,
    )


def bleu_map(validation: pd.DataFrame) -> alt.LayerChart:
    """Validation BLEU of one run: directions down, validations across.

    validation: as `Run.validation`, with one validation at least.

    Raises:
        WorkbenchError: the rows are of several runs, or there are none.
    """
    scored = validation.dropna(subset="bleu")
    runs = list(scored["run"].unique())
    if len(runs) != 1:
        raise WorkbenchError(f"A map of BLEU shows one run, and these rows are of {len(runs)}.")
    frame = _thinned(scored, ["task"], "bleu", _COLUMNS)
    frame["direction"] = frame["task"].map(task_label)
    columns = frame["step"].nunique()
    highest = max(1.0, float(frame["bleu"].max()))  # where all is 0, that is the lowest colour
    base = alt.Chart(frame).encode(
        x=alt.X(
            "step:O",
            title="Step",
            axis=alt.Axis(labelAngle=0, labelFlush=False, labelOverlap=True, labelSeparation=8),
            scale=alt.Scale(paddingInner=0.05),
        ),
        y=alt.Y(
            "direction:N",
            title=None,
            sort=None,
            axis=theme.row_axis(),
            scale=alt.Scale(paddingInner=0.05),
        ),
    )
    cells = base.mark_rect(cornerRadius=2).encode(
        color=alt.Color(
            "bleu:Q",
            title="BLEU",
            scale=alt.Scale(scheme=theme.SEQUENTIAL, domain=[0, highest]),
            legend=theme.gradient_legend(format=".0f"),
        ),
        tooltip=[_step_tip(), alt.Tooltip("direction:N", title="Direction"), _tip("bleu", "BLEU")],
    )
    numbers = base.mark_text(
        fontSize=11, opacity=alt.ExprRef(f"width / {columns} >= {_NUMBER} ? 1 : 0")
    ).encode(
        text=alt.Text("bleu:Q", format=".1f"),
        color=alt.condition(
            f"datum.bleu > {0.55 * highest:.2f}", alt.value("#000000"), alt.value("#ffffff")
        ),
    )
    return theme.styled(  # type: ignore[no-any-return]
        alt.layer(cells, numbers).properties(
            title=theme.title("Validation BLEU of each direction over steps", runs[0]),
            width=theme.width_of(columns),
            height=alt.Step(22),
        )
    )


def expert_load_chart(load: pd.DataFrame, stack: str, layer: int) -> alt.Chart:
    """Share of tokens that chose each expert of one layer: steps across, expert down.

    load: as `Run.load` gives it.

    Raises:
        WorkbenchError: the table has no such layer.
    """
    frame = load[(load["stack"] == stack) & (load["layer"] == layer)].dropna(subset="share")
    if frame.empty:
        pairs = load[["stack", "layer"]].drop_duplicates().itertuples(index=False)
        found = ", ".join(f"{name} {number}" for name, number in pairs) or "none"
        raise WorkbenchError(
            f"There is no {stack} layer {layer} in this table. Layers with experts: {found}."
        )
    experts = int(frame["expert"].max()) + 1
    chosen = round(float(frame.groupby("step")["share"].sum().median()))
    frame = _thinned(frame, ["expert"], "share", _COLUMNS)
    # A line of metrics has the mean of the steps since the line before.
    frame["from"] = frame.groupby("expert")["step"].shift(fill_value=0)
    cells = (
        alt.Chart(frame)
        .mark_rect()
        .encode(
            x=alt.X("from:Q", title="Step", axis=_step_axis(), scale=alt.Scale(nice=False)),
            x2="step:Q",
            y=alt.Y(
                "expert:O",
                title="Expert",
                axis=theme.expert_rows(),
            ),
            color=theme.share_colour("Share of tokens"),
            tooltip=[
                alt.Tooltip("from:Q", title="After step", format=","),
                alt.Tooltip("step:Q", title="Until step", format=","),
                alt.Tooltip("expert:O", title="Expert"),
                alt.Tooltip("share:Q", title="Share of tokens", format=".1%"),
            ],
        )
    )
    return theme.styled(  # type: ignore[no-any-return]
        cells.properties(
            title=theme.title(
                f"{stack.capitalize()} layer {layer}: expert load over steps",
                f"Each token chooses {chosen} of {experts}: evenly {100 * chosen / experts:.3g}% per expert",
            ),
            width=theme.WIDTH,
            height=alt.Step(max(5, min(16, 640 // experts))),
        )
    )


def routing_chart(
    routing: pd.DataFrame, figure: Literal["entropy", "dropped"] = "entropy"
) -> alt.LayerChart:
    """The routers' entropy, or the share of choices that were dropped, over steps: a line for each layer.

    routing: as `Run.routing` gives it.

    Raises:
        WorkbenchError: the table has none: choices are dropped only where `objective.capacity_factor` is given.
    """
    frame = routing.dropna(subset=figure)
    if frame.empty:
        raise WorkbenchError(f"There is nothing about {figure!r} in this table.")
    frame = frame.assign(
        place=[
            f"{str(stack).capitalize()} layer {layer}"
            for stack, layer in zip(frame["stack"], frame["layer"], strict=True)
        ]
    ).sort_values(["stack", "layer", "step"], ascending=[False, True, True])  # the encoder first
    title, axis, form, meaning = _MEANINGS[figure]
    return _lines(frame, ("place", "Layer"), (figure, axis, form), f"{title} over steps", meaning)


def task_label(task: str) -> str:
    """What a task of a validation, a direction or the average, is called; itself, where it is neither."""
    if task == AVERAGE:
        return "Average of all directions"
    try:
        return parse_task(task).label
    except WorkbenchError:
        return task


def _thinned(frame: pd.DataFrame, keys: list[str], value: str, most: int) -> pd.DataFrame:
    """At most so many rows for each of the keys: neighbours become one, with their mean and their last step."""
    groups = frame.groupby(keys, sort=False)
    place, size = groups.cumcount(), groups["step"].transform("size")
    window = place * size.clip(upper=most) // size
    found = frame.assign(window=window).groupby([*keys, "window"], sort=False, as_index=False)
    return found.agg({"step": "last", value: "mean"}).drop(columns="window")


def _lines(
    frame: pd.DataFrame,
    by: tuple[str, str],
    value: tuple[str, str, str],
    title: str,
    subtitle: str,
    names: Sequence[str] | None = None,
) -> alt.LayerChart:
    """Lines with points.

    by: a column, which has a line for each of `names`, its values, and what it is called; value likewise.
    """
    (column, name), (number, axis, form) = by, value
    names = list(frame[column].unique()) if names is None else names
    color, dash, shape = _series(column, names)
    base = alt.Chart(_thinned(frame, [column], number, _MARKS)).encode(
        x=_steps(), y=_values(number, axis, form), color=color
    )
    lines = base.mark_line(strokeWidth=1.5).encode(strokeDash=dash)
    points = base.mark_point(filled=True, size=50, opacity=1).encode(
        shape=shape, tooltip=_tooltip(column, name, number, axis, form)
    )
    return _finished(alt.layer(lines, points), len(names), title, subtitle)


def _finished(chart: Any, series: int, title: str, subtitle: str) -> alt.LayerChart:
    return theme.styled(  # type: ignore[no-any-return]
        chart.properties(
            title=theme.title(title, subtitle),
            width=theme.WIDTH,
            height=_HEIGHT + _LEGEND_ROW * -(-series // _LEGEND_COLUMNS),
        )
    )


def _series(column: str, names: Sequence[str]) -> tuple[alt.Color, alt.StrokeDash, alt.Shape]:
    """A colour, a dash and a shape for each of the names, with one legend."""

    def scale(marks: Any) -> alt.Scale:
        return alt.Scale(
            domain=list(names), range=[marks[i % len(marks)] for i in range(len(names))]
        )

    legend = theme.name_legend(names, symbolOpacity=1, symbolStrokeWidth=0)
    of = f"{column}:N"
    return (
        alt.Color(of, title=None, scale=scale(theme.CATEGORIES), legend=legend),
        alt.StrokeDash(of, scale=scale(_DASHES), legend=None),
        alt.Shape(of, title=None, scale=scale(theme.SHAPES), legend=legend),
    )


def _step_axis() -> alt.Axis:
    return alt.Axis(grid=True, gridOpacity=0.4, tickCount=6, tickMinStep=1, format=",d")


def _steps() -> alt.X:
    return alt.X("step:Q", title="Step", axis=_step_axis(), scale=alt.Scale(zero=True))


def _values(column: str, title: str, form: str) -> alt.Y:
    return alt.Y(
        f"{column}:Q",
        title=title,
        scale=alt.Scale(zero=False, nice=True),
        axis=alt.Axis(grid=True, gridOpacity=0.4, tickCount=5, format=form),
    )


def _step_tip() -> alt.Tooltip:
    return alt.Tooltip("step:Q", title="Step", format=",")


def _tip(column: str, title: str, form: str = ".1f") -> alt.Tooltip:
    return alt.Tooltip(f"{column}:Q", title=title, format=form)


def _tooltip(by: str, name: str, value: str, title: str, form: str) -> list[alt.Tooltip]:
    return [alt.Tooltip(f"{by}:N", title=name), _step_tip(), _tip(value, title, form)]
