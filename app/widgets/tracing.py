"""Tracing in a job: what was asked, its progress, and the last trace that ended."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import streamlit as st

from app import jobs, session
from app.widgets.watching import watch
from workbench.decoding.translator import Translator
from workbench.evaluation.testset import CAPTIONS, read_corpus
from workbench.routing.trace import Routes, trace_routes
from workbench.tasks import Task
from workbench.wording import counted


@dataclass(frozen=True)
class Asked:
    """What to trace: typed lines, or (None) the first `count` bundled captions, in each task."""

    name: str
    path: Path
    version: tuple[float, ...]
    tasks: tuple[Task, ...]
    lines: tuple[str, ...] | None
    count: int


def trace(job: jobs.Job, model: Translator, asked: Asked) -> None:
    """The routes as the job's only result, task after task: first those of the first one, in the end those of all."""
    for done, task in enumerate(asked.tasks):

        def report(batch: int, batches: int, task: Task = task, done: int = done) -> None:
            share = (done + batch / max(1, batches)) / len(asked.tasks)
            job.report(share, f"Translating and tracing {task.label}")

        report(0, 1)
        sources = asked.lines or read_corpus(CAPTIONS, (task.source,)).lines[task.source]
        if asked.lines is None:
            sources = sources[: asked.count]
        one = trace_routes(model, list(sources), task.source, task.target, progress=report)
        job.results[:] = [job.results[0] + one] if job.results else [one]


def start(asked: Asked) -> None:
    """Begin, unless it is known already. Raises WorkbenchError where the checkpoint cannot be loaded."""
    job = jobs.known(asked)
    if job is None:
        model = session.load(asked.path)
        job = jobs.start(lambda job: trace(job, model, asked), asked, shared=True)
    st.session_state["tracing"] = job
    st.rerun()


def find(asked: Asked) -> None:
    """Show what was asked before the page was loaded anew, if this was."""
    if "traced" not in st.session_state and "tracing" not in st.session_state:
        job = jobs.known(asked)
        if job is not None:
            st.session_state["tracing"] = job


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
        else:
            if job.results:
                # Of a job that was cut short, the tasks that were finished.
                tasks = tuple(job.results[0].tasks)
                st.session_state["traced"] = replace(job.of, tasks=tasks), job.results[0]
            if job.error:
                st.error(job.error, icon=":material/error:")
            elif job.cancelled and not job.results:
                st.info("Cancelled: nothing was traced.", icon=":material/info:")
            elif job.cancelled:
                st.info(
                    f"Cancelled. What was finished is kept: {counted(len(job.results[0].tasks), 'task')}.",
                    icon=":material/info:",
                )
            else:
                del st.session_state["tracing"]
    found: tuple[Asked, Routes] | None = st.session_state.get("traced")
    return found
