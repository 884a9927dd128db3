"""Experts: which experts tasks and tokens use, from the bundled captions or from typed text."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import streamlit as st

from app import session
from workbench.checkpoint.description import stack_in_words
from workbench.errors import WorkbenchError
from workbench.evaluation.testset import CAPTIONS, read_corpus
from workbench.figures.heat_map import expert_heat_map
from workbench.figures.token_strip import token_strip
from workbench.routing.trace import Routes, trace_routes
from workbench.routing.usage import expert_usage
from workbench.tasks import Task, parse_task


@st.cache_resource(show_spinner=False, max_entries=16)
def routes_of(
    path: Path, version: float, tasks: tuple[Task, ...], lines: tuple[str, ...] | None, count: int
) -> Routes:
    """Routes of typed lines, or of the first `count` bundled captions, for each task."""
    model = session.load(path)
    found: Routes | None = None
    bar = st.progress(0.0, text="Translating and tracing")
    for done, task in enumerate(tasks):
        sources = lines or read_corpus(CAPTIONS, (task.source,)).lines[task.source][:count]
        bar.progress(done / len(tasks), text=f"Translating and tracing {task.label}")
        one = trace_routes(model, list(sources), task.source, task.target)
        found = one if found is None else found + one
    bar.empty()
    assert found is not None
    return found


def show_tasks(routes: Routes, top_k: dict[str, int]) -> None:
    """Heat maps, one a layer with experts, and their numbers."""
    usage = expert_usage(routes).to_frame()
    st.caption(
        "Counted over tokens at any rank, language and end tokens included, padding not."
        " In the decoder a token is counted where it is read."
    )
    for stack, layers in routes.layers.items():
        for layer in layers:
            st.altair_chart(expert_heat_map(usage, stack, layer, top_k[stack]), width="stretch")
    with st.expander("The numbers"):
        st.dataframe(usage, hide_index=True, width="stretch")
        st.download_button(
            "CSV", usage.to_csv(index=False), "usage.csv", icon=":material/download:"
        )


def show_tokens(routes: Routes) -> None:
    """One sentence's experts, token by token."""
    frame = routes.to_frame()
    numbers = sorted(frame["sentence"].unique())
    number = st.selectbox(
        "Sentence",
        numbers,
        format_func=lambda n: (
            f"{n + 1}. {routes.sources[n][:90]}  →  {routes.translations[n][:90]}"
        ),
    )
    rows: pd.DataFrame = frame[frame["sentence"] == number]
    for stack, experts in routes.experts.items():
        st.altair_chart(token_strip(rows, stack, experts), width="content")
    with st.expander("The routing table of this sentence"):
        st.dataframe(rows, hide_index=True, width="stretch")
        st.download_button(
            "CSV", rows.to_csv(index=False), "routes.csv", icon=":material/download:"
        )


st.title("Experts", anchor=False)
configs = session.usable()
routed = [name for name, config in configs.items() if not config.is_dense]
if not routed:
    st.info("None of the checkpoints has experts: they are all dense.", icon=":material/info:")
    st.stop()
if st.session_state.get("model") not in routed:
    wanted = st.query_params.get("model")
    st.session_state["model"] = wanted if wanted in routed else routed[0]
left, right = st.columns([2, 5], gap="medium")
name = left.selectbox("Checkpoint", routed, key="model", bind="query-params")
config = configs[name]
directions = [str(task) for task in config.directions]
chosen = right.multiselect(
    "Tasks",
    directions,
    default=directions,
    format_func=lambda t: parse_task(t).label,
    key=f"tasks {name}",
)
left, right = st.columns([2, 5], gap="medium", vertical_alignment="bottom")
where = left.segmented_control(
    "Text", ["Bundled captions", "My own"], default="Bundled captions", required=True
)
lines: tuple[str, ...] | None = None
count = 0
if where == "My own":
    written = right.text_area(
        "In the source language of the chosen tasks, a sentence a line", height=90, max_chars=20_000
    )
    lines = tuple(line for line in written.splitlines() if line.strip())
else:
    count = right.slider("Captions a task", 10, 220, 60, step=10)
tasks = tuple(parse_task(task) for task in chosen)
st.caption(
    " · ".join(
        f"{stack.capitalize()}: {stack_in_words(s)}" for stack, s in config.stacks if s.router
    )
    + ". Layers are counted from 0."
)
ready = bool(tasks) and (lines is None or bool(lines))
if st.button("Trace", type="primary", icon=":material/route:", disabled=not ready):
    st.session_state["traced"] = (name, tasks, lines, count)
if "traced" in st.session_state:
    name, tasks, lines, count = st.session_state["traced"]
    path = session.checkpoints().get(name)
    if path is not None:
        try:
            routes = routes_of(path, (path / "config.json").stat().st_mtime, tasks, lines, count)
        except WorkbenchError as error:
            st.error(str(error), icon=":material/error:")
            st.stop()
        st.divider()
        st.subheader(f"{name}: {len(routes.sources):,} sentences, {len(tasks)} tasks", anchor=False)
        by_task, by_token = st.tabs(["Tasks", "Tokens"])
        stacks = configs[name].stacks
        with by_task:
            show_tasks(routes, {stack: s.router.top_k for stack, s in stacks if s.router})
        with by_token:
            show_tokens(routes)
else:
    st.caption(
        "Trace translates the text in each task and shows which experts its tokens chose: a map of tasks and experts for"
        " each layer, and a sentence token by token."
    )
