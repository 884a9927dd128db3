"""A run's metrics: JSON lines on disk, and progress with the time left for whoever watches."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from workbench.errors import WorkbenchError

#: Steps whose time says how long those to come take, and how many it needs to say anything.
_RECENT, _ENOUGH = 200, 5


@dataclass(frozen=True)
class Progress:
    """One report of a run: its step, of how many, seconds left (None at first), and the metrics just measured."""

    step: int
    steps: int
    seconds_left: float | None
    metrics: dict[str, Any]


class MetricsLog:
    """Collects the metrics of steps and appends their means to `path`, one JSON object a line.

    path: None for a process that only counts. When a run resumes at `step`, lines of later steps, which will
    be made again, are taken out; those of a run without a state, at step 0, all of them.
    valid_every: steps between validations, whose time is part of the time left; 0: there are none.
    validated: whether the validation of `step`, if there is one, has been; else it will be made again too.

    The clock tells steps from all else: call `stepped` after each step, and `paused` after anything between
    steps.
    """

    def __init__(
        self,
        path: Path | None,
        step: int,
        steps: int,
        report: Callable[[Progress], None],
        valid_every: int = 0,
        validated: bool = True,
    ) -> None:
        self._path, self._steps, self._report = path, steps, report
        self._valid_every = valid_every
        self._waiting: list[dict[str, jax.Array]] = []
        self._seconds: list[float | None] = []
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._validation = 0.0
        self._lap = self._logged = time.monotonic()
        if path is not None and path.exists():
            lines = path.read_text(encoding="utf-8").splitlines()
            past = step + 1 if step else 0
            lines = [x for x in lines if _step_of(x) < past]
            if not validated:
                lines = [x for x in lines if _step_of(x) < step or '"valid_bleu"' not in x]
            kept = "".join(x + "\n" for x in lines)
            partial = path.with_name(path.name + ".partial")
            with _explained(path):
                partial.write_text(kept, encoding="utf-8")
                partial.replace(path)

    def add(self, metrics: dict[str, jax.Array]) -> None:
        """Take the metrics of one step, without waiting for the device."""
        self._waiting.append(metrics)

    def stepped(self, compiled: bool = False) -> None:
        """A step has ended; one that compiled, which takes long, does not count."""
        seconds = self._lapped()
        self._seconds.append(None if compiled else seconds)
        if not compiled:
            self._recent.append(seconds)

    def paused(self, validated: bool = False) -> None:
        """Something other than a step has ended: a validation, or what comes up now and then."""
        seconds = self._lapped()
        if validated:
            self._validation = seconds

    def log(self, step: int) -> None:
        """Write the means since the last call; nothing where there was no step since.

        With target tokens per second of the steps alone, where any did not compile, and all the seconds since
        the last line.
        """
        if not self._waiting:
            return
        values, seconds = jax.device_get(self._waiting), self._seconds
        self._waiting, self._seconds = [], []
        now = time.monotonic()
        means = {name: np.mean([v[name] for v in values], axis=0) for name in values[0]}
        tokens = [float(v["tokens"]) for v in values]
        means |= {"tokens": sum(tokens), "seconds": now - self._logged}
        timed = [(n, s) for n, s in zip(tokens, seconds, strict=True) if s is not None]
        if timed:
            spent = max(sum(s for _, s in timed), 1e-9)
            means["tokens_per_second"] = sum(n for n, _ in timed) / spent
        self._logged = now
        self.write(step, {name: _plain(value) for name, value in means.items()})

    def write(self, step: int, metrics: dict[str, Any]) -> None:
        """Append one line and report it.

        Raises:
            WorkbenchError: the disk refuses.
        """
        line = {"step": step, "time": round(time.time(), 1), **metrics}
        if self._path is not None:
            with _explained(self._path), self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        self._report(
            Progress(step, self._steps, self._left(step, "valid_bleu" in metrics), metrics)
        )

    def _lapped(self) -> float:
        before, self._lap = self._lap, time.monotonic()
        return self._lap - before

    def _left(self, step: int, validated: bool) -> float | None:
        """Seconds left by the newest steps and the last validation; None before there are enough of them."""
        steps = self._steps - step
        if steps and len(self._recent) < _ENOUGH:
            return None
        found = steps * float(np.mean(self._recent)) if steps else 0.0
        if self._valid_every and (steps or not validated):
            # The last step is followed by one too.
            all_of_them = -(-self._steps // self._valid_every)
            found += self._validation * (all_of_them - step // self._valid_every)
        return found


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WorkbenchError(
            f"Cannot write {path}: {error.strerror or error}. States that were saved are intact; make room and run"
            " the same command again."
        ) from error


def training_seconds(lines: Iterable[Mapping[str, Any]]) -> float:
    """How long a run took, by the lines of its metrics; older ones do not say and are reckoned."""
    found = 0.0
    for line in lines:
        if "seconds" in line:
            found += line["seconds"]
        elif line.get("tokens_per_second"):
            found += line["tokens"] / line["tokens_per_second"]
    return found


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics file; one cut short by a kill is left out."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if _step_of(line) < np.inf]


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return np.inf


def _plain(value: Any) -> Any:
    array = np.asarray(value, np.float64).round(6)
    return array.tolist()
