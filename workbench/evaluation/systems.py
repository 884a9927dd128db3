"""Systems: the models of a table, each under a name of its own, and what they have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from workbench.arguments import as_list
from workbench.checkpoint.components import parameters_by_component
from workbench.checkpoint.tensor_files import weight_files
from workbench.decoding.system import System
from workbench.decoding.translator import Translator
from workbench.errors import WorkbenchError
from workbench.tasks import Task


class Size(NamedTuple):
    """What a system takes: parameters, and bytes of its weights in memory and on disk.

    memory is None where another engine holds the weights, disk where they were not saved.
    """

    parameters: int
    memory: int | None
    disk: int | None


def size_of(system: System) -> Size:
    """The size of a system."""
    parameters = sum(parameters_by_component(system.config).values())
    if not isinstance(system, Translator):
        return Size(parameters, None, None)
    disk = None
    if system.path is not None and system.path.is_dir():
        disk = sum(file.stat().st_size for file in weight_files(system.path))
    return Size(parameters, system.weight_bytes, disk)


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
