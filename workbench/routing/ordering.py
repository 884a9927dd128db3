"""Orders: of tasks and of experts, so that what belongs together stands together."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.routing.similarity import divergences
from workbench.tasks import parse_task

#: As given; by source or by target language; or those that use the experts alike side by side.
TaskOrder = Literal["given", "source", "target", "alike"]
#: By number; the most used first; or each beside the task that uses it most.
ExpertOrder = Literal["number", "use", "task"]


def order_tasks(shares: pd.DataFrame, by: TaskOrder) -> list[str]:
    """The tasks of `shares` (a row a task, a column an expert) in order.

    Raises:
        WorkbenchError: there is no such order.
    """
    tasks = [str(task) for task in shares.index]
    _check(by, TaskOrder, "tasks")
    if by == "source":
        return sorted(tasks, key=lambda task: (parse_task(task).source, parse_task(task).target))
    if by == "target":
        return sorted(tasks, key=lambda task: (parse_task(task).target, parse_task(task).source))
    if by == "alike" and len(tasks) > 2:
        return [tasks[i] for i in _leaves(divergences(shares.to_numpy(float)))]
    return tasks


def order_experts(shares: pd.DataFrame, by: ExpertOrder, most: int | None = None) -> list[int]:
    """The experts of `shares` (a row a task, a column an expert) in order, or the `most` that are used most of all tasks.

    Raises:
        WorkbenchError: there is no such order.
    """
    _check(by, ExpertOrder, "experts")
    use = shares.mean().to_numpy()
    experts = np.argsort(-use, kind="stable")[:most]
    if by == "number":
        experts = np.sort(experts)
    elif by == "task":
        first = shares.to_numpy().argmax(axis=0)
        experts = np.sort(experts)
        # An expert that no task uses belongs to none.
        place = np.where(use > 0, first, len(shares))
        experts = experts[np.lexsort((-use[experts], place[experts]))]
    return [int(shares.columns[i]) for i in experts]


def average_linkage(divergence: np.ndarray) -> Any:
    """SciPy's tree of average linkage over divergences [N, N], with neighbours as alike as the tree allows."""
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import squareform

    condensed = squareform((divergence + divergence.T) / 2, checks=False)
    return linkage(condensed, "average", optimal_ordering=True)


def _leaves(divergence: np.ndarray) -> list[int]:
    """The rows in the order of the tree's leaves; those without a divergence at the end."""
    from scipy.cluster.hierarchy import leaves_list

    known = np.flatnonzero(~np.isnan(np.diag(divergence)))
    missing = [i for i in range(len(divergence)) if i not in set(known)]
    if len(known) < 3:
        return [*map(int, known), *missing]
    order = leaves_list(average_linkage(divergence[np.ix_(known, known)]))
    return [*(int(known[i]) for i in order), *missing]


def _check(by: str, kind: Any, what: str) -> None:
    if by not in get_args(kind):
        raise WorkbenchError(
            f"{what} cannot be ordered by {by!r}. Accepted: {', '.join(get_args(kind))}."
        )
