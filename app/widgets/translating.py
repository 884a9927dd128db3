"""Translating in a job: what was asked, its progress, and what came of it last."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import streamlit as st

from app import jobs, session
from app.widgets.paging import to_first_page
from app.widgets.search import search_in_words
from app.widgets.watching import watch
from app.widgets.what_if import Change
from workbench.config import ModelConfig
from workbench.errors import WorkbenchError
from workbench.tasks import Task

if TYPE_CHECKING:
    from workbench.decoding.system import Translation
    from workbench.decoding.translator import Translator
    from workbench.routing.trace import Routes

# Ends the key of a what-if's result; before it stands the original's.
CHANGED = ", changed"
# What the last job has not done, and why.
_SAID = "said of translating"
# What is done sooner is shown at once, without a bar of progress that only flashes.
_PATIENCE = 0.7
#: Sentences that are translated together: those before them are kept when a person cancels.
AT_ONCE = 256
# Of a checkpoint's time, in translating; the rest is for tracing.
_TRANSLATING = 0.85


@dataclass(frozen=True)
class Asked:
    """What to translate, and by which checkpoints.

    versions: of the checkpoints' files, so that what was written anew translates anew. written: the text that the
    lines are of.
    """

    names: tuple[str, ...]
    task: Task
    lines: tuple[str, ...]
    beam: int = 1
    change: Change | None = None
    versions: tuple[tuple[float, ...], ...] = ()
    written: str = field(default="", compare=False)


@dataclass(frozen=True)
class Result:
    """What one checkpoint made of the text."""

    name: str
    lines: tuple[str, ...]
    translations: tuple[Translation, ...]
    routes: Routes | None
    task: Task
    source_lengths: tuple[int, ...]  # in tokens
    config: ModelConfig
    how: str  # search, dtype, device and batches
    compile_seconds: float


#: Results by name; in place of one, what went wrong.
Results = dict[str, Result | str]


def start(asked: Asked) -> None:
    """Begin in a thread, unless it is under way. Comes back once all is done if that is soon, else runs the page anew,
    which shows the progress.
    """
    job = jobs.known(asked)
    if job is None or job.finished:
        job = _begin(asked)
    st.session_state["translating"] = job
    st.session_state.pop(_SAID, None)
    until = time.monotonic() + _PATIENCE
    while not job.finished and time.monotonic() < until:
        time.sleep(0.01)
    if not job.finished:
        st.rerun()


def find(asked: Asked) -> None:
    """Show what was asked before the page was loaded anew, done or under way, if this was."""
    if "translated" not in st.session_state and "translating" not in st.session_state:
        job = jobs.known(asked)
        if job is not None:
            st.session_state["translating"] = job


def _begin(asked: Asked) -> jobs.Job:
    models: dict[str, Translator | str] = {}
    for name in asked.names:
        try:
            models[name] = session.load(session.checkpoints()[name])
        except WorkbenchError as error:
            models[name] = str(error)
    # A what-if belongs to the translation that it stands beside: it is not found without that.
    return jobs.start(lambda job: _work(job, models, asked), asked, shared=asked.change is None)


def under_way() -> bool:
    """Whether this session's job is running."""
    job: jobs.Job | None = st.session_state.get("translating")
    return job is not None and not job.finished


def last() -> tuple[Asked, Results] | None:
    """What was translated last in this session. Shows the job: its progress, or what it did not do."""
    job: jobs.Job | None = st.session_state.get("translating")
    if job is not None:
        if not job.finished:
            watch(job)
        else:
            _take(job)
    if _SAID in st.session_state:
        kind, text = st.session_state[_SAID]
        getattr(st, kind)(text, icon=f":material/{kind}:")
    found: tuple[Asked, Results] | None = st.session_state.get("translated")
    return found


def put_original_back() -> None:
    """Forget the what-if: the originals are shown again."""
    asked, results = st.session_state["translated"]
    st.session_state["translated"] = asked, _originals(results)


def side_by_side(results: Results) -> Results:
    """Those to show: a what-if beside its original, else all."""
    for name in results:
        if name.endswith(CHANGED):
            return {n: results[n] for n in (name.removesuffix(CHANGED), name)}
    return results


