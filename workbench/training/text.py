"""The text of a run: the pairs that its recipe trains on, and those that it is validated on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from workbench.errors import WorkbenchError
from workbench.evaluation.testset import UnreachableError, load_testset, sacrebleu_tasks
from workbench.tasks import Task
from workbench.text.corpus import read_tsv
from workbench.text.pairs import Pairs, listed, pairs_of, read_pairs
from workbench.training.recipe import DataRecipe, Recipe, RecipeError

#: What `data.valid` begins with when it names test sets of sacreBLEU.
SACREBLEU = "sacrebleu:"
_TABLES = (".tsv", ".tsv.gz")


def training_text(recipe: Recipe) -> Pairs:
    """The pairs of every direction of the recipe that it trains on.

    `data.directory` holds the split `data.train`, as `read_pairs` reads it; or it is itself a table, as
    `read_tsv` reads it. `data.train` may also name a table, or a split elsewhere: it is a path, taken from
    the directory unless it is absolute. Everything is held in memory, about the size of the files and 60
    bytes a line, until it is tokenised.

    Raises:
        WorkbenchError: a direction has no text, or its files are damaged or not parallel.
    """
    directory = Path(recipe.data.directory)
    if _is_table(directory):
        if recipe.data.train != DataRecipe.train:
            raise RecipeError(
                f"data.directory is the table {directory}, which has no split {recipe.data.train!r}: leave"
                " data.train out, or let data.directory be the directory of both."
            )
        return pairs_of(read_tsv(directory), recipe.tasks)
    return _read(directory / recipe.data.train, recipe.tasks)


def validation_text(recipe: Recipe) -> Pairs:
    """The pairs of every direction of the recipe that it is validated on: `data.valid`.

    A split or a table, as `training_text` finds them; or test sets of sacreBLEU, such as
    `sacrebleu:wmt19,wmt18`, which are downloaded once: a direction is validated on the first that has it.

    Raises:
        WorkbenchError: as `training_text`; a test set is unknown or cannot be downloaded.
    """
    data = recipe.data
    if data.valid.startswith(SACREBLEU):
        names = [name.strip() for name in data.valid.removeprefix(SACREBLEU).split(",")]
        return _from_sacrebleu(names, recipe.tasks)
    directory = Path(data.directory)
    if _is_table(directory):
        if not _is_table(Path(data.valid)):
            raise RecipeError(
                f"data.directory is the table {directory}, which has no split {data.valid!r}: let data.valid"
                f" name another table, or {SACREBLEU}NAME."
            )
        directory = directory.parent
    return _read(directory / data.valid, recipe.tasks)


def located(data: DataRecipe) -> DataRecipe:
    """The same data with `train` and `valid` as absolute paths, so that `directory` can be another one."""
    directory = Path(data.directory).absolute()
    base = directory.parent if _is_table(directory) else directory
    train = directory if _is_table(directory) else base / data.train
    valid = data.valid if data.valid.startswith(SACREBLEU) else str(base / data.valid)
    return dataclasses.replace(data, train=str(train), valid=valid)


def _read(place: Path, tasks: tuple[Task, ...]) -> Pairs:
    if _is_table(place):
        return pairs_of(read_tsv(place), tasks)
    return read_pairs(place.parent, place.name, tasks)


def _is_table(path: Path) -> bool:
    return path.name.endswith(_TABLES)


def _from_sacrebleu(names: list[str], tasks: tuple[Task, ...]) -> Pairs:
    chosen: dict[Task, str] = {}
    for name in names:
        there = sacrebleu_tasks(name, tasks)
        chosen = {**dict.fromkeys(there, name), **chosen}
    lacking = [task for task in tasks if task not in chosen]
    if lacking:
        raise WorkbenchError(
            f"data.valid: {', '.join(names)} of sacreBLEU have no {listed(lacking)}. Name further test sets, with"
            " commas between."
        )
    sides = {}
    for task in tasks:
        try:
            testset = load_testset(chosen[task], task)
        except UnreachableError as error:
            raise WorkbenchError(
                f"{error.what} It needs a network once; offline, let data.valid name a split of"
                " data.directory or a table."
            ) from error
        sides[task] = testset.sources, testset.references
    return Pairs(sides)
