"""Jobs: long work in a background thread, with progress, a cancel, and results that are kept."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from workbench.errors import WorkbenchError

_KEPT = 24  # finished jobs


class Cancelled(Exception):
    """A person asked the job to stop."""


@dataclass
class Job:
    """One piece of work. `result` is what it gave, so far or in the end; `error` is one line for a person."""

    work: Callable[[Job], Any]
    note: str = "Waiting for another run to end"
    fraction: float = 0.0
    result: Any = None
    error: str = ""
    began: float = 0.0
    seconds: float = 0.0
    cancelled: bool = False
    over: threading.Event = field(default_factory=threading.Event)

    def at(self, note: str, fraction: float | None = None) -> None:
        """Say what the work is at. Raises Cancelled once a person has asked for that."""
        if self.cancelled:
            raise Cancelled
        self.note = note
        self.fraction = self.fraction if fraction is None else min(1.0, max(0.0, fraction))

    def counter(self, note: str, first: float = 0.0, last: float = 1.0) -> Callable[[int, int], None]:
        """A progress callback for the part of the work between two fractions."""
        return lambda done, total: self.at(
            f"{note}: {done} of {total}", first + (last - first) * done / max(1, total)
        )

    def run(self) -> None:
        """Do the work; every outcome ends up in the fields."""
        self.began = time.monotonic()
        try:
            self.at("Starting")
            self.result = self.work(self)
        except Cancelled:
            self.error = "Cancelled."
        except WorkbenchError as error:
            self.error = str(error)
        except Exception as error:
            logging.getLogger(__name__).exception("A job failed")
            self.error = f"Unexpected {type(error).__name__}: {error}"
        finally:
            self.seconds = time.monotonic() - self.began
            self.over.set()

    @property
    def seconds_left(self) -> float | None:
        """An estimate from what is done; None before there is one."""
        if self.fraction < 0.05 or not self.began:
            return None
        return (time.monotonic() - self.began) * (1 - self.fraction) / self.fraction


@dataclass
class _Bench:
    """One worker, since the machine is one: two runs at once would spoil each other's timings."""

    worker: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "jobs"))
    jobs: OrderedDict[str, Job] = field(default_factory=OrderedDict)


@st.cache_resource(show_spinner=False)
def _bench() -> _Bench:
    return _Bench()


def find(key: str) -> Job | None:
    """The job with this key, running or over."""
    return _bench().jobs.get(key)


def start(key: str, work: Callable[[Job], Any]) -> Job:
    """Begin work under a key; what was there is forgotten."""
    bench = _bench()
    job = bench.jobs[key] = Job(work)
    bench.jobs.move_to_end(key)
    for old in [k for k, j in bench.jobs.items() if j.over.is_set()][:-_KEPT]:
        del bench.jobs[old]
    bench.worker.submit(job.run)
    return job


def show(job: Job) -> bool:
    """Draw the job's progress until it is over; whether it is."""
    if job.over.is_set():
        if job.error == "Cancelled.":
            st.info("Cancelled." + (" What was finished is shown." if job.result else ""))
        elif job.error:
            st.error(job.error)
        return True
    _progress(job)
    return False


@st.fragment(run_every=0.6)
def _progress(job: Job) -> None:
    if job.over.is_set():
        st.rerun()
    left = job.seconds_left
    ending = f" · about {left:.0f} s left" if left is not None else ""
    st.progress(job.fraction, text=job.note + ending)
    if st.button("Cancel", icon=":material/close:", disabled=job.cancelled, key="cancel"):
        job.cancelled = True
        st.caption("Stopping after the current batch.")
