"""What the Experts page draws of sentences, as points of a map, and of their tokens."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from app.widgets.charts import AROUND, draw, show_menu
from app.widgets.routing import Routing
from app.widgets.routing_table import GATE, show_table
from workbench.figures.sentence_map import BRUSH, NAMED, sentence_map
from workbench.figures.standard import sentence_points
from workbench.figures.token_strip import token_strip
from workbench.routing.affinity import favourite_tokens
from workbench.routing.projection import FEWEST
from workbench.routing.trace import Routes
from workbench.tasks import parse_task

# A strip is as wide as its sentence is long: it scrolls, and the page does not.
SCROLLED = "<style>[class*='st-key-strip-']{overflow-x:auto}</style>"


def show_sentences(routing: Routing, routes: Routes) -> None:
    """The map of sentences of one layer, once it is asked for, and a table of those that are selected."""
    layers = [(stack, layer) for stack, found in routes.layers.items() for layer in found]
    left, right = st.columns([2, 5], gap="medium", vertical_alignment="bottom")
    stack, layer = left.selectbox(
        "Layer", layers, format_func=lambda pair: f"{pair[0].capitalize()} layer {pair[1]}"
    )
    if len(routes.sources) < FEWEST:
        st.caption(f"A map of sentences needs {FEWEST} of them or more, over all tasks.")
        return
    drawn: set[Any] = st.session_state.setdefault("mapped", set())
    key = (routing.key, stack, layer)
    if key not in drawn:
        if not right.button("Draw the map", icon=":material/scatter_plot:"):
            st.caption(
                "Draws every sentence as a point, by UMAP of its mean gates: sentences that use the same experts lie"
                " together. The first map of a session takes some 15 seconds."
            )
            return
        drawn.add(key)
        st.rerun()
    points = _points(repr(key), routes, stack, layer)
    if points is None:
        st.info(
            "Nothing to map: this layer routes all sentences of a task alike.",
            icon=":material/info:",
        )
        return
    chart = sentence_map(points, stack, layer, selectable=True)
    name = f"sentences-{stack}-{layer}"
    # Two of them in a row, and one where the page is narrow.
    legend = 15 * len(routes.tasks) if len(routes.tasks) <= NAMED else 0
    event = draw(chart, AROUND + legend, on_select="rerun", key=f"map {name}")
    show_menu(sentence_map(points, stack, layer), points, name, routing.of)
    box = event["selection"].get(BRUSH) or {}
    inside = points
    for axis in ("x", "y"):
        if axis in box:
            low, high = sorted(box[axis])
            inside = inside[inside[axis].between(low, high)]
    st.caption(
        f"{len(inside)} of {len(points)} sentences selected."
        if box
        else "Drag over points to select them; below are all sentences."
    )
    shown = inside.assign(task=[parse_task(str(task)).label for task in inside["task"]])
    st.dataframe(
        shown[["task", "source", "translation"]],
        hide_index=True,
        width="stretch",
        column_config={"task": "Task", "source": "Source", "translation": "Translation"},
    )


@st.cache_data(
    max_entries=16, show_spinner="Drawing the map; UMAP compiles itself the first time …"
)
def _points(key: str, _routes: Routes, stack: str, layer: int) -> pd.DataFrame | None:
    return sentence_points(_routes, stack, layer)


def show_tokens(routing: Routing, routes: Routes) -> None:
    """One sentence's experts, token by token, and the tokens that each expert likes best."""
    frame = routes.to_frame()
    tasks = frame.drop_duplicates("sentence").set_index("sentence")["task"].sort_index()
    labels = {task: parse_task(task).label for task in tasks.unique()}
    number = st.selectbox(
        "Sentence",
        list(tasks.index),
        format_func=lambda n: (
            f"{labels[tasks[n]]} · {routes.sources[n][:90]} → {routes.translations[n][:90]}"
        ),
    )
    rows: pd.DataFrame = frame[frame["sentence"] == number]
    st.html(SCROLLED)
    for stack in routes.experts:
        chart = token_strip(rows, stack)
        with st.container(key=f"strip-{stack}"):
            st.altair_chart(chart, width="content")
        show_menu(chart, rows[rows["stack"] == stack], f"tokens-{stack}", routing.of)
    with st.expander("The routing table of this sentence"):
        st.caption(GATE.format(mean=""))
        show_table(rows, "Gate")
        st.download_button(
            "CSV", rows.to_csv(index=False), "routes.csv", icon=":material/download:"
        )
    st.subheader("The tokens that each expert likes best", anchor=False)
    _favourites(routes)


def _favourites(routes: Routes) -> None:
    table = favourite_tokens(routes)
    if table.empty:
        st.caption(
            "No token was seen five times and chose an expert more often than all do: trace more text."
        )
        return
    table["token"] = [str(token).replace("▁", " ").strip() or "␣" for token in table["token"]]
    table["shown"] = [
        f"{token} ×{lift:.1f}" for token, lift in zip(table["token"], table["lift"], strict=True)
    ]
    keys = ["stack", "layer", "expert"]
    lists = table.groupby(keys, observed=True, sort=False)["shown"].agg(list).reset_index()
    st.caption(
        "×: how many times as often as all tokens do. Tokens seen five times or more, by how often and how much more"
        " often they choose the expert."
    )
    st.dataframe(
        lists,
        hide_index=True,
        width="stretch",
        column_config={
            "stack": "Stack",
            "layer": "Layer",
            "expert": "Expert",
            "shown": st.column_config.ListColumn("Tokens", width="large"),
        },
    )
    st.download_button(
        "CSV",
        table.drop(columns="shown").to_csv(index=False),
        "favourites.csv",
        icon=":material/download:",
    )
