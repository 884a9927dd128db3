"""Plans for pruning and merging: chosen on the page, shown before anything is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from app import session
from app.widgets.address import choose_one
from app.widgets.usage_statistics import choose_statistics
from workbench.arguments import as_json
from workbench.config import ModelConfig
from workbench.decoding.translator import Translator
from workbench.subnetworks.cutting import cut_config
from workbench.subnetworks.grouping import Group
from workbench.subnetworks.importance import GRANULARITIES, METRICS
from workbench.subnetworks.interchange import kept_from_json, kept_to_json
from workbench.subnetworks.merge import GATES, METHODS, group_experts, merge, merged_config
from workbench.subnetworks.prune import (
    Layer,
    check_kept,
    keep_experts,
    prunable_layers,
    prune,
    select_experts,
    united,
)
from workbench.subnetworks.selection import ALGORITHMS
from workbench.tasks import Task

STATISTICS, LIST = "Usage statistics", "A list of kept experts"
_METRICS = {
    "importance": "Importance: top 1 × exp(confidence)",
    "top1": "Top 1: share of tokens",
    "top2": "Top 2: share of tokens",
    "load-balance": "Load balance: top 1 × mean gate",
    "vanilla": "Vanilla: top 1 × confidence",
}
_GRANULARITIES = {
    "global": "All tasks together",
    "pair": "Every direction",
    "language": "Every language",
}
_ALGORITHMS = {
    "fixed": "Same number in every layer",
    "global": "One threshold for all layers",
    "separate": "One threshold a stack",
}
_METHODS = {
    "aligned": "Aligned, then averaged",
    "frequency": "Averaged by frequency",
    "mc-smoe": "MC-SMoE",
}
_GATES = {"dominant": "Of the most used expert", "sum": "Sum of the group's"}


@dataclass(frozen=True)
class Plan:
    """What would be made.

    groups: of each layer, the experts that become one (one alone, in pruning). config: the shape of the result.
    words: the settings, for a person. make: makes the network. experts: the list for export, in pruning.
    """

    groups: Mapping[Layer, Sequence[Group]]
    config: ModelConfig
    words: str
    make: Callable[[], Translator]
    experts: dict[str, list[int]] | None = None


def plan_pruning(path: Path, model: Translator, tasks: Sequence[Task], by: str) -> Plan | None:
    """The settings of pruning, and what they lead to; None until that is known. Raises WorkbenchError."""
    config = model.config
    if by == LIST:
        file = st.file_uploader(
            "List of kept experts, JSON",
            "json",
            help="An object: direction, language or `global` → ids of experts (number of the layer with experts"
            " × experts a layer + expert, the encoder's layers first).",
        )
        if file is None:
            return None
        by_key = kept_from_json(as_json(file.getvalue(), file.name), config, tasks, file.name)
        kept = united(by_key.values())
        check_kept(model, kept)
        words, method = f"experts listed in {file.name}", file.name
        name = session.free_name(f"{model.name}-pruned")
        make = lambda: keep_experts(model, kept, tasks, name, {"experts": method})  # noqa: E731
    else:
        statistics = choose_statistics(path, model)
        if statistics is None:
            return None
        columns = st.columns(4)
        budget = _budget(columns[0])
        options: dict[str, Any] = {
            "metric": _choice(columns[1], "Metric", "metric", ("importance", *METRICS), _METRICS),
            "granularity": _choice(
                columns[2],
                "Who chooses",
                "granularity",
                GRANULARITIES,
                _GRANULARITIES,
                "Where every direction or language chooses, the union is kept: then the budget is a lower bound.",
            ),
            "algorithm": _choice(
                columns[3], "Budget is spent as", "algorithm", ALGORITHMS, _ALGORITHMS
            ),
        }
        options |= _budgets_of_stacks(model, budget, options["algorithm"])
        by_key = select_experts(config, statistics, tasks, budget / 100, **options)
        kept = united(by_key.values())
        words = f"keep {budget} %, " + ", ".join(f"{k} {v}" for k, v in options.items())
        called = session.free_name(f"{model.name}-pruned-{budget}")
        make = lambda: prune(  # noqa: E731
            model, statistics, tasks, budget / 100, **options, name=called
        )
    return Plan(
        {layer: [(expert,) for expert in experts] for layer, experts in kept.items()},
        cut_config(config, kept),
        words,
        make,
        kept_to_json(by_key, config),
    )


def plan_merging(path: Path, model: Translator, tasks: Sequence[Task]) -> Plan | None:
    """The settings of merging, and what they lead to; None until that is known. Raises WorkbenchError."""
    statistics = choose_statistics(path, model)
    if statistics is None:
        return None
    columns = st.columns(3)
    budget = _budget(columns[0])
    method: Any = _choice(
        columns[1],
        "Method",
        "method",
        ("aligned", *METHODS),
        _METHODS,
        "  \n".join(f"{_METHODS[name]}: {words}." for name, words in METHODS.items()),
    )
    gates: Any = _choice(columns[2], "Gate of a group", "gates", ("dominant", *GATES), _GATES)
    groups = group_experts(model, statistics, tasks, budget / 100, method)
    name = session.free_name(f"{model.name}-merged-{budget}")
    return Plan(
        groups,
        merged_config(model.config, groups, gates, tasks),
        f"keep {budget} %, method {method}, gates {gates}",
        lambda: merge(model, statistics, tasks, budget / 100, method, gates, name),
    )


def _budget(place: Any) -> int:
    """Percent of the experts to keep."""
    return int(
        place.slider("Experts to keep", 1, 100, 50, format="%d %%", key="keep", bind="query-params")
    )


def _budgets_of_stacks(model: Translator, budget: int, algorithm: str) -> dict[str, float]:
    """`encoder_keep` and `decoder_keep` where they differ from the budget of both."""
    stacks = {stack for stack, _ in prunable_layers(model)}
    if len(stacks) < 2 or algorithm == "global":
        return {}
    if not st.checkbox("A budget for each stack", key="stacks", bind="query-params"):
        return {}
    return {
        f"{stack}_keep": place.slider(
            f"{stack.capitalize()} experts to keep",
            1,
            100,
            budget,
            format="%d %%",
            key=f"{stack}-keep",
            bind="query-params",
        )
        / 100
        for stack, place in zip(("encoder", "decoder"), st.columns(2), strict=True)
    }


def _choice(
    place: Any,
    label: str,
    key: str,
    options: Sequence[str],
    words: Mapping[str, str],
    note: str | None = None,
) -> str:
    """One of `options`, the first by default, shown in `words`; `key` in the URL too."""
    return choose_one(place, label, key, {n: words.get(n, n) for n in options}, help=note)
