"""Experts: which experts tasks and tokens use, from the bundled captions or from typed text."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from app import session
from app.widgets.direction import language_label
from app.widgets.tracing import Asked, last_trace, start, under_way
from app.widgets.typed import typed_sentences
from workbench.checkpoint.description import stack_in_words
from workbench.errors import WorkbenchError
from workbench.figures.heat_map import expert_heat_map
from workbench.figures.token_strip import token_strip
from workbench.routing.trace import Routes
from workbench.routing.usage import expert_usage
from workbench.tasks import parse_task
from workbench.wording import counted

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


def show_tasks(routes: Routes) -> None:
    """Heat maps, one a layer with experts, and their numbers."""
    usage = expert_usage(routes).to_frame()
    top_k = routes.frame.groupby("stack", observed=True)["rank"].max() + 1
    st.caption(
        "Counted over tokens at any rank, language and end tokens included, padding not."
        " In the decoder a token is counted where it is read."
    )
    for stack, layers in routes.layers.items():
        for layer in layers:
            st.altair_chart(
                expert_heat_map(usage, stack, layer, int(top_k[stack])), width="stretch"
            )
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
path = session.checkpoints()[name]
asked = Asked(name, path, session.version_of(path), tasks, lines, count)
ready = bool(tasks) and (lines is None or bool(lines)) and not under_way()
if st.button("Trace", type="primary", icon=":material/route:", disabled=not ready):
    try:
        start(asked)
    except WorkbenchError as error:
        st.error(str(error), icon=":material/error:")
found = last_trace()
if found is not None:
    traced, routes = found
    st.divider()
    if traced != asked:
        st.caption(
            "Below is the trace of what was asked before."
            + ("" if under_way() else " Press Trace for the new one.")
        )
    several = len(traced.tasks)
    st.subheader(
        f"{traced.name}: {counted(len(routes.sources) // several, 'sentence')} in"
        f" {'each of ' if several > 1 else ''}{counted(several, 'task')}",
        anchor=False,
    )
    by_task, by_token = st.tabs(["Tasks", "Tokens"])
    with by_task:
        show_tasks(routes)
    with by_token:
        show_tokens(routes)
elif not under_way():
    st.caption(
        "Trace translates the text in each task and shows which experts its tokens chose: a map of tasks and experts for"
        " each layer, and a sentence token by token."
    )
