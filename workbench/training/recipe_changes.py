"""Going on with a run under a recipe that has changed: what may change, and what to do otherwise."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError
from workbench.training.metrics import read_metrics
from workbench.training.recipe import Recipe, recipe_from, recipe_table
from workbench.training.recipe_file import PATHS

#: Keys that may change while a run goes on: what is trained, and by what, stays as it was. A directory of text may
#: have moved; `check_counts` sees whether it holds as much as before.
FREE = ("name", "about", "data.directory", "run.log_every", "run.save_every", "run.mesh")


def changes(before: Recipe, after: Recipe) -> dict[str, tuple[Any, Any]]:
    """Key, such as `run.steps` -> its value in either recipe, where they differ."""
    return differences(recipe_table(before), recipe_table(after))


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The same of tables, one inside another; a path that is only written differently is the same."""
    old, new = _flat(before), _flat(after)
    pairs = {key: (old.get(key), new.get(key)) for key in {**old, **new}}
    return {key: pair for key, pair in pairs.items() if not _same(key, *pair)}


def refused(before: Recipe, after: Recipe, step: int) -> dict[str, tuple[Any, Any]]:
    """The changes with which a run cannot go on from `step`: it would be the run of no recipe.

    `run.steps` may change, to no less than `step`, where the learning rate does not depend on it.
    """
    found = {key: pair for key, pair in changes(before, after).items() if key not in FREE}
    if after.objective.schedule != "linear" and after.run.steps >= step:
        found.pop("run.steps", None)
    return found


def in_words(found: Mapping[str, tuple[Any, Any]]) -> str:
    """`run.seed (0, now 1), run.steps (20, now 40)`."""
    return ", ".join(
        f"{key} ({_shown(old)}, now {_shown(new)})" for key, (old, new) in found.items()
    )


def check_goes_on(output: Path, before: Recipe, after: Recipe, step: int) -> None:
    """Refuse to go on from `step` of the run in `output` where that would mix two recipes.

    Raises:
        WorkbenchError: with the keys that changed, and what to do instead.
    """
    found = refused(before, after, step)
    if found:
        raise WorkbenchError(
            f"{output} was begun with another recipe: {in_words(found)}. {way_on(output, found)}"
        )


def check_counts(metrics: Path, before: Recipe, after: Recipe, counts: Mapping[str, Any]) -> str:
    """How the text differs from what the run began with, in words; empty where it has as many pairs.

    Raises:
        WorkbenchError: it differs and its directory is another one.
    """
    first = next((line for line in read_metrics(metrics) if "recipe" in line), {})
    found = differences(
        {key: first[key] for key in counts if key in first},
        {key: value for key, value in json.loads(json.dumps(counts)).items() if key in first},
    )
    if found and "data.directory" in changes(before, after):
        raise WorkbenchError(
            f"{after.data.directory} does not hold the text that {metrics.parent} was begun with:"
            f" {in_words(found)}. Give that text, or choose another directory with -o."
        )
    return in_words(found)


def way_on(output: Path, found: Iterable[str]) -> str:
    """What to do instead of going on in `output` with these keys changed."""
    places = [output / "checkpoint", *sorted((output / "best").glob("step-*"))]
    start = next((place for place in places if place.is_dir()), None)
    text = "Give the same recipe to go on, or choose another directory with -o to begin anew"
    if start is not None:
        text += f" (workbench train --set run.start_from={start} begins with these weights)"
    if "run.steps" in found:
        text += "; where objective.schedule is not linear, run.steps may grow"
    return text + "."


def recorded_recipe(metrics: Path) -> Recipe | None:
    """The recipe that the newest lines of a run were made by; None where none is recorded or it is not known."""
    try:
        tables = [line["recipe"] for line in read_metrics(metrics) if "recipe" in line]
        return recipe_from(tables[-1]) if tables else None
    except (OSError, ValueError, KeyError, TypeError, WorkbenchError):
        return None


def _same(key: str, old: Any, new: Any) -> bool:
    if key in PATHS and old and new:
        return Path(old).resolve() == Path(new).resolve()
    return bool(old == new)


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in table.items():
        nested = _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {}
        found |= nested or {prefix + key: value}
    return found


def _shown(value: Any) -> str:
    return "none" if value is None else json.dumps(value, ensure_ascii=False)
