"""Experts: which experts tasks and tokens use, from the bundled captions or from typed text."""

from __future__ import annotations

from typing import Any

import streamlit as st

from app import session
from app.widgets.address import begin_one, choose_one, is_fresh, keep, say_strange, went_back
from app.widgets.direction import language_label
from app.widgets.experts_charts import show_sentences, show_tasks, show_tokens
from app.widgets.kept_text import write_text
from app.widgets.tracing import Asked, find, last_trace, start, under_way
from app.widgets.typed import WHOSE, offer_file, typed_sentences
from workbench.checkpoint.description import stack_in_words
from workbench.errors import WorkbenchError
from workbench.tasks import parse_task
from workbench.wording import counted

MOST_CHARACTERS = 20_000
CAPTIONS_A_TASK = "60"


def choose_source(place: Any, sources: list[str], strange: list[str]) -> str:
    """The language that a person's own text is in. strange: takes what the address asks for in vain."""
    sources = sorted(sources, key=lambda code: (code != "eng_Latn", language_label(code)))
    labels = {code: language_label(code) for code in sources}
    return choose_one(place, "Language of the text", "own-language", labels, strange=strange)


st.title("Experts", anchor=False)
configs = session.usable()
routed = [name for name, config in configs.items() if not config.is_dense]
if not routed:
    st.info("None of the checkpoints has experts: they are all dense.", icon=":material/info:")
    st.stop()
strange: list[str] = []
left, place = st.columns([2, 5], gap="medium")
name = choose_one(left, "Checkpoint", "model", {n: n for n in routed}, strange=strange)
config = configs[name]
left, right = st.columns([2, 5], gap="medium", vertical_alignment="bottom")
where = choose_one(left, "Text", "whose-text", WHOSE, segmented=True, strange=strange)
lines: tuple[str, ...] | None = None
count = 0
directions = list(config.directions)
of = name
if where == "own":
    source = choose_source(left, list(dict.fromkeys(task.source for task in directions)), strange)
    directions = [task for task in directions if task.source == source]
    of = f"{name} {source}"
    written = write_text(
        right,
        "Text: every sentence is traced on its own",
        "own-text",
        MOST_CHARACTERS,
        height=120,
        strange=strange,
    )
    offer_file(right, "own-text", MOST_CHARACTERS)
    lines = tuple(sentence for sentence in typed_sentences(written) if sentence)
else:
    counts = [str(number) for number in range(10, 230, 10)]
    if is_fresh("captions") and "captions" not in st.query_params:
        st.session_state["captions"] = CAPTIONS_A_TASK
    else:
        strange += begin_one("captions", counts)
    count = int(
        right.select_slider("Captions a task", counts, key="captions", persist_state="session")
    )
    keep("captions", str(count), CAPTIONS_A_TASK)
names = [str(task) for task in directions]
# Of the address the tasks that there are: another checkpoint, or another source, has others.
key = f"tasks {of}"
if key not in st.session_state or went_back():
    in_address = [task for task in st.query_params.get_all("tasks") if task in names]
    st.session_state[key] = in_address or names
chosen = place.multiselect(
    "Tasks",
    names,
    format_func=lambda t: parse_task(t).label,
    key=key,
    persist_state="session",
    wrap=True,
)
keep("tasks", chosen, names)
say_strange(strange)
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
find(asked)
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
    own = "translations of its own of "
    own += "the bundled captions" if traced.lines is None else "typed text"
    of = f"{traced.name}: {own}, {counted(len(routes.sources) // several, 'sentence')} in {counted(several, 'task')}"
    if routes.cut:
        st.caption(
            f"{counted(len(routes.cut), 'sentence')} of them {'is' if len(routes.cut) == 1 else 'are'} longer than the"
            " network holds: what lies beyond is not traced."
        )
    by_task, by_sentence, by_token = st.tabs(
        ["Tasks", "Sentences", "Tokens"], key="tab", bind="query-params"
    )
    with by_task:
        show_tasks(routes, traced, of)
    with by_sentence:
        show_sentences(routes, traced, of)
    with by_token:
        show_tokens(routes, of)
elif not under_way():
    st.caption(
        "Trace translates the text in each task and shows which experts its tokens chose: tasks by their experts and how"
        " alike they are, beside chance; a map of sentences; a sentence token by token."
    )
