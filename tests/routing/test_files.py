"""Routes and usage that were written are read as they were; what is no such table is refused in a line."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pandas as pd
import pytest

from tests.models import captions, translator
from workbench.cli.tracing import SUFFIXES as COMMANDS
from workbench.errors import WorkbenchError
from workbench.routing.files import SUFFIXES, read_routes, read_usage, write_routes
from workbench.routing.trace import COLUMNS, Routes, trace_routes
from workbench.routing.usage import expert_usage


@pytest.fixture(scope="module")
def routes() -> Routes:
    model = translator("token", "target")
    one = trace_routes(model, [captions()[0], "", "NA nan 走"], "en", "de", ["Ein Hund.", "", "NA"])
    return one + trace_routes(model, ["A dog."], "en", "fr", ["Un chien."])


def test_routes_are_read_as_they_were_written(routes, tmp_path):
    write_routes(routes, tmp_path / "routes.parquet")
    read = read_routes(tmp_path / "routes.parquet")
    pd.testing.assert_frame_equal(read.frame, routes.frame)
    for name in (
        "tasks",
        "sources",
        "translations",
        "layers",
        "experts",
        "experts_by_layer",
        "cut",
    ):
        assert getattr(read, name) == getattr(routes, name)
    assert read.model == routes.model
    table = pd.read_parquet(tmp_path / "routes.parquet")  # the contract's table, for any reader
    assert tuple(table.columns) == COLUMNS
    twice = read_routes([tmp_path / "routes.parquet"] * 2)
    assert twice.sources == routes.sources * 2


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_bare_table_is_enough(routes, tmp_path, suffix):
    path = tmp_path / f"routes{suffix}"
    write_routes(routes, path)
    read = read_routes(path)
    pd.testing.assert_frame_equal(
        read.frame.astype({"task": str, "stack": str, "token": str}),
        routes.frame.astype({"task": str, "stack": str, "token": str}),
        check_dtype=False,
    )
    assert (read.tasks, read.layers) == (routes.tasks, routes.layers)
    assert read.experts == {
        stack: rows["expert"].max() + 1
        for stack, rows in routes.frame.groupby("stack", observed=True)
    }
    assert read.sources == (routes.sources[0], "", "NA nan <unk>", "A dog.")
    assert read.translations[0] == "Ein Hund."


WRONG = {
    "gate": (lambda f: f.assign(gate=["x", *f["gate"][1:]]), "row 1: gate is x, which is none"),
    "expert": (lambda f: f.assign(expert=-1), "row 1: expert is -1"),
    "large": (lambda f: f.assign(expert=40_000), "row 1: expert is 40000"),
    "stack": (lambda f: f.assign(stack="both"), "a stack 'both'"),
    "task": (lambda f: f.assign(task="nonsense"), "nonsense"),
    "twice": (lambda f: pd.concat([f, f[:1]]), "two rows for one choice"),
    "column": (lambda f: f.drop(columns="rank"), "no column rank"),
    "none": (lambda f: f[:0], "no rows"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_table_that_is_none_is_refused_in_a_line(routes, tmp_path, case):
    change, message = WRONG[case]
    change(routes.frame.astype({"task": str, "stack": str})).to_csv(tmp_path / "r.csv", index=False)
    with pytest.raises(WorkbenchError, match=re.escape(message)) as refused:
        read_routes(tmp_path / "r.csv")
    assert "\n" not in str(refused.value)


def test_a_table_that_its_own_words_do_not_fit_is_refused(routes, tmp_path):
    for change, says in (
        ({"sources": routes.sources[:2]}, "more sentences than texts"),
        ({"experts": dict.fromkeys(routes.experts, 1)}, "has no expert"),
    ):
        write_routes(dataclasses.replace(routes, **change), tmp_path / "r.parquet")
        with pytest.raises(WorkbenchError, match=says):
            read_routes(tmp_path / "r.parquet")


def test_other_files_are_refused_in_a_line(routes, tmp_path):
    (tmp_path / "r.parquet").write_bytes(b"PAR1 no")
    (tmp_path / "r.txt").write_text("x", encoding="utf-8")
    for name, message in (
        ("r.parquet", "Cannot read"),
        ("r.txt", "must end in"),
        ("no.csv", "no.csv"),
    ):
        with pytest.raises(WorkbenchError, match=message) as refused:
            read_routes(tmp_path / name)
        assert "\n" not in str(refused.value)
    with pytest.raises(WorkbenchError, match="empty"):
        read_routes([])
    with pytest.raises(WorkbenchError, match="must end in"):
        write_routes(routes, tmp_path / "r.xlsx")


def test_the_command_writes_all_that_can_be_read():
    assert COMMANDS == SUFFIXES  # the command knows them without importing JAX


def test_usage_is_read_as_it_was_written(routes, tmp_path):
    usage = expert_usage(routes)
    (tmp_path / "usage.json").write_text(usage.to_json(), encoding="utf-8")
    read = read_usage(tmp_path / "usage.json")
    assert (read.tasks, read.layers, read.experts, read.model) == (
        (usage.tasks, usage.layers, usage.experts, usage.model)
    )
    for name in ("counts", "firsts", "tokens"):
        np.testing.assert_array_equal(getattr(read, name), getattr(usage, name))
    np.testing.assert_allclose(read.weights, usage.weights, atol=1e-4)
    table = json.loads(usage.to_json())
    del table["layers"][0]["share"]
    odd = json.loads(usage.to_json()) | {"tasks": ["nonsense"]}
    for text, message in (
        (json.dumps(odd), "nonsense"),
        ("{", "not valid JSON"),
        ("[]", "no usage"),
        (json.dumps(table), "share"),
    ):
        (tmp_path / "usage.json").write_text(text, encoding="utf-8")
        with pytest.raises(WorkbenchError, match=message):
            read_usage(tmp_path / "usage.json")
