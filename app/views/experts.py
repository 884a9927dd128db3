"""Experts: which experts tasks and tokens use, from the bundled captions or from typed text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from app import session
from app.widgets.direction import language_label
from app.widgets.typed import typed_sentences
from workbench.checkpoint.description import stack_in_words
from workbench.errors import WorkbenchError
from workbench.evaluation.counts import counted
from workbench.evaluation.testset import CAPTIONS, read_corpus
from workbench.figures.heat_map import expert_heat_map
from workbench.figures.token_strip import token_strip
from workbench.routing.trace import Routes, trace_routes
from workbench.routing.usage import expert_usage
from workbench.tasks import Task, parse_task

# A strip is as wide as its sentence is long: it scrolls, and the page does not.
SCROLLED = "<style>[class*='st-key-strip-']{overflow-x:auto}</style>"
GATE = "Gate: the weight of an expert's output, from 0 to 1.{mean} Layers, experts and positions are counted from 0."
SHARE = st.column_config.NumberColumn("Share of the task's tokens", format="percent")
COLUMNS = {
    "sentence": None,  # there is one only
    "task": "Task",
    "stack": "Stack",
    "layer": "Layer",
    "position": "Position",
    "token": "Token",
    "rank": "Rank (0: first choice)",
    "expert": "Expert",
    "tokens": "Tokens that chose it",
    "share": SHARE,
}


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
        st.caption(
            GATE.format(mean=" Mean over all tokens of the task, 0 for those that chose others.")
        )
        show_table(usage, "Mean gate")
        st.download_button(
            "CSV", usage.to_csv(index=False), "usage.csv", icon=":material/download:"
        )


def show_table(frame: pd.DataFrame, gate: str) -> None:
    """The rows, with headers for a person. gate: what the column of that name holds."""
    shown = frame.assign(task=[parse_task(str(task)).label for task in frame["task"]])
    gates = st.column_config.NumberColumn(gate, format="%.3f")
    st.dataframe(shown, hide_index=True, width="stretch", column_config={**COLUMNS, "gate": gates})


def choose_source(place: Any, sources: list[str]) -> str:
    """The language that a person's own text is in."""
    sources = sorted(sources, key=lambda code: (code != "eng_Latn", language_label(code)))
    if st.session_state.get("own-language") not in sources:
        st.session_state["own-language"] = sources[0]
    return str(
        place.selectbox(
            "Language of the text",
            sources,
            format_func=language_label,
            key="own-language",
            persist_state="session",
        )
    )


def show_tokens(routes: Routes) -> None:
    """One sentence's experts, token by token."""
    frame = routes.to_frame()
    tasks = frame.drop_duplicates("sentence").set_index("sentence")["task"].sort_index()
    labels = {task: parse_task(task).label for task in tasks.unique()}
    number = st.selectbox(
        "Sentence",
        list(tasks.index),
        format_func=lambda n: (
            f"{labels[tasks[n]]} · {routes.sources[n][:90]} → {routes.translations[n][:90]}"
        ),
    )
    rows: pd.DataFrame = frame[frame["sentence"] == number]
    st.html(SCROLLED)
    for stack in routes.experts:
        with st.container(key=f"strip-{stack}"):
            st.altair_chart(token_strip(rows, stack), width="content")
    with st.expander("The routing table of this sentence"):
        st.caption(GATE.format(mean=""))
        show_table(rows, "Gate")
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
left, place = st.columns([2, 5], gap="medium")
name = left.selectbox("Checkpoint", routed, key="model", bind="query-params")
config = configs[name]
left, right = st.columns([2, 5], gap="medium", vertical_alignment="bottom")
where = left.segmented_control(
    "Text",
    ["Bundled captions", "My own"],
    default="Bundled captions",
    required=True,
    key="whose-text",
    persist_state="session",
)
lines: tuple[str, ...] | None = None
count = 0
directions = list(config.directions)
of = name
if where == "My own":
    source = choose_source(left, list(dict.fromkeys(task.source for task in directions)))
    directions = [task for task in directions if task.source == source]
    of = f"{name} {source}"
    written = right.text_area(
        "Text: every sentence is traced on its own",
        key="own-text",
        persist_state="session",
        height=120,
        max_chars=20_000,
    )
    lines = tuple(sentence for sentence in typed_sentences(written) if sentence)
else:
    count = right.slider(
        "Captions a task", 10, 220, 60, step=10, key="captions", persist_state="session"
    )
names = [str(task) for task in directions]
chosen = place.multiselect(
    "Tasks",
    names,
    default=names,
    format_func=lambda t: parse_task(t).label,
    key=f"tasks {of}",
    persist_state="session",
)
tasks = tuple(parse_task(task) for task in chosen)
st.caption(
    " · ".join(
        f"{stack.capitalize()}: {stack_in_words(s)}" for stack, s in config.stacks if s.router
    )
    + ". Layers are counted from 0."
)
asked = (name, tasks, lines, count)
ready = bool(tasks) and (lines is None or bool(lines))
if st.button("Trace", type="primary", icon=":material/route:", disabled=not ready):
    st.session_state["traced"] = asked
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
        if (name, tasks, lines, count) != asked:
            st.caption("Below is the trace of what was asked before. Press Trace for the new one.")
        st.subheader(
            f"{name}: {counted(len(routes.sources) // len(tasks), 'sentence')} in"
            f" {'each of ' if len(tasks) > 1 else ''}{counted(len(tasks), 'task')}",
            anchor=False,
        )
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
