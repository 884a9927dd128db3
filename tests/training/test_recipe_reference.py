"""docs/recipes.md: every key of a recipe, with its type and default, and nothing else."""

import dataclasses
import json
import re
import typing
from pathlib import Path
from typing import Literal, get_args, get_origin

import pandas as pd
import pytest

from workbench.training.recipe import Recipe
from workbench.training.recipe_changes import FREE

PAGE = Path(__file__).parents[2] / "docs/recipes.md"


def type_name(hint):
    if get_origin(hint) is Literal:
        return " ".join(f"`{value}`" for value in get_args(hint))
    if get_origin(hint) is tuple:
        return f"list of {type_name(get_args(hint)[0])}s"
    return {str: "text", int: "whole number", float: "number", bool: "boolean"}[hint]


def rows(kind, prefix=""):
    """Key, type and default of every field, those of tables after the others."""
    hints = typing.get_type_hints(kind)
    nested = [
        item for item in dataclasses.fields(kind) if dataclasses.is_dataclass(hints[item.name])
    ]
    for item in dataclasses.fields(kind):
        if item not in nested:
            needed = item.default is dataclasses.MISSING
            default = "needed" if needed else f"`{json.dumps(item.default)}`"
            yield prefix + item.name, type_name(hints[item.name]), default
    for item in nested:
        yield from rows(hints[item.name], f"{item.name}.")


def test_the_page_has_every_key_type_and_default_and_a_meaning():
    text = PAGE.read_text(encoding="utf-8")
    found = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if re.match(r"\| `[a-z_.]+` \|", line)
    ]
    assert [tuple(row[:3]) for row in found] == [
        (f"`{key}`", kind, default) for key, kind, default in rows(Recipe)
    ]
    assert all(len(row) == 4 and row[3] for row in found)


def test_the_page_names_the_keys_that_may_change():
    text = " ".join(PAGE.read_text(encoding="utf-8").split())
    [sentence] = re.findall(r"may change on the way: (.*?) is not linear", text)
    assert re.findall(r"`([a-z_.]+)`", sentence) == [*FREE, "run.steps", "objective.schedule"]


def test_the_lines_that_plot_work(tmp_path, monkeypatch):
    pytest.importorskip("altair")
    [code] = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "runs/first").mkdir(parents=True)
    valid = {"valid_nats": {"average": 3.0}, "valid_bleu": {"average": 1.0}}
    lines = [{"step": 0, "recipe": {}}, {"step": 1, "nats": 4.0}, {"step": 1, **valid}]
    file = tmp_path / "runs/first/metrics.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code, names)
    assert isinstance(names["lines"], pd.DataFrame)
    assert (tmp_path / "run.html").stat().st_size > 1000
