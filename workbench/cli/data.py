"""`workbench data`: training text fetched through mtdata."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.cli.options import new_command
from workbench.cli.output import note

if TYPE_CHECKING:
    from workbench.text.mtdata import MtdataRecipe


def add_parser(commands: Any) -> None:
    """Add this command."""
    parser = new_command(
        commands,
        "data",
        run,
        "Fetch the corpora of an mtdata recipe as training text, or say what would be fetched.",
    )
    parser.add_argument(
        "recipes", metavar="RECIPES", help="a file mtdata.recipes*.yml, such as recipes/wmt's"
    )
    parser.add_argument(
        "-o", "--output", required=True, metavar="DIR", help="gets {train,val}.PAIR.LANGUAGE"
    )
    parser.add_argument(
        "--pair", action="append", default=[], metavar="A-B", help="only this one; may be repeated"
    )
    parser.add_argument("--list", action="store_true", help="only say what would be fetched")


def run(args: argparse.Namespace) -> None:
    """List what is missing; fetch it where that can be done."""
    from workbench.text.mtdata import check_can_fetch, chosen_recipes, fetch, read_mtdata_recipes

    directory = Path(args.output)
    recipes = chosen_recipes(read_mtdata_recipes(Path(args.recipes)), args.pair)
    missing = [recipe for recipe in recipes if not recipe.is_fetched(directory)]
    if args.list:
        _print(args, missing, directory)
        return
    if missing:
        try:
            check_can_fetch()
        except Exception:
            _print(args, missing, directory)
            raise
    for number, recipe in enumerate(missing, start=1):
        note(f"fetching {'-'.join(recipe.languages)}, {number} of {len(missing)}.")
        fetch(recipe, directory)
    if args.json:
        print(json.dumps({"directory": str(directory), "pairs": [str(r.task) for r in recipes]}))
    else:
        print(directory)


def _print(args: argparse.Namespace, recipes: list[MtdataRecipe], directory: Path) -> None:
    """What would be fetched: the datasets of each pair, and the command."""
    rows = [
        {
            "pair": "-".join(recipe.languages),
            "train": recipe.train,
            "dev": recipe.dev,
            "command": f"MTDATA_RECIPES={shlex.quote(str(recipe.file.parent.absolute()))} "
            + shlex.join(recipe.command(directory)),
        }
        for recipe in recipes
    ]
    if args.json:
        print(json.dumps(rows))
        return
    for row in rows:
        print(row["pair"])
        for split in ("train", "dev"):
            for dataset in row[split]:
                print(f"  {split:5}  {dataset}")
        print(f"  {row['command']}")
