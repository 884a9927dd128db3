"""Choices: what the router of a task-routed stack decides for some tasks, once and for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from workbench.config import ModelConfig, StackConfig, StackName
from workbench.nn.routers import Router
from workbench.tasks import Task


@dataclass(frozen=True)
class Choices:
    """What the tasks need of one stack: the router rows of their keys, ascending, and the keys themselves;
    the union of the experts that these choose, layer by layer, ascending.
    """

    rows: tuple[int, ...]
    keys: tuple[str, ...]
    experts: Mapping[int, tuple[int, ...]]

    @property
    def folds(self) -> bool:
        """Whether all tasks have the same key, so that nothing is left to choose."""
        return len(self.rows) == 1


def by_task(config: ModelConfig) -> list[StackName]:
    """The stacks that are routed by task."""
    return [
        name for name, stack in config.stacks if stack.router and stack.router.granularity == "task"
    ]


def choices_of(
    stack: StackConfig, routers: Mapping[int, Router], width: int, tasks: Sequence[Task]
) -> Choices:
    """The choices of a stack's routers (by layer), over states of width D."""
    assert stack.router is not None
    rows = tuple(sorted({stack.router.key_index(task) for task in tasks}))
    experts = {}
    for layer, router in routers.items():
        found = {int(e) for row in rows for e in choice_of(router, row, width)[0]}
        experts[layer] = tuple(sorted(found))
    return Choices(rows, tuple(stack.router.keys[row] for row in rows), experts)


def choice_of(router: Router, row: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Experts [K] and gates [K] that the network's own router gives the task key in `row`."""
    # A task router looks at neither states nor sentences.
    routing = router(jnp.zeros((1, 1, width)), jnp.zeros((1, width)), jnp.array([row]))
    return np.asarray(routing.experts[0, 0]), np.asarray(routing.gates[0, 0])


def remainder_of(
    router: Router, rows: Sequence[int], experts: Sequence[int], width: int
) -> np.ndarray:
    """The logit [keys] of all that these task keys could have chosen besides `experts`, float32."""
    count = len(rows)
    routing = router(jnp.zeros((count, 1, width)), jnp.zeros((count, width)), jnp.asarray(rows))
    kept = np.asarray(routing.logits[:, 0], np.float64)[:, list(experts)]
    mine = np.asarray(routing.probabilities[:, 0], np.float64)[:, list(experts)].sum(axis=1)
    total = kept.max(axis=1) + np.log(np.exp(kept - kept.max(axis=1, keepdims=True)).sum(axis=1))
    lost = np.maximum(1 - mine, 1e-30)
    return np.asarray(total + np.log(lost) - np.log(mine), np.float32)
