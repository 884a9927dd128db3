"""Importance: what an expert is worth to a language or a direction, by five metrics of its gates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from workbench.errors import WorkbenchError
from workbench.routing.statistics import Statistics
from workbench.tasks import Task, parse_task

#: For whom experts are chosen: for all alike, for each direction, or for each language (encoder by the source's,
#: decoder by the target's).
Granularity = Literal["global", "pair", "language"]
GRANULARITIES: tuple[Granularity, ...] = ("global", "pair", "language")

#: Koishekenov et al. (arXiv 2212.09811), section 3: metric -> values [tasks, layers, E] of statistics.
METRICS: dict[str, Callable[[Statistics], np.ndarray]] = {
    "top1": lambda s: s.top1,
    "top2": lambda s: s.top2,
    "load-balance": lambda s: s.top1 * s.mean,
    "vanilla": lambda s: s.top1 * s.conf1,
    "importance": lambda s: s.top1 * np.exp(s.conf1),
}


def values_of(statistics: Statistics, metric: str) -> np.ndarray:
    """The metric of every expert, [tasks, layers, E].

    Raises:
        WorkbenchError: the metric is unknown.
    """
    if metric not in METRICS:
        raise WorkbenchError(f"Unknown metric {metric!r}. Accepted: {', '.join(METRICS)}.")
    return METRICS[metric](statistics)


def values_by_key(
    statistics: Statistics, metric: str, granularity: Granularity, tasks: Sequence[Task]
) -> dict[str, np.ndarray]:
    """What each expert is worth to whom: key -> values [layers, E], the mean over the key's tasks.

    Keys: "global", over `tasks`; each of `tasks`, for "pair"; for "language" the sources and
    targets of `tasks`, as `encoder eng_Latn` and `decoder deu_Latn`, over all tasks of the statistics that have
    that source or target; of such a key only the layers of that stack mean anything.

    Raises:
        WorkbenchError: the metric or granularity is unknown, or a task has no statistics.
    """
    values = values_of(statistics, metric)
    rows = statistics.rows([str(task) for task in tasks])
    if granularity == "global":
        return {"global": values[rows].mean(axis=0)}
    if granularity == "pair":
        return {str(task): values[row] for task, row in zip(tasks, rows, strict=True)}
    if granularity != "language":
        raise WorkbenchError(
            f"Unknown granularity {granularity!r}. Accepted: {', '.join(GRANULARITIES)}."
        )
    measured = [parse_task(task) for task in statistics.tasks]
    found: dict[str, np.ndarray] = {}
    for task in tasks:
        sides = {"encoder": [t.source == task.source for t in measured]}
        sides["decoder"] = [t.target == task.target for t in measured]
        for stack, mine in sides.items():
            key = f"{stack} {task.source if stack == 'encoder' else task.target}"
            found[key] = values[np.asarray(mine)].mean(axis=0)
    return found
