"""Usage: how often each expert is chosen, by task, stack and layer, as a labelled array."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from workbench.arguments import as_one
from workbench.errors import WorkbenchError
from workbench.routing.trace import Routes
from workbench.wording import counted


@dataclass(frozen=True, eq=False)
class Usage:
    """Counts of choices, labelled.

    counts: float64 [tasks, layers, E], the tokens of a task that chose an expert, at any rank. weights: the same shape,
    the sum of their gates. firsts, first_weights: the same of the tokens that chose it first. tokens: [tasks,
    layers], tokens routed; padding is never counted, language and end tokens are. tasks: as text. layers: (stack,
    layer) pairs. A layer with fewer experts than E has zeros beyond. model: the network's name.
    """

    counts: np.ndarray
    weights: np.ndarray
    tokens: np.ndarray
    tasks: tuple[str, ...]
    layers: tuple[tuple[str, int], ...]
    experts: tuple[int, ...]
    firsts: np.ndarray
    first_weights: np.ndarray
    model: str = ""

    def __repr__(self) -> str:
        return f"Usage({counted(len(self.tasks), 'task')}, {layers_in_words(self.experts)})"

    def to_frame(self) -> pd.DataFrame:
        """Tidy: task, stack, layer, expert, tokens (choosing it), share (of the task's tokens), gate (mean over all
        of the task's tokens, zero where not chosen).
        """
        width = np.arange(self.counts.shape[2])
        there = np.broadcast_to(width < np.array(self.experts)[:, None], self.counts.shape)
        task, layer, expert = np.nonzero(there)
        stacks, numbers = zip(*self.layers, strict=True) if self.layers else ((), ())
        tokens = np.maximum(self.tokens, 1)[task, layer]
        return pd.DataFrame(
            {
                "task": np.array(self.tasks, object)[task],
                "stack": np.array(stacks, object)[layer],
                "layer": np.array(numbers, np.int64)[layer],
                "expert": expert,
                "tokens": self.counts[there].astype(np.int64),
                "share": self.counts[there] / tokens,
                "gate": self.weights[there] / tokens,
            }
        )

    def only(
        self,
        tasks: Sequence[str] | None = None,
        layers: Sequence[tuple[str, int]] | None = None,
    ) -> Usage:
        """The usage of some of the tasks and layers, in the order in which they are given; default all.

        Raises:
            WorkbenchError: there is no such task or layer here.
        """
        rows = _places(self.tasks, tasks, "task")
        columns = _places(self.layers, layers, "layer")
        arrays = {
            name: getattr(self, name)[np.ix_(rows, columns)]
            for name in ("counts", "weights", "firsts", "first_weights", "tokens")
        }
        return replace(
            self,
            **arrays,
            tasks=tuple(self.tasks[i] for i in rows),
            layers=tuple(self.layers[i] for i in columns),
            experts=tuple(self.experts[i] for i in columns),
        )

    def top_k(self, stack: str, layer: int) -> int:
        """Experts that a token of one layer chooses."""
        place = self.layers.index((stack, layer))
        return max(1, round(self.counts[:, place].sum() / max(1, self.tokens[:, place].sum())))

    def to_json(self) -> str:
        """The table as JSON: one object with the network's name, the tasks, layers and, for each, by expert: share and
        gate (at any rank), first and first_gate (ranked first); all over the tokens of the task.
        """
        table: dict[str, Any] = {"model": self.model, "tasks": list(self.tasks), "layers": []}
        for i, (stack, layer) in enumerate(self.layers):
            kept = slice(0, self.experts[i])
            total = np.maximum(self.tokens[:, i, None], 1)
            values = {
                "share": self.counts,
                "gate": self.weights,
                "first": self.firsts,
                "first_gate": self.first_weights,
            }
            table["layers"].append(
                {
                    "stack": stack,
                    "layer": layer,
                    "experts": self.experts[i],
                    "tokens": dict(
                        zip(self.tasks, self.tokens[:, i].astype(int).tolist(), strict=True)
                    ),
                    **{
                        name: dict(
                            zip(
                                self.tasks,
                                (array[:, i, kept] / total).round(6).tolist(),
                                strict=True,
                            )
                        )
                        for name, array in values.items()
                    },
                }
            )
        return json.dumps(table)


def _places(there: Sequence[Any], wanted: Sequence[Any] | None, noun: str) -> list[int]:
    """Where each of `wanted` is among those that are there."""
    if wanted is None:
        return list(range(len(there)))
    for one in wanted:
        if one not in there:
            raise WorkbenchError(
                f"There is no {noun} {one} in this usage, only {', '.join(map(str, there))}."
            )
    return [there.index(one) for one in wanted]


def layers_in_words(experts: Sequence[int]) -> str:
    """Layers with experts, of which `experts` says how many each has: `2 layers of 4 experts`."""
    several = "up to " if len(set(experts)) > 1 else ""
    most = counted(max(experts, default=0), "expert")
    return f"{counted(len(experts), 'layer')} of {several}{most}"


def expert_usage(routes: Routes) -> Usage:
    """How often, and with which weight, each task of `routes` chose each expert."""
    routes = as_one(routes, Routes, "routes", "what trace_routes returns")
    frame = routes.frame
    tasks = tuple(str(task) for task in routes.tasks)
    layers = tuple((stack, layer) for stack, found in routes.layers.items() for layer in found)
    experts = tuple(routes.experts_in(stack, layer) for stack, layer in layers)
    shape = (len(tasks), len(layers), max(experts))
    counts, weights, firsts, first_weights = (np.zeros(shape) for _ in range(4))
    tokens = np.zeros(shape[:2])
    place = {key: i for i, key in enumerate(layers)}
    labels = ["task", "stack", "layer", "expert"]
    best = frame[frame["rank"] == 0]
    for part, number, total in ((frame, counts, weights), (best, firsts, first_weights)):
        for (task, stack, layer, expert), gates in part.groupby(labels, observed=True)["gate"]:
            index = tasks.index(task), place[stack, layer], expert
            number[index], total[index] = len(gates), gates.sum()
    for (task, stack, layer), count in best.groupby(labels[:3], observed=True).size().items():
        tokens[tasks.index(task), place[stack, layer]] = count
    return Usage(
        counts, weights, tokens, tasks, layers, experts, firsts, first_weights, routes.model
    )
