"""What the Experts page draws of tasks: which experts they use, how alike, and what the choice tells of the task."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import pandas as pd
import streamlit as st

from app.widgets.address import begin_many, choose_one, keep
from app.widgets.charts import draw, show_chart, show_menu
from app.widgets.routing import Routing
from app.widgets.routing_table import GATE, show_table
from workbench.figures.coactivation import coactivation_map
from workbench.figures.expert_overview import expert_overview
from workbench.figures.flow import flow_chart
from workbench.figures.heat_map import expert_heat_map
from workbench.figures.specialization import specialization_chart
from workbench.figures.task_similarity import task_similarity_map
from workbench.routing.affinity import coactivation
from workbench.routing.flow import layer_flow
from workbench.routing.ordering import ExpertOrder, TaskOrder
from workbench.routing.similarity import similarity
from workbench.routing.specialization import specialization
from workbench.routing.trace import Routes

MOST_EXPERTS = (8, 16, 32, 64)
Orders = tuple[TaskOrder, ExpertOrder, int | None]
#: Layers that are drawn unless one asks for others: with more the first and the last of each stack, and fewer of them
#: where they have more cells than a browser draws in a few seconds.
MOST_LAYERS, MOST_CELLS = 4, 30_000
#: Cells of a map with more than which its stack is drawn as a whole at first.
LARGE = 3_000

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


def show_tasks(routing: Routing) -> None:
    """Which experts tasks use, how alike, and what the choice tells of the task: one of these at a time."""
    views: dict[str, Callable[[Routing], None]] = {"Usage": _usage}
    routes = routing.routes
    if len(routing.usage.tasks) > 1:
        views["Similarity"] = _similarity
        if routes is not None or routing.specialization is not None:
            views["Specialisation"] = _specialization
    if routes is not None:
        if routes.frame["rank"].max() > 0:
            views["Chosen together"] = _together
        if any(len(layers) > 1 for layers in routes.layers.values()):
            views["Flow"] = _flow
    shown = {name: name for name in views}
    chosen = choose_one(st, "Show", "view", shown, segmented=True, label_visibility="collapsed")
    views[chosen](routing)


def _usage(routing: Routing) -> None:
    st.caption(
        "Counted over tokens at any rank, language and end tokens included, padding not."
        " In the decoder a token is counted where it is read."
    )
    columns = st.columns([2, 3, 2, 3], gap="medium")
    usage = routing.usage
    large = len(usage.layers) > MOST_LAYERS or len(usage.tasks) * max(usage.experts) > LARGE
    kinds = {"layer": "One a layer", "stack": "One a stack, a part enlarged"}
    if large:
        kinds = dict(reversed(kinds.items()))
    kind = choose_one(columns[3], "Maps", "maps", kinds)
    orders = _orders(routing, columns, "As many as fit" if kind == "stack" else "All experts")
    table = _by_stack(routing, orders) if kind == "stack" else _layer_by_layer(routing, orders)
    with st.expander("The numbers"):
        st.caption(
            GATE.format(mean=" Mean over all tokens of the task, 0 for those that chose others.")
        )
        show_table(table, "Mean gate")
        st.download_button(
            "CSV",
            lambda: table.to_csv(index=False),
            "usage.csv",
            icon=":material/download:",
            on_click="ignore",
        )


def _layer_by_layer(routing: Routing, orders: Orders) -> pd.DataFrame:
    """A map of each layer that is chosen; gives their numbers."""
    layers = _choose_layers(routing)
    usage = routing.usage.only(layers=layers)
    table = usage.to_frame()
    for stack, layer, rows in _by_layer(layers, table):
        chart = expert_heat_map(table, stack, layer, usage.top_k(stack, layer), *orders)
        show_chart(chart, rows, f"usage-{stack}-{layer}", routing.of)
    return table


def _by_stack(routing: Routing, orders: Orders) -> pd.DataFrame:
    """A map of each stack, all layers with experts, over which one draws what shall be large; gives the numbers."""
    table = routing.usage.to_frame()
    for stack in dict.fromkeys(stack for stack, _ in routing.usage.layers):
        layers = [layer for name, layer in routing.usage.layers if name == stack]
        given = table, stack, routing.usage.top_k(stack, layers[0]), layers, *orders
        draw(expert_overview(*given, enlarge=True))
        show_menu(
            expert_overview(*given), table[table["stack"] == stack], f"usage-{stack}", routing.of
        )
    return table


def _orders(routing: Routing, columns: Sequence[Any], unless: str) -> Orders:
    """In which order tasks and experts are shown, and how many experts. unless: what is shown if no number is chosen."""
    tasks: TaskOrder = "given"
    if len(routing.usage.tasks) > 1:
        tasks = cast(TaskOrder, choose_one(columns[0], "Tasks", "task-order", TASK_ORDERS))
    experts = cast(ExpertOrder, choose_one(columns[1], "Experts", "expert-order", EXPERT_ORDERS))
    counts = [n for n in MOST_EXPERTS if n < max(routing.usage.experts)]
    if not counts:
        return tasks, experts, None
    offered = {"all": unless} | {str(n): f"The {n} most used" for n in counts}
    most = choose_one(columns[2], "Show", "experts-shown", offered)
    return tasks, experts, None if most == "all" else int(most)


def _choose_layers(routing: Routing) -> list[tuple[str, int]]:
    """The layers to draw: all where they are few, else those that are chosen."""
    layers = list(routing.usage.layers)
    if len(layers) <= MOST_LAYERS:
        return layers
    places = {f"{stack}-{layer}": (stack, layer) for stack, layer in layers}
    stacks = dict.fromkeys(stack for stack, _ in layers)
    ends = [[name for name, place in places.items() if place[0] == stack] for stack in stacks]
    default = [name for names in ends for name in dict.fromkeys((names[0], names[-1]))]
    cells = len(routing.usage.tasks) * max(len(routing.usage.tasks), max(routing.usage.experts))
    default = default[: max(1, MOST_CELLS // cells)]
    begin_many("layers", list(places), default)
    chosen = st.multiselect(
        f"Layers, of {len(layers)} with experts",
        list(places),
        format_func=lambda name: f"{places[name][0].capitalize()} layer {places[name][1]}",
        key="layers",
        wrap=True,
        persist_state="session",
    )
    keep("layers", chosen, default)
    return [places[name] for name in chosen or default]


def _similarity(routing: Routing) -> None:
    st.caption(
        "Two tasks are alike where their tokens choose the same experts as often. Tasks with the same source text have the"
        " same encoder, unless it is routed by task."
    )
    layers = _choose_layers(routing)
    table = similarity(routing.usage.only(layers=layers))
    for stack, layer, rows in _by_layer(layers, table):
        chart = task_similarity_map(table, stack, layer)
        show_chart(chart, rows, f"similarity-{stack}-{layer}", routing.of)


@st.cache_data(max_entries=8, show_spinner="Comparing with shuffled tasks …")
def _specialized(key: str, _routes: Routes) -> pd.DataFrame:
    return specialization(_routes)


def _specialization(routing: Routing) -> None:
    table = routing.specialization
    if routing.routes is not None:
        table = _specialized(routing.key, routing.routes)
    assert table is not None
    st.caption(
        "How well one could guess the task from the experts that a token chose. Chance: the same with the tasks of"
        " sentences shuffled, the mean of 200 times."
    )
    chart = specialization_chart(table, len(routing.usage.tasks))
    show_chart(chart, table, "specialization", routing.of)
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


def _together(routing: Routing) -> None:
    assert routing.routes is not None
    layers = _choose_layers(routing)
    table = coactivation(routing.routes)
    for stack, layer, rows in _by_layer(layers, table):
        if not rows.empty:
            chart = coactivation_map(table, stack, layer, routing.usage.top_k(stack, layer))
            show_chart(chart, rows, f"together-{stack}-{layer}", routing.of)


def _flow(routing: Routing) -> None:
    assert routing.routes is not None
    table = _flows(routing.key, routing.routes)
    st.caption(
        "The first choices of tokens in one layer with experts, and where the same tokens go in the next. By chance: the"
        " next choice would not depend on this one."
    )
    for stack in dict.fromkeys(table["stack"]):
        chart = flow_chart(table, stack)
        show_chart(chart, table[table["stack"] == stack], f"flow-{stack}", routing.of)


@st.cache_data(max_entries=8, show_spinner="Comparing with shuffled tokens …")
def _flows(key: str, _routes: Routes) -> pd.DataFrame:
    return layer_flow(_routes)


def _by_layer(
    layers: list[tuple[str, int]], table: pd.DataFrame
) -> Iterator[tuple[str, int, pd.DataFrame]]:
    """Each of the layers, and its rows of the table."""
    for stack, layer in layers:
        yield stack, layer, table[(table["stack"] == stack) & (table["layer"] == layer)]
