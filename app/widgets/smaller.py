"""Pruning and merging: the plan, the job that makes and measures the result, and ways to keep it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import streamlit as st

from app import jobs, session
from app.widgets.address import begin_many, keep
from app.widgets.before_after import show_components, show_totals
from app.widgets.charts import show_chart
from app.widgets.loss import show_loss
from app.widgets.plans import LIST, STATISTICS, Plan, plan_merging, plan_pruning
from app.widgets.saving import offer
from app.widgets.usage_statistics import on_captions
from app.widgets.watching import watch
from workbench.config import ModelConfig
from workbench.decoding.translator import Translator
from workbench.errors import WorkbenchError
from workbench.evaluation.testset import CAPTIONS, load_testset
from workbench.figures.kept_experts import fates, kept_experts_map
from workbench.subnetworks.report import Report, attach, report
from workbench.tasks import Task, parse_task

PRUNE, MERGE = "Prune", "Merge"


@dataclass(frozen=True)
class Made:
    """A network that was made, and what it lost: None until that is known, and where the captions have none of its
    directions.

    whole: the name of what it was made of. tasks: what its loss is measured on. words: the settings that it was made
    with.
    """

    network: Translator
    whole: str
    tasks: tuple[Task, ...]
    found: Report | None
    words: str


def make(
    job: jobs.Job,
    model: Translator,
    plan: Plan,
    tasks: Sequence[Task],
    words: str,
) -> None:
    """Make the network and report on it. The network alone is a result, until its report is there."""
    job.report(0.0, "Making the network")
    small = plan.make()
    session.keep(small)
    job.results.append(Made(small, model.name, tuple(tasks), None, words))
    if tasks:
        sets = [load_testset(CAPTIONS, task) for task in tasks]
        found = report(
            model,
            small,
            sets,
            progress=lambda done, total: job.report(
                done / total, f"Both translate the captions: {done:,} of {total:,} sentences"
            ),
        )
        attach(found, small)
        job.results[:] = [replace(job.results[0], found=found)]


def smaller(how: str, path: Path, model: Translator, place: Any) -> None:
    """Settings, the plan, the button, and what came out. place: where the tasks are chosen."""
    by = LIST
    if how == PRUNE:
        by = st.segmented_control(
            "Experts chosen by",
            [STATISTICS, LIST],
            default=STATISTICS,
            required=True,
            key="by",
            bind="query-params",
        )
    tasks = choose_tasks(place, model.config)
    plan = None
    if tasks:
        try:
            plan = (
                plan_pruning(path, model, tasks, by)
                if how == PRUNE
                else plan_merging(path, model, tasks)
            )
        except WorkbenchError as error:
            st.error(session.literal(str(error)), icon=":material/error:")
    else:
        st.info("Choose at least one direction that the result is for.", icon=":material/info:")
    job: jobs.Job | None = st.session_state.get("making")
    if plan is not None:
        words = f"{plan.words}, for {', '.join(task.label for task in tasks)}"
        asked = session.Making(path, session.version_of(path), how, words)
        # After a file that a person gave nobody can ask again: a page that is loaded anew has it no longer.
        own = st.session_state.get("statistics-file") is not None or (how == PRUNE and by == LIST)
        if job is None and not own and (job := jobs.known(asked)) is not None:
            st.session_state["making"] = job  # the page was loaded anew
        show_plan(path, model, plan)
        busy = job is not None and not job.finished
        if press(how, plan, model.name, busy):
            measured = [task for task in tasks if task in on_captions(model.config)]
            job = jobs.start(
                lambda job: make(job, model, plan, measured, words), asked, shared=not own
            )
            st.session_state["making"] = job
            st.rerun()
    if job is not None and (not job.finished or (job.of.path, job.of.how) == (path, how)):
        show_result(job)


def choose_tasks(place: Any, config: ModelConfig) -> list[Task]:
    """The directions that the result is for; all that the captions have by default. Kept in the URL as `for`."""
    preferred = [str(task) for task in on_captions(config)]
    options = preferred or [str(task) for task in config.directions]
    default = preferred or options[:1]
    begin_many("for", options, default)
    names = place.multiselect(
        "Directions",
        options,
        format_func=lambda name: parse_task(name).label,
        key="for",
        persist_state="session",
        wrap=True,
    )
    keep("for", names, default)
    return [parse_task(name) for name in names]


def show_plan(path: Path, model: Translator, plan: Plan) -> None:
    """Sizes before and after, and what becomes of every expert."""
    show_totals(model.config, plan.config)
    left, right = st.columns(2, gap="large")
    of = f"{model.name}: {plan.words}"
    frame = fates(model.config, plan.groups)
    with left:
        show_chart(kept_experts_map(frame), frame, "kept-experts", of)
    show_components(right, left, model.config, plan.config, of, path)


def press(how: str, plan: Plan, name: str, busy: bool) -> bool:
    """The button that starts, and the export of the list of experts beside it."""
    with st.container(horizontal=True):
        pressed = st.button(
            f"{how} and report", type="primary", icon=":material/content_cut:", disabled=busy
        )
        if plan.experts is not None:
            st.download_button(
                "Kept experts as JSON",
                json.dumps(plan.experts) + "\n",
                f"{name}-kept-experts.json",
                icon=":material/download:",
            )
    return pressed


def show_result(job: jobs.Job) -> None:
    """The job's progress, or what came of it."""
    if not job.finished:
        watch(job)
    elif job.error:
        st.error(session.literal(job.error), icon=":material/error:")
    elif job.cancelled:
        done = (
            "the network is made, what it lost is not measured"
            if job.results
            else "nothing was made"
        )
        st.info(f"Cancelled: {done}.", icon=":material/info:")
    for made in job.results if job.finished else []:
        st.subheader(made.network.name, anchor=False)
        st.caption(f"Made with: {made.words}.")
        if made.found is not None:
            show_loss(made.found)
        offer(made.network, made.whole, made.tasks)
