"""Interchange: lists of kept experts as Koishekenov et al. publish them, in JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from workbench.config import ModelConfig, StackName
from workbench.errors import WorkbenchError
from workbench.languages import UnknownLanguageError, find_language
from workbench.routing.statistics import routed_layers
from workbench.subnetworks.cutting import Kept
from workbench.tasks import Task, TaskError, parse_task


def kept_to_json(by_key: Mapping[str, Kept], config: ModelConfig) -> dict[str, list[int]]:
    """Key -> ids; id = number of the layer with experts x E + expert, the encoder's layers first.

    E is the number of experts of the largest layer. The keys of `by_key` are those of `select_experts`: those of
    a language become the language, whose encoder ids are for it as source and decoder ids for it as target.
    """
    layers, width = _numbering(config)
    table: dict[str, list[int]] = {}
    for key, kept in by_key.items():
        ids = [layers.index(layer) * width + e for layer, experts in kept.items() for e in experts]
        name = key.rpartition(" ")[2]
        table[name] = sorted({*table.get(name, ()), *ids})
    return table


def kept_from_json(
    table: Any, config: ModelConfig, tasks: Sequence[Task], name: str
) -> dict[str, Kept]:
    """What the keys of `tasks` keep, out of a table as `kept_to_json` writes it.

    A task takes its own list where there is one; else of its source's list what lies in the encoder and of its
    target's what lies in the decoder, of which a stack that is dense or routed by task needs none; else the list
    "global". name: what messages call the file.

    Raises:
        WorkbenchError: the table is none, has nothing for a task, or ids beyond this model's experts.
    """
    if not isinstance(table, dict) or not all(
        isinstance(ids, list) and all(type(i) is int for i in ids) for ids in table.values()
    ):
        raise WorkbenchError(
            f"{name} is no list of kept experts: expected an object with a list of numbers a key."
        )
    lists = {_key(key, config): ids for key, ids in table.items()}
    layers, width = _numbering(config)
    everything = set(range(len(layers) * width))
    chosen = {stack for stack, _ in layers if getattr(config, stack).router.granularity != "task"}
    found: dict[str, Kept] = {}
    for task in tasks:
        sides = {"encoder": lists.get(task.source), "decoder": lists.get(task.target)}
        by_side = all(sides[stack] is not None for stack in chosen)
        own = lists.get(str(task), None if by_side else lists.get("global"))
        if own is None and not by_side:
            raise WorkbenchError(
                f"{name} has no experts for {task}: neither for the direction nor for both its languages."
            )
        kept: dict[tuple[StackName, int], tuple[int, ...]] = {}
        for number, layer in enumerate(layers):
            ids = (own if own is not None else sides[layer[0]]) or []
            if not set(ids) <= everything:
                raise WorkbenchError(
                    f"{name} is of another model: it names expert {max(ids)}; this model's {len(layers)} layers"
                    f" of {width} experts have the ids 0 to {len(everything) - 1}."
                )
            experts = sorted({i % width for i in ids if i // width == number})
            if experts or layer[0] in chosen:
                kept[layer] = tuple(experts)
        found[str(task)] = kept
    return found


def _numbering(config: ModelConfig) -> tuple[list[tuple[StackName, int]], int]:
    layers, experts = routed_layers(config)
    return cast("list[tuple[StackName, int]]", list(layers)), max(experts, default=0)


def _key(text: str, config: ModelConfig) -> str:
    """A language or a direction in our writing; anything else as it is."""
    for read in (
        lambda: find_language(text, config.languages).code,
        lambda: str(parse_task(text, config.languages)),
    ):
        try:
            return str(read())
        except (TaskError, UnknownLanguageError):
            continue
    return text
