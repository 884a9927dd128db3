"""Stacks by name: the shape of an encoder or decoder whose experts are chosen as one word says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from workbench.config import ConfigError, RouterConfig, StackConfig
from workbench.tasks import Task, TaskKey, key_of

#: What a stack's router looks at. "dense" is a stack without experts; after "static-" the experts of each
#: source, target or pair are assigned by hand and not learned.
RoutingName = Literal[
    "dense",
    "token",
    "sentence",
    "source",
    "target",
    "pair",
    "static-source",
    "static-target",
    "static-pair",
]

_TASK_KEYS: dict[str, TaskKey] = {"source": "source", "target": "target", "pair": "pair"}


def routed_stack(
    routing: RoutingName,
    *,
    heads: int,
    widths: tuple[int, ...],
    tasks: Iterable[Task],
    experts: int,
    top_k: int,
    step: int,
    unit_gates: bool = False,
) -> StackConfig:
    """A stack of layers of these feed-forward `widths`, with `experts` in every `step`-th of them.

    tasks: those that a task router shall know.

    Raises:
        ConfigError: no layer would get experts, or there are not `top_k` to choose.
    """
    if routing == "dense":
        return StackConfig(heads, widths)
    layers = tuple(range(step - 1, len(widths), step))
    if not layers:
        raise ConfigError(
            f"No layer gets experts: with one in every {step} layers a stack needs at least {step}, and this"
            f" one has {len(widths)}."
        )
    if not 1 <= top_k <= experts:
        raise ConfigError(
            f"top_k is {top_k}, but a layer has {experts} experts: choose 1 to {experts}."
        )
    if routing == "token" or routing == "sentence":  # mypy narrows on this form
        router = RouterConfig(routing, top_k, unit_gates=unit_gates)
    else:
        key = _TASK_KEYS[routing.removeprefix("static-")]
        keys = tuple(sorted({key_of(task, key) for task in tasks}))
        static = routing.startswith("static-")
        assignment = even_assignment(keys, experts, top_k) if static else ()
        router = RouterConfig("task", top_k, key, keys, unit_gates and not static, assignment)
    return StackConfig(heads, widths, layers, experts, router)


def even_assignment(keys: Sequence[str], experts: int, top_k: int) -> tuple[tuple[int, ...], ...]:
    """Experts by hand: each key takes the next `top_k`, and after the last expert comes the first again.

    Tasks are alone with their experts as long as these last; then no expert has more than one task more
    than another.
    """
    return tuple(
        tuple((row * top_k + rank) % experts for rank in range(top_k)) for row in range(len(keys))
    )
