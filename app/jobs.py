"""Jobs: long work in a thread, with progress, a cancel, and what was finished kept.

A job may be known by what was asked: whoever asks the same again, or comes back after the page was loaded anew, finds it.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


class Cancelled(Exception):  # noqa: N818
    """Raised inside a job at its next report after `Job.cancel`."""


#: Jobs that are known by what was asked; beyond so many the oldest is forgotten.
_MOST = 16
#: A guess at the time left needs so many seconds of work, and so much of it done.
_SECONDS, _SHARE = 2.0, 0.02
#: How long the server's end waits for what is under way, in seconds: a batch takes less.
_GRACE = 10.0


@dataclass
class Job:
    """Work under way. `results` holds what is finished so far, in order; `of` says what was asked."""

    of: Any = None
    fraction: float = 0.0
    text: str = "Starting"
    error: str = ""
    finished: bool = False
    results: list[Any] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    _reported: float = field(default_factory=time.monotonic)
    _stop: threading.Event = field(default_factory=threading.Event)

    def report(self, fraction: float, text: str) -> None:
        """Called by the work between its batches. Raises Cancelled once the person has cancelled."""
        if self._stop.is_set():
            raise Cancelled
        self.fraction, self.text, self._reported = min(1.0, fraction), text, time.monotonic()

    def cancel(self) -> None:
        """Stop at the next report."""
        self._stop.set()

    @property
    def seconds_left(self) -> float | None:
        """How long it will take yet if it goes on as it did until its last report; None while nobody can tell."""
        ran = self._reported - self.began
        if ran < _SECONDS or not _SHARE <= self.fraction < 1:
            return None
        left = ran * (1 - self.fraction) / self.fraction - (time.monotonic() - self._reported)
        return left if left > 0 else None

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._stop.is_set()


_known: dict[Any, Job] = {}
_running: dict[threading.Thread, Job] = {}
_lock = threading.Lock()


def known(of: Any) -> Job | None:
    """The job of whoever asked the same, unless it failed or was cancelled."""
    with _lock:
        job = _known.get(of)
    return None if job is None or job.error or job.cancelled else job


def forget(which: Callable[[Job], bool]) -> None:
    """Let those jobs not be `known` any longer."""
    with _lock:
        for of in [of for of, job in _known.items() if which(job)]:
            del _known[of]


def start(work: Callable[[Job], None], of: Any = None, shared: bool = False) -> Job:
    """Run `work` in a thread of its own. What it raises becomes `error`, a line of text.

    of: what was asked. shared: whether who asks the same later shall find the job, see `known`, and who asks it while
    the job is under way gets that one; `of` must then be hashable, and of a type that nothing else is asked with.
    """
    running = known(of) if shared else None
    if running is not None and not running.finished:
        return running
    job = Job(of)
    if shared:
        with _lock:
            _known.pop(of, None)
            _known[of] = job
            while len(_known) > _MOST:
                del _known[next(iter(_known))]

    def run() -> None:
        try:
            work(job)
        except Cancelled:
            pass
        except Exception as error:  # a thread has nobody else to tell
            job.error = str(error) or type(error).__name__
        finally:
            job.finished = True
            with _lock:
                _running.pop(threading.current_thread(), None)

    thread = threading.Thread(target=run, daemon=True)
    with _lock:
        _running[thread] = job
    thread.start()
    return job


@atexit.register
def end() -> None:
    """Cancel what is under way, and wait for it: threads in compiled code that lose their interpreter abort the process."""
    with _lock:
        running = dict(_running)
    for job in running.values():
        job.cancel()
    until = time.monotonic() + _GRACE
    for thread in running:
        thread.join(max(0.0, until - time.monotonic()))
