"""What the Experts page draws of a trace: of its tasks, of its sentences and of its tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pandas as pd
import streamlit as st

from app.widgets.address import choose_one
from app.widgets.charts import AROUND, draw, show_chart, show_menu
from app.widgets.tracing import Asked
from workbench.figures.coactivation import coactivation_map
from workbench.figures.flow import flow_chart
from workbench.figures.heat_map import expert_heat_map
from workbench.figures.sentence_map import BRUSH, sentence_map
from workbench.figures.specialization import specialization_chart
from workbench.figures.standard import sentence_points
from workbench.figures.task_similarity import task_similarity_map
from workbench.figures.token_strip import token_strip
from workbench.routing.affinity import coactivation, favourite_tokens
from workbench.routing.flow import layer_flow
from workbench.routing.ordering import ExpertOrder, TaskOrder
from workbench.routing.projection import FEWEST
from workbench.routing.similarity import similarity
from workbench.routing.specialization import specialization
from workbench.routing.trace import Routes
from workbench.routing.usage import expert_usage
from workbench.tasks import parse_task

# A strip is as wide as its sentence is long: it scrolls, and the page does not.
SCROLLED = "<style>[class*='st-key-strip-']{overflow-x:auto}</style>"
GATE = "Gate: the weight of an expert's output, from 0 to 1.{mean} Layers, experts and positions are counted from 0."
MOST_EXPERTS = (8, 16, 32, 64)
COLUMNS = {
    "sentence": None,  # there is one only
    "task": "Task",
    "stack": "Stack",
    "layer": "Layer",
    "position": "Position",
    "token": "Token",
    "rank": "Rank (0: first choice)",
    "expert": "Expert",
    "tokens": "Tokens that chose it",
    "share": st.column_config.NumberColumn("Share of the task's tokens", format="percent"),
}


def show_table(frame: pd.DataFrame, gate: str) -> None:
    """The rows, with headers for a person. gate: what the column of that name holds."""
    shown = frame.assign(task=[parse_task(str(task)).label for task in frame["task"]])
    gates = st.column_config.NumberColumn(gate, format="%.3f")
    st.dataframe(shown, hide_index=True, width="stretch", column_config={**COLUMNS, "gate": gates})


def show_tasks(routes: Routes, asked: Asked, of: str) -> None:
    """Which experts tasks use, how alike, and what the choice tells of the task: one of these at a time."""
    views: dict[str, Callable[[Routes, Asked, str], None]] = {"Usage": _usage}
    if len(routes.tasks) > 1:
        views |= {"Similarity": _similarity, "Specialisation": _specialization}
    if routes.frame["rank"].max() > 0:
        views["Chosen together"] = _together
    if any(len(layers) > 1 for layers in routes.layers.values()):
        views["Flow"] = _flow
    shown = {name: name for name in views}
    chosen = choose_one(st, "Show", "view", shown, segmented=True, label_visibility="collapsed")
    views[chosen](routes, asked, of)


def _usage(routes: Routes, asked: Asked, of: str) -> None:
    usage = expert_usage(routes).to_frame()
    st.caption(
        "Counted over tokens at any rank, language and end tokens included, padding not."
        " In the decoder a token is counted where it is read."
    )
    tasks, experts, most = _orders(routes)
    for stack, layer, rows in _layers(routes, usage):
        chart = expert_heat_map(usage, stack, layer, _top_k(routes, stack), tasks, experts, most)
        show_chart(chart, rows, f"usage-{stack}-{layer}", of)
    with st.expander("The numbers"):
        st.caption(
            GATE.format(mean=" Mean over all tokens of the task, 0 for those that chose others.")
        )
        show_table(usage, "Mean gate")
        st.download_button(
            "CSV", usage.to_csv(index=False), "usage.csv", icon=":material/download:"
        )


TASK_ORDERS = {
    "given": "As listed",
    "source": "By source",
    "target": "By target",
    "alike": "Alike together",
}
EXPERT_ORDERS = {
    "number": "By number",
    "use": "Most used first",
    "task": "By the task that uses them most",
}


def _orders(routes: Routes) -> tuple[TaskOrder, ExpertOrder, int | None]:
    """In which order tasks and experts are shown, and how many experts."""
    columns = st.columns([2, 3, 2, 3], gap="medium")
    tasks: TaskOrder = "given"
    if len(routes.tasks) > 1:
        tasks = cast(TaskOrder, choose_one(columns[0], "Tasks", "task-order", TASK_ORDERS))
    experts = cast(ExpertOrder, choose_one(columns[1], "Experts", "expert-order", EXPERT_ORDERS))
    counts = [n for n in MOST_EXPERTS if n < max(routes.experts.values())]
    if not counts:
        return tasks, experts, None
    offered = {"all": "All experts"} | {str(n): f"The {n} most used" for n in counts}
    most = choose_one(columns[2], "Show", "experts-shown", offered)
    return tasks, experts, None if most == "all" else int(most)


def _similarity(routes: Routes, asked: Asked, of: str) -> None:
    table = similarity(expert_usage(routes))
    st.caption(
        "Two tasks are alike where their tokens choose the same experts as often. Tasks with the same source text have the"
        " same encoder, unless it is routed by task."
    )
    for stack, layer, rows in _layers(routes, table):
        chart = task_similarity_map(table, stack, layer)
        show_chart(chart, rows, f"similarity-{stack}-{layer}", of)


@st.cache_data(max_entries=8, show_spinner="Comparing with shuffled tasks …")
def _specialized(key: str, _routes: Routes) -> pd.DataFrame:
    return specialization(_routes)


def _specialization(routes: Routes, asked: Asked, of: str) -> None:
    table = _specialized(repr(asked), routes)
    st.caption(
        "How well one could guess the task from the experts that a token chose. Chance: the same with the tasks of"
        " sentences shuffled, the mean of 200 times."
    )
    show_chart(specialization_chart(table, len(routes.tasks)), table, "specialization", of)
    names: dict[str, Any] = {
        "stack": "Stack",
        "layer": "Layer",
        "load_entropy": st.column_config.NumberColumn(
            "Evenness of load",
            format="%.3f",
            help="Entropy over its largest value: 1 if all are used alike",
        ),
        "max_violation": st.column_config.NumberColumn(
            "Busiest above mean",
            format="%.2f",
            help="How far the busiest expert is above the mean load, of the mean",
        ),
        "information": st.column_config.NumberColumn("Bits about the task", format="%.3f"),
        "information_chance": st.column_config.NumberColumn("By chance", format="%.3f"),
        "divergence": st.column_config.NumberColumn(
            "Divergence of tasks, bits",
            format="%.3f",
            help="Jensen-Shannon, mean over pairs of tasks",
        ),
        "divergence_chance": st.column_config.NumberColumn("Divergence by chance", format="%.3f"),
    }
    st.dataframe(
        table, hide_index=True, width="stretch", column_order=list(names), column_config=names
    )


def _together(routes: Routes, asked: Asked, of: str) -> None:
    table = coactivation(routes)
    for stack, layer, rows in _layers(routes, table):
        if not rows.empty:
            chart = coactivation_map(table, stack, layer, _top_k(routes, stack))
            show_chart(chart, rows, f"together-{stack}-{layer}", of)


def _flow(routes: Routes, asked: Asked, of: str) -> None:
    table = _flows(repr(asked), routes)
    st.caption(
        "The first choices of tokens in one layer with experts, and where the same tokens go in the next. By chance: the"
        " next choice would not depend on this one."
    )
    for stack in dict.fromkeys(table["stack"]):
        chart = flow_chart(table, stack)
        show_chart(chart, table[table["stack"] == stack], f"flow-{stack}", of)


@st.cache_data(max_entries=8, show_spinner="Comparing with shuffled tokens …")
def _flows(key: str, _routes: Routes) -> pd.DataFrame:
    return layer_flow(_routes)


def show_sentences(routes: Routes, asked: Asked, of: str) -> None:
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
    key = (asked, stack, layer)
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
    legend = 10 * len(routes.tasks)  # two of them in a row
    event = draw(chart, AROUND + legend, on_select="rerun", key=f"map {name}")
    show_menu(sentence_map(points, stack, layer), points, name, of)
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


def show_tokens(routes: Routes, of: str) -> None:
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
        show_menu(chart, rows[rows["stack"] == stack], f"tokens-{stack}", of)
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


def _layers(routes: Routes, table: pd.DataFrame) -> Any:
    """Every layer with experts, and its rows of the table."""
    for stack, found in routes.layers.items():
        for layer in found:
            yield stack, layer, table[(table["stack"] == stack) & (table["layer"] == layer)]


def _top_k(routes: Routes, stack: str) -> int:
    frame = routes.frame
    return int(frame.loc[frame["stack"] == stack, "rank"].max()) + 1
