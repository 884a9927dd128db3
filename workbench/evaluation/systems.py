"""Systems: the models of a table, each under a name of its own, and what they have in common."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.arguments import as_list
from workbench.decoding.system import System
from workbench.errors import WorkbenchError
from workbench.tasks import Task


def name_systems(models: System | Sequence[System]) -> dict[str, System]:
    """The models by name, in order; of two with the same name, the later one is called "name (2)".

    Raises:
        WorkbenchError: there is no model.
    """
    systems: dict[str, System] = {}
    for model in as_list(models, System, "models", "a loaded model"):
        name, count = model.name, 1
        while name in systems:
            count += 1
            name = f"{model.name} ({count})"
        systems[name] = model
    if not systems:
        raise WorkbenchError("There is no model to evaluate: give at least one.")
    return systems


def common_tasks(models: Sequence[System]) -> list[Task]:
    """The directions that all of the models translate, in the order of the first one.

    Raises:
        WorkbenchError: there is none.
    """
    first, *others = models
    shared = [set(model.config.directions) for model in others]
    tasks = [t for t in first.config.directions if all(t in each for each in shared)]
    if not tasks:
        names = ", ".join(model.name for model in models)
        raise WorkbenchError(f"These models have no direction in common: {names}.")
    return tasks
