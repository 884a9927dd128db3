"""Jobs: long work in a thread, with progress, a cancel, and what was finished kept."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


class Cancelled(Exception):  # noqa: N818
    """Raised inside a job at its next report after `Job.cancel`."""


@dataclass
class Job:
    """Work under way. `results` holds what is finished so far, in order; `of` says what was asked."""

    of: Any = None
    fraction: float = 0.0
    text: str = "Starting"
    error: str = ""
    finished: bool = False
    results: list[Any] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def report(self, fraction: float, text: str) -> None:
        """Called by the work between its batches. Raises Cancelled once the person has cancelled."""
        if self._stop.is_set():
            raise Cancelled
        self.fraction, self.text = min(1.0, fraction), text

    def cancel(self) -> None:
        """Stop at the next report."""
        self._stop.set()

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._stop.is_set()


def start(work: Callable[[Job], None], of: Any = None) -> Job:
    """Run `work` in a thread of its own. What it raises becomes `error`, a line of text."""
    job = Job(of)

    def run() -> None:
        try:
            work(job)
        except Cancelled:
            pass
        except Exception as error:  # a thread has nobody else to tell
            job.error = str(error) or type(error).__name__
        finally:
            job.finished = True

    threading.Thread(target=run, daemon=True).start()
    return job
