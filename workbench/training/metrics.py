"""A run's metrics: JSON lines on disk, and progress with the time left for whoever watches."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np


@dataclass(frozen=True)
class Progress:
    """One report of a run: its step, of how many, seconds left (None at the start), and the metrics just measured."""

    step: int
    steps: int
    seconds_left: float | None
    metrics: dict[str, Any]


class MetricsLog:
    """Collects the metrics of steps and appends their means to `path`, one JSON object a line.

    path: None for a process that only counts. When a run resumes at `step`, lines of later steps, which will
    be made again, are taken out.
    """

    def __init__(
        self, path: Path | None, step: int, steps: int, report: Callable[[Progress], None]
    ) -> None:
        self._path, self._steps, self._report = path, steps, report
        self._waiting: list[dict[str, jax.Array]] = []
        self._began, self._first = time.monotonic(), step
        self._logged = self._began
        if path is not None and path.exists():
            lines = path.read_text(encoding="utf-8").splitlines()
            kept = "".join(x + "\n" for x in lines if _step_of(x) <= step)
            partial = path.with_name(path.name + ".partial")
            partial.write_text(kept, encoding="utf-8")
            partial.replace(path)

    def add(self, metrics: dict[str, jax.Array]) -> None:
        """Take the metrics of one step, without waiting for the device."""
        self._waiting.append(metrics)

    def log(self, step: int) -> None:
        """Write the means since the last call, with target tokens per second."""
        values = jax.device_get(self._waiting)
        self._waiting = []
        now = time.monotonic()
        means = {name: np.mean([v[name] for v in values], axis=0) for name in values[0]}
        tokens = float(sum(v["tokens"] for v in values))
        means |= {"tokens": tokens, "tokens_per_second": tokens / (now - self._logged)}
        self._logged = now
        self.write(step, {name: _plain(value) for name, value in means.items()})

    def write(self, step: int, metrics: dict[str, Any]) -> None:
        """Append one line and report it."""
        elapsed = time.monotonic() - self._began
        line = {"step": step, "time": round(time.time(), 1), **metrics}
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        done = max(1, step - self._first)
        left = elapsed / done * (self._steps - step) if step > self._first else None
        self._report(Progress(step, self._steps, left, metrics))


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