def _originals(results: Results) -> Results:
    return {name: made for name, made in results.items() if not name.endswith(CHANGED)}


def _take(job: jobs.Job) -> None:
    """Take over what a job that ended has made, and what there is to say of what it has not."""
    asked: Asked = job.of
    made: Results = dict(job.results)
    missing = [name for name in asked.names if name not in made]
    parts: list[str] = []
    if asked.change is not None:
        (name,) = asked.names
        result = made.get(name)
        failed = result if isinstance(result, str) else job.error
        if name in made and not failed:
            before, results = st.session_state["translated"]
            # The others stay, so that any of them can be changed next.
            results = _originals(results) | {name + CHANGED: made[name]}
            st.session_state["translated"] = before, results
    else:
        failed = job.error
        if made:
            name, first = next(iter(made.items()))
            lines = asked.lines if isinstance(first, str) else first.lines
            st.session_state["translated"] = replace(asked, lines=lines), made
            to_first_page("sentence")
            if len(lines) < len(asked.lines):
                parts.append(
                    f"{name} has translated {len(lines):,} of {len(asked.lines):,} sentences"
                )
    if missing:
        have = "has" if len(missing) == 1 else "have"
        parts.append(f"{', '.join(missing)} {have} translated nothing")
    del st.session_state["translating"]
    if failed:
        st.session_state[_SAID] = "error", session.literal(failed)
    elif parts:
        st.session_state[_SAID] = "info", f"Cancelled: {'; '.join(parts)}."


def _work(job: jobs.Job, models: dict[str, Translator | str], asked: Asked) -> None:
    """One checkpoint after another; each is a result of the job, with its name."""
    for done, (name, model) in enumerate(models.items()):

        def report(share: float, doing: str, name: str = name, done: int = done) -> None:
            job.report((done + share) / len(models), f"{name}: {doing}")

        partly = done == 0 and asked.change is None  # what stands beside others is as long as they
        made = model if isinstance(model, str) else _translate(model, asked, report, partly)
        job.results.append((name, made))


def _translate(
    model: Translator, asked: Asked, report: Callable[[float, str], None], partly: bool
) -> Result | str:
    """What a checkpoint makes of the text, or what went wrong.

    partly: whether, once it is cancelled, it makes a result of the sentences that are done, if there are some.
    """
    import jax

    from workbench.routing.trace import trace_routes

    dense = model.config.is_dense
    source, target, lines = asked.task.source, asked.task.target, asked.lines
    made: list[Translation] = []
    compiling = 0.0

    def translated(done: int, total: int) -> None:
        sentences = len(made) + len(lines[len(made) :][:AT_ONCE]) * done // total
        report(
            sentences / len(lines) * (1 if dense else _TRANSLATING),
            f"{sentences:,} of {len(lines):,} sentences translated",
        )

    def traced(done: int, total: int) -> None:
        if len(made) == len(lines):  # what was cut short is traced to its end
            report(
                _TRANSLATING + (1 - _TRANSLATING) * done / total,
                f"{done:,} of {total:,} sentences traced",
            )

    try:
        if asked.change is not None:
            model = asked.change.of(model)
        report(0, "translating (the first time for a shape, compiling)")
        try:
            while len(made) < len(lines):
                part = lines[len(made) :][:AT_ONCE]
                found = model.translate(
                    part, source, target, beam_size=asked.beam, progress=translated
                )
                compiling += found[0].compile_seconds
                made += found
        except jobs.Cancelled:
            if not made or not partly:
                raise
        routes = None
        kept = lines[: len(made)]
        if not dense:
            routes = trace_routes(model, kept, source, target, references=made, progress=traced)
        lengths = tuple(map(len, model.tokenizer.encode_sources(list(kept), source)))
    except WorkbenchError as error:
        return str(error)
    where = jax.default_backend().upper()
    how = f"{search_in_words(asked.beam)}, {model.dtype}, {where}, batches of up to 32"
    return Result(
        model.name, kept, tuple(made), routes, asked.task, lengths, model.config, how, compiling
    )
