"""The standard set: every figure and table of how a corpus is routed, by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pandas as pd

from workbench.errors import WorkbenchError
from workbench.figures.coactivation import coactivation_map
from workbench.figures.expert_overview import expert_overview
from workbench.figures.flow import flow_chart
from workbench.figures.heat_map import expert_heat_map
from workbench.figures.sentence_map import sentence_map
from workbench.figures.specialization import specialization_chart
from workbench.figures.task_similarity import task_similarity_map
from workbench.figures.token_strip import token_strip
from workbench.routing.affinity import coactivation, favourite_tokens
from workbench.routing.flow import layer_flow
from workbench.routing.projection import FEWEST, project, sentence_gates
from workbench.routing.similarity import similarity
from workbench.routing.specialization import specialization
from workbench.routing.trace import Routes
from workbench.routing.usage import expert_usage
from workbench.wording import counted

#: Tokens of a sentence that a strip has room for on paper.
_STRIP = 40


class Figure(NamedTuple):
    """One of the set. chart: Altair's; None for a table that is written as numbers alone. data: the numbers."""

    name: str
    chart: Any
    data: pd.DataFrame


def standard_figures(routes: Routes) -> Iterator[Figure]:
    """The figures that these routes allow, one after the other.

    usage, similarity (of two tasks or more), coactivation (where a token chooses several experts) and sentences (where
    those of one task differ) for each layer with experts; specialization over all of them (of two tasks or more);
    for each stack tokens, the strip of one sentence, and, where two layers have experts, usage of all of them side by side
    and flow, from layer to layer; favourites, a table.

    Raises:
        WorkbenchError: there is nothing to draw, as of blank sentences.
    """
    if routes.frame.empty:
        raise WorkbenchError(
            f"{counted(len(routes.sources), 'sentence')} without a token that was routed: there is nothing to draw."
        )
    top_k = (routes.frame.groupby("stack", observed=True)["rank"].max() + 1).astype(int)
    usage = expert_usage(routes)
    frame, alike, pairs = usage.to_frame(), similarity(usage), coactivation(routes)
    several = len(routes.tasks) > 1
    layers = [(stack, layer) for stack, found in routes.layers.items() for layer in found]
    for stack, layer in layers:
        yield _one("usage", expert_heat_map(frame, stack, layer, top_k[stack]), frame, stack, layer)
    for stack, found in routes.layers.items():
        if len(found) > 1:
            chart = expert_overview(frame, stack, top_k[stack])
            yield Figure(f"usage-{stack}", chart, frame[frame["stack"] == stack])
    if several:
        table = specialization(routes)
        chart = specialization_chart(table, len(routes.tasks))
        yield Figure("specialization", chart, table)
        for stack, layer in layers:
            chart = task_similarity_map(alike, stack, layer)
            yield _one("similarity", chart, alike, stack, layer)
    for stack, layer in layers:
        if top_k[stack] > 1:
            chart = coactivation_map(pairs, stack, layer, top_k[stack])
            yield _one("coactivation", chart, pairs, stack, layer)
    flow = layer_flow(routes)
    for stack in dict.fromkeys(flow["stack"]):
        yield Figure(f"flow-{stack}", flow_chart(flow, stack), flow[flow["stack"] == stack])
    for stack in routes.layers:
        rows = _short_sentence(routes, stack)
        if not rows.empty:
            yield Figure(f"tokens-{stack}", token_strip(rows, stack), rows)
    yield Figure("favourites", None, favourite_tokens(routes))
    for stack, layer in layers:
        points = sentence_points(routes, stack, layer)
        if points is not None:
            yield Figure(f"sentences-{stack}-{layer}", sentence_map(points, stack, layer), points)


def sentence_points(routes: Routes, stack: str, layer: int) -> pd.DataFrame | None:
    """A map of the sentences by their gates in one layer, as `sentence_map` takes it: sentence, task, x, y, source,
    translation.

    None where there is nothing to see: few sentences, or a layer that routes all sentences of a task alike.
    """
    gates = sentence_gates(routes, stack, layer)
    if len(gates) < FEWEST or len(gates.round(5).drop_duplicates()) <= len(routes.tasks):
        return None
    found = gates.index.to_frame(index=False)
    found[["x", "y"]] = project(gates.to_numpy())
    found["source"] = [routes.sources[i] for i in found["sentence"]]
    found["translation"] = [routes.translations[i] for i in found["sentence"]]
    return found


def _one(name: str, chart: Any, table: pd.DataFrame, stack: str, layer: int) -> Figure:
    rows = table[(table["stack"] == stack) & (table["layer"] == layer)]
    return Figure(f"{name}-{stack}-{layer}", chart, rows)


def _short_sentence(routes: Routes, stack: str) -> pd.DataFrame:
    """The rows of the first sentence that fits on paper."""
    frame = routes.frame
    rows = frame[frame["stack"] == stack]
    length = rows.groupby("sentence")["position"].max()
    fits = length[length < _STRIP]
    return rows[rows["sentence"] == fits.index[0]] if len(fits) else rows.iloc[:0]
