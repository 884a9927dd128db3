"""Runs on disk: which there are in a folder, and what each one's metrics say so far. Needs no JAX."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from workbench.errors import WorkbenchError
from workbench.training.lock import is_held

METRICS = "metrics.jsonl"
#: The task of a validation's averages.
AVERAGE = "average"
State = Literal["running", "finished", "interrupted"]

_LEVELS = 2  # of directories below the folder that may hold runs
#: A run that has written nothing for so many times the longest that a line took so far, and for no less than so
#: many seconds, counts as interrupted; for longer where it compiles or validates and nobody knows yet how long.
_TIMES, _QUIET, _UNTIMED = 3.0, 60.0, 600.0
_RECENT = 20  # lines whose time says how long those to come take
_STACK = pd.CategoricalDtype(["encoder", "decoder"])
_TRAINING = ("nats", "gradient_norm", "tokens", "seconds", "tokens_per_second")
# No type is wider than it must be: a long run with many experts has millions of rows.
_PLACE: dict[str, Any] = {"step": "int64", "stack": _STACK, "layer": "int16"}
_COLUMNS: dict[str, dict[str, Any]] = {
    "training": {"run": "str", "step": "int64", **dict.fromkeys(_TRAINING, "float64")},
    "validation": {
        "run": "str",
        "step": "int64",
        "task": "str",
        "nats": "float64",
        "bleu": "float64",
    },
    "routing": {**_PLACE, "entropy": "float64", "dropped": "float64"},
    "load": {**_PLACE, "expert": "int16", "share": "float32"},
}


@dataclass(frozen=True)
class Run:
    """A training run as far as its files tell. What a line does not say is NaN in its table.

    recipe: the one that the newest lines were made by, as a table.
    training: run (the directory's name), step, nats (loss, for each target token), gradient_norm; tokens (target
        tokens) and seconds since the line before; tokens_per_second (of the steps alone).
    validation: run, step, task (`average` or a direction), nats, bleu.
    routing: step, stack, layer, entropy (nats), dropped (share of the choices, beyond the experts' capacity).
    load: step, stack, layer, expert, share (of the tokens that chose it, 0 to 1).
    skipped: lines that cannot be read. written: seconds since the epoch. reason: why it ended, if that is known.
    """

    path: Path
    recipe: dict[str, Any]
    training: pd.DataFrame
    validation: pd.DataFrame
    routing: pd.DataFrame
    load: pd.DataFrame
    skipped: int
    written: float
    state: State = "running"
    reason: str = ""
    #: The file, its bytes in the tables, and the lines among them that are damaged: where to go on reading.
    _read: tuple[tuple[int, int], int, int] = field(default=((0, 0), 0, 0), repr=False)

    @property
    def step(self) -> int:
        """Steps done, as far as lines tell."""
        return max(_last(self.training), _last(self.validation))

    @property
    def steps(self) -> int:
        """Steps planned; 0: not known."""
        return _number(self.recipe, "run", "steps", 0)

    @property
    def loss(self) -> float | None:
        """The newest training loss, in nats a target token."""
        return _newest(self.training["nats"])

    @property
    def tokens_per_second(self) -> float | None:
        """Target tokens a second in the newest steps that did not compile."""
        return _newest(self.training["tokens_per_second"])

    @property
    def seconds_left(self) -> float | None:
        """Time to the last step at the newest lines' median pace; None: not known, or ended."""
        newest = self.training[["step", "seconds"]].tail(_RECENT + 1)
        pace = (newest["seconds"] / newest["step"].diff()).median()
        if self.state != "running" or not self.steps or not pace > 0:
            return None
        return float(pace * max(0, self.steps - self.step))

    @property
    def best(self) -> tuple[float, int] | None:
        """The best average validation BLEU, and the first step that reached it."""
        scores = self._averages("bleu")
        if scores.empty:
            return None
        row = scores.loc[scores["bleu"].idxmax()]
        return float(row["bleu"]), int(row["step"])

    @property
    def losses(self) -> pd.DataFrame:
        """Columns run, step, text (`training`, or `validation`: the average of its directions) and nats."""
        parts = {"training": self.training.dropna(subset="nats")}
        parts["validation"] = self._averages("nats")
        columns = ["run", "step", "text", "nats"]
        tables = [table.assign(text=text)[columns] for text, table in parts.items()]
        return pd.concat(tables, ignore_index=True)

    def _averages(self, column: str) -> pd.DataFrame:
        return self.validation[self.validation["task"] == AVERAGE].dropna(subset=column)


def find_runs(folder: str | Path) -> list[Path]:
    """The directories of training runs, sorted: `folder` itself, those in it, and those in these.

    Raises:
        WorkbenchError: there is no such directory, or it may not be read.
    """
    root = Path(folder)
    try:
        if root.is_file():
            raise WorkbenchError(f"{root} is a file: name the directory that the run is in.")
        if not root.is_dir():
            raise WorkbenchError(f"There is no directory {root}.")
        os.listdir(root)  # says so where it may not be read; the next line would find nothing
        return sorted(p.parent for n in range(_LEVELS + 1) for p in root.glob("*/" * n + METRICS))
    except OSError as error:
        raise WorkbenchError(f"{root} cannot be read: {error.strerror or error}.") from error


def read_run(path: str | Path, before: Run | None = None) -> Run:
    """The run in a directory, as far as it is written.

    before: the same run as it was read earlier; only what was appended since is then read.

    Raises:
        WorkbenchError: there is no `metrics.jsonl` that can be read.
    """
    place = Path(path)
    try:
        with (place / METRICS).open("rb") as file:
            status = os.fstat(file.fileno())
            identity = status.st_dev, status.st_ino
            # A run that goes on puts another file in its place, without the lines that it makes again.
            if before and (before._read[0] != identity or before._read[1] > status.st_size):
                before = None
            _, done, damaged = before._read if before else (identity, 0, 0)
            file.seek(done)
            data = file.read()
    except OSError as error:
        problem = error.strerror or error
        raise WorkbenchError(f"{place / METRICS} cannot be read: {problem}.") from error
    lines = _Lines(place.name, before.recipe if before else {})
    *whole, tail = data.split(b"\n")
    damaged += sum(not lines.take(line) for line in whole if line.strip())
    # Without its end, a line is still being written or was cut short by a kill; or only its end is lacking.
    cut = bool(tail.strip()) and not lines.take(tail)
    done += len(data) - (len(tail) if cut else 0)
    run = Run(
        place,
        lines.recipe,
        **(lines.after(before)),
        skipped=damaged + cut,
        written=max(_written(place / name) for name in (METRICS, "state", "best")),
        _read=(identity, done, damaged),
    )
    state, reason = _state(run)
    return replace(run, state=state, reason=reason)


class _Lines:
    """Takes lines of metrics, and gives their tables."""

    def __init__(self, run: str, recipe: dict[str, Any]) -> None:
        self.recipe = recipe
        self._run = run
        self._rows: dict[str, list[Any]] = {table: [] for table in _COLUMNS}

    def take(self, line: bytes) -> bool:
        """Whether the line can be read; of one that cannot, nothing is kept."""
        try:
            metrics = json.loads(line)
            recipe = dict(metrics.get("recipe", self.recipe))
            rows = list(self._parts(metrics, int(metrics["step"]), recipe))
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            return False
        self.recipe = recipe
        for table, row in rows:
            self._rows[table].append(row)
        return True

    def after(self, before: Run | None) -> dict[str, pd.DataFrame]:
        """The tables of the lines taken, below those of `before`."""
        found = {}
        for name, columns in _COLUMNS.items():
            rows = self._rows[name]
            table = _by_expert(rows) if name == "load" else pd.DataFrame(rows, columns=[*columns])
            table = table.astype(columns)
            older: pd.DataFrame = getattr(before, name) if before else table[:0]
            # As it was where nothing is new: most runs of a folder are not being written.
            found[name] = pd.concat([older, table], ignore_index=True) if rows else older
        return found

    def _parts(
        self, metrics: dict[str, Any], step: int, recipe: dict[str, Any]
    ) -> Iterator[tuple[str, Any]]:
        """Each row that a line has, and the name of its table."""

        def value(name: str) -> float:
            return float(metrics.get(name, np.nan))

        if "nats" in metrics:
            yield "training", (self._run, step, *map(value, _TRAINING))
        nats, bleu = metrics.get("valid_nats", {}), metrics.get("valid_bleu", {})
        for task in {**nats, **bleu}:
            scores = (float(each.get(task, np.nan)) for each in (nats, bleu))
            yield "validation", (self._run, step, task, *scores)
        for key, shares in metrics.items():
            name, _, place = key.partition(".")
            if name == "load":
                stack, number = place.split(".")
                layer = _layer(recipe, int(number))
                share = np.asarray(shares, np.float32)
                if stack not in _STACK.categories or share.ndim != 1:
                    raise ValueError(key)
                figures = (value(f"{figure}.{place}") for figure in ("entropy", "dropped"))
                yield "routing", (step, stack, layer, *figures)
                yield "load", (step, stack, layer, share)


def _by_expert(rows: list[tuple[int, str, int, np.ndarray]]) -> pd.DataFrame:
    """A row for each expert of (step, stack, layer, shares)."""
    steps, stacks, layers, shares = zip(*rows, strict=True) if rows else ((), (), (), ())
    counts = [len(share) for share in shares]
    nothing = np.zeros(0, np.float32)
    return pd.DataFrame(
        {
            "step": np.repeat(np.array(steps, np.int64), counts),
            "stack": pd.Categorical(stacks, dtype=_STACK).repeat(counts),
            "layer": np.repeat(np.array(layers, np.int16), counts),
            "expert": np.concatenate([nothing, *map(np.arange, counts)]),
            "share": np.concatenate([nothing, *shares]),
        }
    )


def _layer(recipe: dict[str, Any], number: int) -> int:
    """Which layer of its stack the one with this number among those with experts is, all counted from 0."""
    return (number + 1) * _number(recipe, "model", "sparse_step", 1) - 1


def _number(recipe: dict[str, Any], table: str, key: str, default: int) -> int:
    found = recipe.get(table)
    value = found.get(key) if isinstance(found, dict) else None
    return value if isinstance(value, int) else default


def _last(table: pd.DataFrame) -> int:
    return 0 if table.empty else int(table["step"].iloc[-1])


def _newest(values: pd.Series) -> float | None:
    known = values.dropna()
    return None if known.empty else float(known.iloc[-1])


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _state(run: Run) -> tuple[State, str]:
    """Whether the run has ended, and why if that is known. Without a lock of this machine's, what runs and is silent
    is not known from a kill.
    """
    validated, patience = _last(run.validation), _number(run.recipe, "run", "patience", 0)
    # The last step is followed by a validation too.
    if 0 < run.steps <= validated:
        return "finished", ""
    if run.best is not None:
        scores = run._averages("bleu")
        stale = int((scores["step"] > run.best[1]).sum())
        if 0 < patience <= stale:
            return "finished", f"no better BLEU in {patience} validations"
    bad = max(run.path.glob("bad-batch-step-*.npz"), key=_written, default=None)
    if bad is not None and _written(bad) >= _written(run.path / METRICS):
        return "interrupted", f"the loss was not a number at step {bad.stem.rpartition('-')[2]}"
    held = is_held(run.path)
    if held is not None:
        return ("running" if held else "interrupted"), ""
    longest = run.training["seconds"].max()
    every, logs = (_number(run.recipe, "run", f"{name}_every", 0) for name in ("valid", "log"))
    validates = every and validated // every < (run.step + max(logs, 1) - 1) // every
    least = _UNTIMED if validates or run.training.empty else _QUIET
    allowed = max(least, _TIMES * longest) if longest > 0 else least
    return ("running" if time.time() - run.written <= allowed else "interrupted"), ""
