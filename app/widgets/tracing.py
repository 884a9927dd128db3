"""Tracing in a job: what was asked, its progress, and the last trace that ended."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from app import jobs, session
from app.widgets.watching import watch
from workbench.decoding.translator import Translator
from workbench.evaluation.testset import CAPTIONS, read_corpus
from workbench.routing.trace import Routes, trace_routes
from workbench.tasks import Task


@dataclass(frozen=True)
class Asked:
    """What to trace: typed lines, or (None) the first `count` bundled captions, in each task."""

    name: str
    path: Path
    version: tuple[float, ...]
    tasks: tuple[Task, ...]
    lines: tuple[str, ...] | None
    count: int


@st.cache_resource
def known() -> dict[Asked, Routes]:
    """The last traces of all sessions."""
    return {}


def trace(job: jobs.Job, model: Translator, asked: Asked) -> None:
    """The routes of all tasks as the job's only result."""
    found: Routes | None = None
    for done, task in enumerate(asked.tasks):

        def report(batch: int, batches: int, task: Task = task, done: int = done) -> None:
            share = (done + batch / max(1, batches)) / len(asked.tasks)
            job.report(share, f"Translating and tracing {task.label}")

        report(0, 1)
        sources = asked.lines or read_corpus(CAPTIONS, (task.source,)).lines[task.source]
        if asked.lines is None:
            sources = sources[: asked.count]
        one = trace_routes(model, list(sources), task.source, task.target, progress=report)
        found = one if found is None else found + one
    job.results.append(found)


def start(asked: Asked) -> None:
    """Begin, unless it is known already. Raises WorkbenchError where the checkpoint cannot be loaded."""
    if asked in known():
        st.session_state["traced"] = asked, known()[asked]
        return
    model = session.load(asked.path)
    st.session_state["tracing"] = jobs.start(lambda job: trace(job, model, asked), asked)
    st.rerun()


def under_way() -> bool:
    """Whether this session's job is running."""
    job: jobs.Job | None = st.session_state.get("tracing")
    return job is not None and not job.finished


def last_trace() -> tuple[Asked, Routes] | None:
    """The last trace that ended in this session. Shows the job: its progress, or why it gave nothing."""
    job: jobs.Job | None = st.session_state.get("tracing")
    if job is not None:
        if not job.finished:
            watch(job)
        elif job.results:
            del st.session_state["tracing"]
            known()[job.of] = job.results[0]
            while len(known()) > 16:
                del known()[next(iter(known()))]
            st.session_state["traced"] = job.of, job.results[0]
        elif job.error:
            st.error(job.error, icon=":material/error:")
        else:
            st.info("Cancelled: nothing was traced.", icon=":material/info:")
    found: tuple[Asked, Routes] | None = st.session_state.get("traced")
    return found
