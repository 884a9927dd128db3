"""Token strips: the experts of every token of one sentence, layer by layer."""

from __future__ import annotations

import json

import altair as alt
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.figures import theme
from workbench.figures.tables import as_table
from workbench.languages import find_language
from workbench.tasks import parse_task

_FAINTEST = 0.35  # opacity of a cell whose gate is 0


def token_strip(routes: pd.DataFrame, stack: str) -> alt.LayerChart:
    """Experts of one sentence's tokens in one stack: tokens across, as their script runs, layer and choice down.

    routes: rows of one sentence, as `Routes.to_frame` gives them.

    Raises:
        WorkbenchError: the rows are of several sentences, or none is of this stack.
    """
    routes = as_table(routes, "routes", "trace_routes", "sentence", "task", "token", "rank", "gate")
    sentences = routes["sentence"].unique()
    if len(sentences) > 1:
        raise WorkbenchError(
            f"A token strip shows one sentence, and these rows are of {len(sentences)}."
            f' Choose one: frame[frame["sentence"] == {sentences[0]}].'
        )
    frame = routes[routes["stack"] == stack].astype({"token": str})
    if frame.empty:
        found = ", ".join(routes["stack"].astype(str).unique()) or "none"
        raise WorkbenchError(f"There are no rows of the stack {stack!r}. Stacks in them: {found}.")
    task = parse_task(str(frame["task"].iloc[0]))
    language = task.source if stack == "encoder" else task.target
    leftwards = find_language(language, among=(language,)).right_to_left
    frame = frame.assign(
        choice=[
            f"Layer {layer}, choice {rank + 1}"
            for layer, rank in zip(frame["layer"], frame["rank"], strict=True)
        ]
    )
    # Mixed here rather than see-through: the ink has to fit what is seen, and a dark page must not show through.
    frame["colour"] = [
        theme.on_white(theme.category(expert), _FAINTEST + (1 - _FAINTEST) * min(gate, 1))
        for expert, gate in zip(frame["expert"], frame["gate"], strict=True)
    ]
    frame["ink"] = frame["colour"].map(theme.ink)
    tokens = frame.drop_duplicates("position").sort_values("position")["token"]
    labels = json.dumps([token.replace("▁", " ").strip() or "␣" for token in tokens])
    base = alt.Chart(frame).encode(
        x=alt.X(
            "position:O",
            title="Token",
            scale=alt.Scale(reverse=leftwards),
            axis=alt.Axis(
                labelExpr=f"{labels}[datum.value]",
                labelAngle=-45,
                labelFlush=False,
                labelOverlap=False,
                labelLimit=90,
            ),
        ),
        y=alt.Y("choice:N", title=None, sort=None, axis=theme.row_axis()),
        tooltip=[
            alt.Tooltip("token:N", title="Token"),
            alt.Tooltip("choice:N", title="Where"),
            alt.Tooltip("expert:O", title="Expert"),
            alt.Tooltip("gate:Q", title="Gate", format=".3f"),
        ],
    )
    cells = base.mark_rect(cornerRadius=2, stroke=None).encode(
        color=alt.Color("colour:N", scale=None)
    )
    text = base.mark_text(fontSize=11).encode(text="expert:O", color=alt.Color("ink:N", scale=None))
    return theme.styled(
        alt.layer(cells, text).properties(
            title=theme.title(
                f"{stack.capitalize()}, {task.label}: expert of each token",
                "Numbers are experts; the fainter a cell, the smaller its gate",
            ),
            width=alt.Step(30),
            height=alt.Step(28),
        )
    )
