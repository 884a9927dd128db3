"""Recipes of mtdata: which corpora make a language pair's text, fetched into the files that training reads."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from workbench.errors import WorkbenchError
from workbench.tasks import Task, parse_task

#: Where most corpora of the WMT shared tasks come from: without it there is nothing to fetch.
_HOST = ("data.statmt.org", 443)
#: mtdata's name of a split -> ours.
_SPLITS = {"train": "train", "dev": "val"}


class MtdataError(WorkbenchError):
    """mtdata, its recipes or the network is not there."""


@dataclass(frozen=True)
class MtdataRecipe:
    """One recipe: a language pair and the ids of the corpora that it is made of.

    file: the YAML file it stands in. name: mtdata's id of it. languages: the pair as mtdata writes it, such
    as `("ces", "eng")`; `task` has it in FLORES-200 codes. train, dev: ids of datasets.
    """

    file: Path
    name: str
    languages: tuple[str, str]
    task: Task
    train: tuple[str, ...]
    dev: tuple[str, ...]

    def place(self, directory: Path) -> Path:
        """Where mtdata puts what it fetches for this recipe."""
        return directory / "mtdata" / "-".join(self.languages)

    def command(self, directory: Path) -> list[str]:
        """What fetches it; `MTDATA_RECIPES` must name the directory of `file`."""
        return ["mtdata", "get-recipe", "-ri", self.name, "-o", str(self.place(directory))]

    def files(self, directory: Path) -> Iterator[tuple[Path, Path]]:
        """(what mtdata writes, what training reads) for each split and language."""
        for split, ours in _SPLITS.items():
            if getattr(self, split):
                for language in self.languages:
                    name = f"{ours}.{'-'.join(self.languages)}.{language}"
                    yield self.place(directory) / f"{split}.{language}", directory / name

    def is_fetched(self, directory: Path) -> bool:
        """Whether everything of it is there."""
        return all(file.exists() for _, file in self.files(directory))


def read_mtdata_recipes(file: Path) -> list[MtdataRecipe]:
    """The recipes in a YAML file as mtdata takes it: a list of `id`, `langs`, `train`, `dev`.

    Raises:
        WorkbenchError: the file cannot be read, is not such a list, or mtdata would not find it.
    """
    import yaml  # comes with huggingface-hub

    if not (file.name.startswith("mtdata.recipes") and file.suffix == ".yml"):
        raise MtdataError(f"{file}: mtdata finds recipes only in files named mtdata.recipes*.yml.")
    try:
        table = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise MtdataError(f"Cannot read {file}: {error.strerror or error}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise MtdataError(f"{file} is not YAML: {' '.join(str(error).split())}.") from error
    try:
        return [_recipe(file, **entry) for entry in table]
    except (TypeError, ValueError) as error:
        if isinstance(error, WorkbenchError):
            raise
        raise MtdataError(
            f"{file} is not a list of recipes with id, langs, train and dev ({error})."
        ) from error


def _recipe(
    file: Path, id: str, langs: str, train: Sequence[str], dev: Sequence[str] = (), **_: object
) -> MtdataRecipe:
    first, second = langs.split("-")
    return MtdataRecipe(file, id, (first, second), parse_task(langs), tuple(train), tuple(dev))


def chosen_recipes(recipes: Sequence[MtdataRecipe], pairs: Sequence[str]) -> list[MtdataRecipe]:
    """Those for `pairs`, written as tasks in either order; all where there are none.

    Raises:
        WorkbenchError: there is no recipe for a pair.
    """
    by_pair = {frozenset((recipe.task.source, recipe.task.target)): recipe for recipe in recipes}
    chosen = []
    for pair in pairs:
        task = parse_task(pair)
        if frozenset((task.source, task.target)) not in by_pair:
            known = ", ".join("-".join(recipe.languages) for recipe in recipes)
            raise MtdataError(f"There is no recipe for {task}. There are for: {known}.")
        chosen.append(by_pair[frozenset((task.source, task.target))])
    return chosen or list(recipes)


def check_can_fetch() -> None:
    """Raise MtdataError where mtdata is not installed or the network is out of reach."""
    if _program() is None:
        raise MtdataError("mtdata is not installed, so nothing was fetched: pip install mtdata.")
    try:
        socket.create_connection(_HOST, timeout=10).close()
    except OSError as error:
        raise MtdataError(
            f"Cannot reach {_HOST[0]} ({error.strerror or error}), so nothing was fetched. Run the same command"
            " where there is a network."
        ) from error


def fetch(recipe: MtdataRecipe, directory: Path) -> None:
    """Fetch a recipe and link it as `{split}.{pair}.{language}` into `directory`; done once, it stays.

    Raises:
        WorkbenchError: mtdata failed, or did not write what it should have.
    """
    if recipe.is_fetched(directory):
        return
    program, *arguments = recipe.command(directory)
    ended = subprocess.run(
        [_program() or program, *arguments],
        env=os.environ | {"MTDATA_RECIPES": str(recipe.file.parent.absolute())},
        stdout=sys.stderr,  # results alone go to standard output
        check=False,
    )
    missing = [source for source, _ in recipe.files(directory) if not source.exists()]
    if ended.returncode or missing:
        what = f"ended with {ended.returncode}" if ended.returncode else f"wrote no {missing[0]}"
        raise MtdataError(
            f"mtdata {what} for {recipe.name}: what it says stands above. Run the same command again to go on."
        )
    for source, target in recipe.files(directory):
        target.unlink(missing_ok=True)
        target.symlink_to(os.path.relpath(source, directory))


def _program() -> str | None:
    """mtdata's program, on the path or beside this Python."""
    return shutil.which("mtdata") or shutil.which("mtdata", path=str(Path(sys.executable).parent))
