"""Usage statistics on the bundled captions, gathered once for all sessions."""

from __future__ import annotations

import json
from pathlib import Path

import streamlit as st

from app import jobs, session
from app.widgets.watching import watch
from workbench.arguments import as_json
from workbench.config import ModelConfig
from workbench.decoding.translator import Translator
from workbench.evaluation.testset import CAPTIONS, read_corpus
from workbench.routing.gathering import gather_statistics
from workbench.routing.statistics import Statistics, read_statistics
from workbench.tasks import Task

#: A checkpoint and the version of its files.
Place = tuple[Path, tuple[float, ...]]


@st.cache_resource
def known() -> dict[Place, Statistics]:
    """What was gathered so far, by checkpoint and version of its files."""
    return {}


def on_captions(config: ModelConfig) -> list[Task]:
    """The directions of a network that the bundled captions have."""
    there = read_corpus(CAPTIONS).tasks
    return [task for task in config.directions if task in there]


def gather(job: jobs.Job, model: Translator) -> None:
    """Statistics of all directions that the captions have, as the job's only result."""
    corpus = read_corpus(CAPTIONS)
    found = gather_statistics(
        model,
        {task: corpus.direction(task) for task in on_captions(model.config)},
        products=True,  # so that every way to merge can use them
        progress=lambda done, total: job.report(
            done / total, f"Usage statistics: {done:,} of {total:,} captions read"
        ),
    )
    job.results.append(found)


def choose_statistics(path: Path, model: Translator) -> Statistics | None:
    """The statistics of the captions or of a file; None, and what leads to them, until there are some.

    Raises:
        WorkbenchError: the file has no statistics of this model.
    """
    place = path, session.version_of(path)
    _take_over(place)
    if place not in known():
        return _from_file(model) or _on_captions(place, model)
    gathered = known()[place]
    with st.expander("Statistics: gathered on the bundled captions, unless you give others"):
        own = _from_file(model)
        st.download_button(
            "Those of the captions as JSON",
            lambda: json.dumps(gathered.to_json()),
            f"{model.name}-statistics.json",
            icon=":material/download:",
        )
    return own or gathered


def _take_over(place: Place) -> None:
    """Know from now on what this session's job has gathered, and say so."""
    job: jobs.Job | None = st.session_state.get("gathering")
    if job is not None and job.of == place and job.results:
        del st.session_state["gathering"]
        known()[place] = job.results[0]
        st.toast("Statistics gathered", icon=":material/check:")


def _from_file(model: Translator) -> Statistics | None:
    file = st.file_uploader(
        "Statistics of your own corpus, JSON",
        "json",
        key="statistics-file",
        help="What `workbench prune --save-statistics` or `workbench usage` wrote, or the table of Koishekenov et"
        " al. (2022).",
    )
    return (
        None
        if file is None
        else read_statistics(as_json(file.getvalue(), file.name), model.config, file.name)
    )


def _on_captions(place: Place, model: Translator) -> Statistics | None:
    """The statistics of the captions, or None and what leads to them: a button, or the job that gathers them."""
    tasks = on_captions(model.config)
    if not tasks:
        st.info(
            f"The bundled captions have none of the directions of {model.name}, so its experts cannot be counted"
            " here. Import a list of kept experts, or use `workbench prune` with a corpus of your own.",
            icon=":material/info:",
        )
        return None
    job: jobs.Job | None = st.session_state.get("gathering")
    if job is not None and job.of == place:
        if not job.finished:
            watch(job)
            return None
        if job.error:
            st.error(job.error, icon=":material/error:")
    st.info(
        "Experts are chosen by how often and how surely the router picks them. Count that first, on the bundled"
        f" captions in {len(tasks)} direction{'s' if len(tasks) > 1 else ''}; it is done once.",
        icon=":material/info:",
    )
    if st.button("Gather statistics", type="primary", icon=":material/bar_chart:"):
        st.session_state["gathering"] = jobs.start(lambda job: gather(job, model), place)
        st.rerun()
    return None
