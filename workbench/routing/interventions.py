"""Interventions: what a network does when some of its experts are switched off, or another task's are used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from numbers import Integral
from pathlib import Path

from flax import nnx

from workbench.arguments import as_list, as_one
from workbench.config import StackName
from workbench.decoding.translator import Translator
from workbench.errors import WorkbenchError
from workbench.languages import UnknownLanguageError, find_language
from workbench.tasks import TaskError, parse_task

#: A layer with experts: its stack and its number.
Layer = tuple[StackName, int]


class WhatIf(Translator):
    """A translator whose routers were changed for a look at what happens; it shares the other's weights.

    It cannot be saved, nor be the parent of another checkpoint: no file says what was changed.
    """

    def save(self, directory: str | Path, dtype: str = "float32") -> None:
        """Refuse. Raises WorkbenchError."""
        raise WorkbenchError(
            f"{self.name} is a what-if and cannot be saved: prune or extract the original instead."
        )


def intervene(
    model: Translator,
    off: Mapping[Layer, Iterable[int]] | None = None,
    only: Mapping[Layer, Iterable[int]] | None = None,
    route_as: Mapping[StackName, str] | None = None,
    name: str | None = None,
) -> WhatIf:
    """`model` with other routing; it is left as it is, and its weights are shared, not copied.

    A router's softmax is over the experts that are left, of which it chooses as many as before, or all if there are
    fewer. Experts keep their numbers.

    Args:
        model: any with experts.
        off: (stack, layer) -> experts that are switched off.
        only: (stack, layer) -> experts that are left; all others are switched off.
        route_as: of stacks that are routed by task, the key whose experts every sentence gets: a language, or a
            direction where the router's key is the pair.
        name: of the result; by default it says what was changed.

    Raises:
        WorkbenchError: there is no such layer, expert or key, none is left, or nothing is asked for.
    """
    as_one(model, Translator, "model", "a loaded model")
    noun = "a dictionary of (stack, layer) to numbers of experts"
    off, only = as_one(off or {}, Mapping, "off", noun), as_one(only or {}, Mapping, "only", noun)
    noun = "a dictionary of stacks to a language or direction"
    route_as = as_one(route_as or {}, Mapping, "route_as", noun)
    graph, state = nnx.split(model.network)
    network = nnx.merge(graph, state)
    said = []
    for layer, experts, leave in [
        *((layer, experts, False) for layer, experts in off.items()),
        *((layer, experts, True) for layer, experts in only.items()),
    ]:
        total = _experts(model, layer)
        given = {int(e) for e in as_list(experts, Integral, "experts", "a number of an expert")}
        if not given and not leave:
            continue
        if not given <= set(range(total)):
            raise WorkbenchError(
                f"{layer[0]} layer {layer[1]} has the experts 0 to {total - 1}, not {min(given - set(range(total)))}."
            )
        router = getattr(network, layer[0]).layers[layer[1]].ffn.router
        gone = set(router.off) | (set(range(total)) - given if leave else given)
        if len(gone) == total:
            raise WorkbenchError(f"No expert of {layer[0]} layer {layer[1]} would be left.")
        if router.assignment:
            raise WorkbenchError(
                f"{layer[0]} layer {layer[1]} has its experts assigned by hand: its router chooses nothing. Use"
                " route_as."
            )
        router.off = tuple(sorted(gone))
        router.top_k = min(router.top_k, total - len(gone))
        listed = ", ".join(map(str, sorted(given)))
        said.append(f"{layer[0]} {layer[1]} {'only' if leave else 'without'} {listed}")
    for stack, key in route_as.items():
        row, known = _row(model, stack, key)
        for number in getattr(model.config, stack).expert_layers:
            getattr(network, stack).layers[number].ffn.router.reads = row
        said.append(f"{stack} as {known}")
    if not said:
        raise WorkbenchError("Nothing is changed: give off, only or route_as.")
    called = name or f"{model.name}: {'; '.join(said)}"
    return WhatIf(called, model.config, model.tokenizer, network, path=model.path, card=model.card)


def _experts(model: Translator, layer: Layer) -> int:
    routed = [(name, i) for name, stack in model.config.stacks for i in stack.expert_layers]
    if layer not in routed:
        found = ", ".join(f"{stack} {i}" for stack, i in routed)
        raise WorkbenchError(
            f"There is no layer {layer!r} with experts in {model.name}. Layers with experts: {found or 'none'}."
        )
    return int(getattr(model.config, layer[0]).experts_in(layer[1]))


def _row(model: Translator, stack: StackName, key: str) -> tuple[int, str]:
    """The row of a task router that `key` means, and the key as it is known there."""
    stacks = dict(model.config.stacks)
    if stack not in stacks:
        raise WorkbenchError(f"There is no stack {stack!r}: name the encoder or the decoder.")
    router = stacks[stack].router
    if router is None or router.task_key is None:
        raise WorkbenchError(f"The {stack} of {model.name} is not routed by task.")
    try:
        if router.task_key == "pair":
            known = str(parse_task(key, model.config.languages))
        else:
            known = find_language(key, model.config.languages).code
    except (TaskError, UnknownLanguageError) as error:
        raise WorkbenchError(
            f"The {stack} is routed by {router.task_key}, which {key!r} is not: {error}"
        ) from error
    if known not in router.keys:
        raise WorkbenchError(
            f"The router of the {stack} knows no {known}; it knows: {', '.join(router.keys)}."
        )
    return router.keys.index(known), known
