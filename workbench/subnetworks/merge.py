"""Merging: a token- or sentence-routed network whose experts are averaged in groups instead of dropped."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np

from workbench.config import ModelConfig
from workbench.decoding.translator import Translator
from workbench.errors import WorkbenchError
from workbench.nn.tiles import ExpertWeights
from workbench.routing.statistics import Statistics, routed_layers
from workbench.routing.usage import Usage
from workbench.subnetworks.alignment import aligned
from workbench.subnetworks.cutting import build, cut_block, parameters_of, with_experts
from workbench.subnetworks.grouping import Group, cosines, grouped_around
from workbench.subnetworks.lineage import card_of_part, languages_of, provenance_of_part
from workbench.subnetworks.prune import Layer, chosen_tasks, given_statistics, prunable_layers
from workbench.subnetworks.selection import best_of_each_layer, check_fraction, counts_for
from workbench.tasks import Task

#: How experts are grouped and averaged.
Method = Literal["frequency", "aligned", "mc-smoe"]
METHODS: dict[Method, str] = {
    "frequency": "grouped by likeness of the router's columns, averaged by frequency",
    "aligned": "the same, with hidden units aligned before averaging",
    "mc-smoe": "grouped by likeness of router logits on the corpus around the experts used most in the whole"
    " stack, aligned, averaged by frequency",
}
#: How the gate of a group comes about.
Gates = Literal["sum", "dominant"]
GATES: tuple[Gates, ...] = ("sum", "dominant")


def merge(
    model: Translator,
    usage: Usage | Statistics,
    tasks: str | Task | Sequence[str | Task] | None = None,
    keep: float = 0.2,
    method: Method = "aligned",
    gates: Gates = "dominant",
    name: str | None = None,
) -> Translator:
    """`model` with the experts of each layer merged into groups, as many as pruning with `keep` would leave.

    A group's weights are the average of its members', weighted by how many tokens rank them first or second.
    Its gate, with gates "sum": the router keeps its columns, and the probability of a group is the sum of its
    members'; the top-k are the best groups. With "dominant": only the column of the group's most used expert
    stays, and the softmax is over those, as after pruning; such a network has NLLB-MoE's layout again.

    Args:
        model: to be merged; it is left as it is.
        usage: what its gates did, on a corpus. "mc-smoe" needs `Statistics` with `products`.
        tasks: one or more directions whose tokens count; default all of the statistics.
        keep: fraction of experts that remain: of each layer; of each stack for "mc-smoe", whose layers may keep
            different numbers.
        method: "frequency", experts grouped by likeness of the router's columns and averaged by frequency;
            "aligned", the same with hidden units aligned before averaging; "mc-smoe", grouped by likeness of router
            logits around the experts used most in the whole stack, then as "aligned": arXiv 2310.01334, sections 3.1
            and 3.2, without its compression.
        gates: "sum" or "dominant".
        name: of the result.

    Raises:
        WorkbenchError: as `prune`, or an unknown method.
    """
    statistics = given_statistics(usage)
    if gates not in GATES:
        raise WorkbenchError(f"Unknown gates {gates!r}. Accepted: {', '.join(GATES)}.")
    groups = group_experts(model, statistics, tasks, keep, method)
    statistics.warn_unless_of(model.name)
    chosen = chosen_tasks(model.config, tasks or statistics.tasks)
    frequencies = _frequencies(model, statistics, chosen)
    parameters = parameters_of(model.network)
    for (stack, number), parts in groups.items():
        layer = parameters[stack]["layers"][number]
        layer["ffn"] = _merged_block(
            layer["ffn"],
            parts,
            frequencies[stack, number],
            method,
            gates,
            getattr(model.config, stack).groups_in(number),
        )
    config = merged_config(model.config, groups, gates, chosen)
    called = name or f"{model.name}-merged"
    shown = _as_json(groups)
    made = (
        f"`{model.name}` with its experts merged for {', '.join(f'`{task}`' for task in chosen)} by the Task-MoE"
        f" workbench, without training it again: {METHODS[method]}; gates: {gates}; keep {keep:g}; groups {shown}."
        " It does not translate exactly as its parent does."
    )
    return Translator(
        called,
        config,
        model.tokenizer,
        build(config, parameters),
        card=card_of_part(model, called, made, chosen),
        provenance=provenance_of_part(
            model,
            "merge",
            chosen,
            method={
                "method": method,
                "gates": gates,
                "keep": keep,
                "statistics": {"of": statistics.origin, "gates": statistics.gates},
            },
            groups=shown,
        ),
    )


def group_experts(
    model: Translator,
    statistics: Statistics,
    tasks: str | Task | Sequence[str | Task] | None = None,
    keep: float = 0.2,
    method: Method = "aligned",
) -> dict[Layer, list[Group]]:
    """The groups that `merge` averages, each with its most used expert first; arguments and errors as there."""
    if method not in METHODS:
        raise WorkbenchError(f"Unknown method {method!r}. Accepted: {', '.join(METHODS)}.")
    check_fraction(keep)
    layers = prunable_layers(model)
    statistics.check(model.config)
    chosen = chosen_tasks(model.config, tasks or statistics.tasks)
    rows = statistics.rows([str(task) for task in chosen])
    places = {layer: i for i, layer in enumerate(routed_layers(model.config)[0])}
    frequencies = _frequencies(model, statistics, chosen)
    likeness = {
        layer: _likeness(model, statistics, rows, layer, places[layer], method) for layer in layers
    }
    dominant = _dominant(model.config, frequencies, keep, method)
    return {layer: grouped_around(dominant[layer], likeness[layer]) for layer in layers}


def merged_weights(
    weights: ExpertWeights, group: Group, frequency: np.ndarray, align: bool
) -> ExpertWeights:
    """One expert from those of `group`, averaged by `frequency` [E]; alike where none of them is ever used."""
    shares = np.asarray(frequency, np.float64)[list(group)]
    shares = shares / shares.sum() if shares.sum() > 0 else np.full(len(group), 1 / len(group))
    members: list[Any] = [
        aligned(weights, expert, like=group[0])
        if align and expert != group[0]
        else [np.asarray(array[expert], np.float64) for array in weights]
        for expert in group
    ]
    means: list[Any] = [np.tensordot(shares, arrays, 1) for arrays in zip(*members, strict=True)]
    return ExpertWeights(*means)


def _frequencies(
    model: Translator, statistics: Statistics, tasks: Sequence[Task]
) -> dict[Layer, np.ndarray]:
    """Of each layer, the share of the tokens of `tasks` that rank an expert first or second, [E]."""
    rows = statistics.rows([str(task) for task in tasks])
    places = {layer: i for i, layer in enumerate(routed_layers(model.config)[0])}
    return {
        layer: statistics.top2[rows, places[layer]].mean(axis=0)[: _experts(model.config, layer)]
        for layer in prunable_layers(model)
    }


def _dominant(
    config: ModelConfig, frequencies: Mapping[Layer, np.ndarray], keep: float, method: Method
) -> dict[Layer, tuple[int, ...]]:
    """The experts that groups form around: of each layer, or for MC-SMoE the most used of each stack."""
    found: dict[Layer, tuple[int, ...]] = {}
    for stack, shape in config.stacks:
        layers = [layer for layer in frequencies if layer[0] == stack]
        if not layers or shape.router is None:
            continue
        values = [frequencies[layer] for layer in layers]
        top_k = shape.router.top_k
        counts = counts_for(keep, [len(row) for row in values], [top_k] * len(layers))
        if method == "mc-smoe":
            ranked = sorted(
                (rank >= top_k, -value, i)
                for i, row in enumerate(values)
                for rank, value in enumerate(sorted(row, reverse=True))
            )
            chosen = [i for *_, i in ranked[: sum(counts)]]
            counts = [chosen.count(i) for i in range(len(values))]
        found |= dict(zip(layers, best_of_each_layer(values, counts), strict=True))
    return found


def _likeness(
    model: Translator,
    statistics: Statistics,
    rows: Sequence[int],
    layer: Layer,
    place: int,
    method: Method,
) -> np.ndarray:
    """How alike two experts of a layer are to their router: the cosine of their logits or of their columns."""
    stack, number = layer
    if method == "mc-smoe":
        if statistics.products is None:
            raise WorkbenchError(
                "MC-SMoE groups experts by their router logits on a corpus: these statistics lack them. Gather"
                " them with --corpus, in Python with gather_statistics(..., products=True); or use another method."
            )
        count = _experts(model.config, layer)
        return cosines(statistics.products[rows, place].mean(axis=0)[:count, :count])
    kernel = np.asarray(getattr(model.network, stack).layers[number].ffn.router.kernel, np.float64)
    groups = getattr(model.config, stack).groups_in(number)
    if groups:  # merged before: an expert is alike as its columns are on average
        owners = np.asarray(groups)
        kernel = np.stack(
            [kernel[:, owners == e].mean(axis=1) for e in range(max(groups) + 1)], axis=1
        )
    return cosines(kernel.T @ kernel)


def _merged_block(
    parameters: Mapping[str, Any],
    groups: Sequence[Group],
    frequency: np.ndarray,
    method: Method,
    gates: Gates,
    old_groups: tuple[int, ...],
) -> dict[str, Any]:
    weights = ExpertWeights(*(parameters[name] for name in ExpertWeights._fields))
    merged = [merged_weights(weights, group, frequency, method != "frequency") for group in groups]
    arrays = {
        name: jnp.asarray(np.stack(values), jnp.float32)
        for name, values in zip(ExpertWeights._fields, zip(*merged, strict=True), strict=True)
    }
    if gates == "sum":
        return {"router": dict(parameters["router"]), **arrays}
    if old_groups:
        raise WorkbenchError(
            "The experts were merged before, with gates that are sums: merge them with gates sum again."
        )
    leaders = [group[0] for group in groups]
    return {"router": cut_block(parameters, leaders)["router"], **arrays}


def merged_config(
    config: ModelConfig, groups: Mapping[Layer, list[Group]], gates: Gates, tasks: Sequence[Task]
) -> ModelConfig:
    """The shape of the network that `merge` makes of these groups."""
    stacks: dict[str, Any] = {}
    for name, stack in config.stacks:
        if not any(layer[0] == name for layer in groups):
            continue
        counts, columns = [], []
        for layer in stack.expert_layers:
            parts = groups[name, layer]
            owner = {expert: i for i, part in enumerate(parts) for expert in part}
            old = stack.groups_in(layer) or range(len(owner))
            counts.append(len(parts))
            columns.append(tuple(owner[expert] for expert in old) if gates == "sum" else ())
        stacks[name] = with_experts(stack, counts, columns)
    return dataclasses.replace(config, **stacks, languages=languages_of(tasks), tasks=tuple(tasks))


def _as_json(groups: Mapping[Layer, list[Group]]) -> dict[str, dict[str, list[list[int]]]]:
    table: dict[str, dict[str, list[list[int]]]] = {}
    for (stack, layer), parts in groups.items():
        table.setdefault(stack, {})[str(layer)] = [list(part) for part in parts]
    return table


def _experts(config: ModelConfig, layer: Layer) -> int:
    return int(getattr(config, layer[0]).experts_in(layer[1]))
