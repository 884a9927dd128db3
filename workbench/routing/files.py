"""Routes and usage in files: what was traced on one machine is looked at on another, without the network."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from workbench.arguments import as_json, as_list, as_one
from workbench.errors import WorkbenchError
from workbench.routing.trace import COLUMNS, TYPES, Routes
from workbench.routing.usage import Usage
from workbench.tasks import parse_task

#: How a table of routes may be written.
SUFFIXES = (".parquet", ".csv", ".jsonl")
#: Where a Parquet file has what is no column of the table.
_KEY = b"task_moe_routes"
_STACKS = ("encoder", "decoder")
#: Sentences are numbered from 0, and this is no number of one.
_MOST_SENTENCES = 10_000_000
#: Tokens that are no text: marks of ends and of languages, as NLLB and as M2M100 write them.
_MARK = re.compile(r"<s>|</s>|<pad>|[a-z]{3}_[A-Z][a-z]{3}|__\w+__")


def write_routes(routes: Routes, path: str | Path | BinaryIO, suffix: str | None = None) -> None:
    """The tidy table as a file, by the ending of its name: .parquet, .csv or .jsonl.

    A Parquet file also has the sentences, and how many experts there are: `read_routes` then gives the same routes.

    path: may be an open file. suffix: in place of the name's own ending, or where there is no name.

    Raises:
        WorkbenchError: another ending, or the file cannot be written.
    """
    routes = as_one(routes, Routes, "routes", "what trace_routes returns")
    form = check_suffix(str(path) if suffix is None else suffix)
    try:
        if form == ".parquet":
            table = pa.Table.from_pandas(routes.frame, preserve_index=False)
            also = {**(table.schema.metadata or {}), _KEY: json.dumps(_about(routes)).encode()}
            pq.write_table(table.replace_schema_metadata(also), path)
        elif form == ".csv":
            routes.frame.to_csv(path, index=False)
        else:
            routes.frame.to_json(path, orient="records", lines=True, force_ascii=False)
    except OSError as error:
        raise WorkbenchError(f"Cannot write {path}: {error}.") from error


def read_routes(paths: str | Path | Sequence[str | Path]) -> Routes:
    """Routes from a file that `workbench routes` or `write_routes` wrote, or from several of one network, joined.

    Any table with the columns of the contract will do. Where it is not a Parquet file of ours, sentences are put
    together from their tokens, and each stack is taken to have as many experts as the highest number says.

    Raises:
        WorkbenchError: a file cannot be read or is no such table, or the files are of different networks.
    """
    found: Routes | None = None
    for path in as_list(paths, (str, Path), "paths", "a file"):
        one = routes_from(Path(path), Path(path).name)
        found = one if found is None else found + one
    if found is None:
        raise WorkbenchError("paths is empty: give a file of routes.")
    return found


def routes_from(file: Path | BinaryIO, name: str) -> Routes:
    """As `read_routes`, of one file that may be open. name: what messages call it; its ending tells its form.

    Raises:
        WorkbenchError: it cannot be read, or is no such table.
    """
    about: dict[str, Any] | None = None
    form = check_suffix(name)
    try:
        if form == ".parquet":
            table = pq.read_table(file)
            text = (table.schema.metadata or {}).get(_KEY)
            about = None if text is None else json.loads(text)
            frame = table.to_pandas()
        elif form == ".csv":
            # A token may be what pandas takes for a missing value, such as NA.
            frame = pd.read_csv(file, keep_default_na=False)
        else:
            frame = pd.read_json(file, orient="records", lines=True, dtype={"token": str})
    except (OSError, ValueError, pa.ArrowException) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WorkbenchError(f"Cannot read {name}: {line}") from error
    frame = _checked(frame, name)
    try:
        return _with(frame, about) if about is not None else _alone(frame)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        if isinstance(error, WorkbenchError):
            raise
        raise WorkbenchError(f"{name} says wrongly what it holds ({error}).") from error


def read_usage(path: str | Path) -> Usage:
    """Usage from a JSON file that `workbench usage` wrote.

    Raises:
        WorkbenchError: the file cannot be read, or has something else.
    """
    path = Path(as_one(path, (str, Path), "path", "a file"))
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WorkbenchError(f"Cannot read {path}: {error.strerror}.") from error
    return usage_from_json(as_json(data, path.name), path.name)


def usage_from_json(table: Any, name: str) -> Usage:
    """The inverse of `Usage.to_json`, but for rounding. name: what messages call the file.

    Raises:
        WorkbenchError: it is something else.
    """
    try:
        tasks = tuple(map(str, table["tasks"]))
        rows = list(table["layers"])
        layers = tuple((str(row["stack"]), int(row["layer"])) for row in rows)
        experts = tuple(int(row["experts"]) for row in rows)
        if not tasks or {stack for stack, _ in layers} - set(_STACKS):
            raise ValueError("no tasks, or a stack that is neither encoder nor decoder")
        for task in tasks:
            parse_task(task)
        tokens = np.array([[row["tokens"][task] for row in rows] for task in tasks], np.float64)

        def array(key: str) -> np.ndarray:
            values = np.zeros((len(tasks), len(rows), max(experts)))
            for i, row in enumerate(rows):
                for t, task in enumerate(tasks):
                    values[t, i, : experts[i]] = row[key][task]
            return np.asarray(values * tokens[..., None])

        counts, weights, firsts, first_weights = map(
            array, ("share", "gate", "first", "first_gate")
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise WorkbenchError(
            f"{name} is no usage table, as `workbench usage -o` writes it ({type(error).__name__}: {error})."
        ) from error
    for values in (counts, weights, firsts, first_weights, tokens):
        if not np.isfinite(values).all() or (values < 0).any():
            raise WorkbenchError(f"{name} holds values that are negative or no numbers.")
    return Usage(
        counts.round(),
        weights,
        tokens,
        tasks,
        layers,
        experts,
        firsts.round(),
        first_weights,
        str(table.get("model", "")),
    )


def check_suffix(path: str) -> str:
    """The ending of a file of routes, or WorkbenchError; a bare ending will do."""
    for suffix in SUFFIXES:
        if path.endswith(suffix):
            return suffix
    raise WorkbenchError(
        f"{path} is no table of routes: its name must end in {', '.join(SUFFIXES)}."
    )


def _about(routes: Routes) -> dict[str, Any]:
    """What is no column: everything of `Routes` but the frame."""
    return {
        "model": routes.model,
        "tasks": list(map(str, routes.tasks)),
        "layers": {stack: list(layers) for stack, layers in routes.layers.items()},
        "experts": routes.experts,
        "experts_by_layer": [[*place, n] for place, n in routes.experts_by_layer.items()],
        "cut": list(routes.cut),
        "sources": list(routes.sources),
        "translations": list(routes.translations),
    }


def _with(frame: pd.DataFrame, about: dict[str, Any]) -> Routes:
    """Routes of a table that came with all else; ValueError where the two do not belong together."""
    found = Routes(
        frame,
        tuple(map(parse_task, about["tasks"])),
        tuple(map(str, about["sources"])),
        tuple(map(str, about["translations"])),
        {stack: tuple(map(int, layers)) for stack, layers in about["layers"].items()},
        {stack: int(n) for stack, n in about["experts"].items()},
        {(stack, int(layer)): int(n) for stack, layer, n in about["experts_by_layer"]},
        tuple(map(int, about["cut"])),
        str(about["model"]),
    )
    if frame["sentence"].max() >= len(found.sources):
        raise ValueError("it has more sentences than texts")
    most = frame.groupby(["stack", "layer"], observed=True)["expert"].max()
    for (stack, layer), expert in most.items():
        if layer not in found.layers[stack] or expert >= found.experts_in(stack, layer):
            raise ValueError(f"{stack} layer {layer} has no expert {expert}")
    return found


def _alone(frame: pd.DataFrame) -> Routes:
    """Routes of a bare table: what it does not say is taken from its rows."""
    stacks = [stack for stack in _STACKS if (frame["stack"] == stack).any()]
    by_stack = {stack: frame[frame["stack"] == stack] for stack in stacks}
    texts = {}
    for stack in _STACKS:
        texts[stack] = [""] * (int(frame["sentence"].max()) + 1 if len(frame) else 0)
        if stack in by_stack:
            rows = by_stack[stack]
            once = rows[(rows["rank"] == 0) & (rows["layer"] == rows["layer"].iloc[0])]
            for number, tokens in once.sort_values("position").groupby("sentence")["token"]:
                texts[stack][int(str(number))] = _joined(tokens)
    return Routes(
        frame,
        tuple(map(parse_task, dict.fromkeys(frame["task"].astype(str)))),
        tuple(texts["encoder"]),
        tuple(texts["decoder"]),
        {s: tuple(sorted(map(int, rows["layer"].unique()))) for s, rows in by_stack.items()},
        {stack: int(rows["expert"].max()) + 1 for stack, rows in by_stack.items()},
    )


def _joined(tokens: Sequence[str]) -> str:
    """A text from its pieces, special tokens and language codes left out."""
    return "".join(t for t in map(str, tokens) if not _MARK.fullmatch(t)).replace("▁", " ").strip()


def _checked(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """The columns of the contract, in their types. Raises WorkbenchError on a value that is none."""
    missing = [column for column in COLUMNS if column not in frame]
    if missing:
        raise WorkbenchError(
            f"{name} is no table of routes: it has no column {', '.join(missing)}. Needed are {', '.join(COLUMNS)}."
        )
    frame = frame[list(COLUMNS)].reset_index(drop=True)
    if frame.empty:
        raise WorkbenchError(f"{name} has no rows.")
    for column in ("sentence", "layer", "position", "rank", "expert", "gate"):
        values = pd.to_numeric(frame[column], errors="coerce")
        wrong = ~np.isfinite(values) | (values < 0)
        if column != "gate":
            wrong |= (values % 1 != 0) | (values > np.iinfo(TYPES[column]).max)
        if wrong.any():
            row = int(wrong.idxmax())
            raise WorkbenchError(
                f"{name}, row {row + 1}: {column} is {frame[column][row]}, which is none."
            )
        frame[column] = values
    tasks = {str(text): str(parse_task(str(text))) for text in frame["task"].unique()}
    frame["task"] = frame["task"].astype(str).map(tasks)
    strange = set(frame["stack"].astype(str)) - set(_STACKS)
    if strange:
        raise WorkbenchError(f"{name} has a stack {min(strange)!r}: expected encoder or decoder.")
    if frame["sentence"].max() >= _MOST_SENTENCES:
        raise WorkbenchError(f"{name}: sentences must be numbered from 0.")
    if frame.duplicated(["sentence", "stack", "layer", "position", "rank"]).any():
        raise WorkbenchError(
            f"{name} has two rows for one choice: number the sentences through, over all tasks."
        )
    return frame.astype(TYPES)
