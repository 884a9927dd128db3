"""Experts: which experts tasks and tokens use, from the bundled captions, from typed text, or from saved tables."""

from __future__ import annotations

import io
from typing import Any

import streamlit as st

from app import session
from app.widgets.address import begin_one, choose_one, is_fresh, keep, say_strange, went_back
from app.widgets.direction import language_label
from app.widgets.experts_by_sentence import show_sentences, show_tokens
from app.widgets.experts_by_task import show_tasks
from app.widgets.kept_text import write_text
from app.widgets.routing import Routing, routing_of
from app.widgets.saved_routing import choose_saved
from app.widgets.tracing import Asked, find, last_trace, start, under_way
from app.widgets.typed import WHOSE, offer_file, typed_sentences
from workbench.checkpoint.description import stack_in_words
from workbench.config import ModelConfig
from workbench.errors import WorkbenchError
from workbench.routing.files import write_routes
from workbench.routing.trace import Routes
from workbench.tasks import parse_task
from workbench.wording import counted

MOST_CHARACTERS = 20_000
CAPTIONS_A_TASK = "60"
SAVED = {"file": "Saved tables"}
#: Tasks that are chosen one by one; of more, all are shown until some are.
MOST_TASKS = 24


def choose_source(place: Any, sources: list[str], strange: list[str]) -> str:
    """The language that a person's own text is in. strange: takes what the address asks for in vain."""
    sources = sorted(sources, key=lambda code: (code != "eng_Latn", language_label(code)))
    labels = {code: language_label(code) for code in sources}
    return choose_one(place, "Language of the text", "own-language", labels, strange=strange)


def choose_tasks(place: Any, names: list[str], of: str) -> list[str]:
    """Some of the tasks, all at first. Of the address those that there are: another network has others.

    of: whose tasks they are.
    """
    key = f"tasks {of}"
    default = names if len(names) <= MOST_TASKS else []
    if key not in st.session_state or went_back():
        in_address = [task for task in st.query_params.get_all("tasks") if task in names]
        st.session_state[key] = in_address or default
    chosen: list[str] = place.multiselect(
        "Tasks",
        names,
        format_func=lambda t: parse_task(t).label,
        key=key,
        persist_state="session",
        wrap=True,
        placeholder=f"All {len(names)}" if not default else None,
    )
    keep("tasks", chosen, default)
    return chosen


def trace(configs: dict[str, ModelConfig], where: str, strange: list[str]) -> Routing | None:
    """Choose what to trace, and trace it when asked. Gives the last trace that ended."""
    left, place = st.columns([2, 5], gap="medium")
    name = choose_one(left, "Checkpoint", "model", {n: n for n in configs}, strange=strange)
    config = configs[name]
    left, right = st.columns([2, 5], gap="medium", vertical_alignment="bottom")
    lines: tuple[str, ...] | None = None
    count = 0
    directions = list(config.directions)
    of = name
    if where == "own":
        sources = list(dict.fromkeys(task.source for task in directions))
        source = choose_source(left, sources, strange)
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
            left.select_slider("Captions a task", counts, key="captions", persist_state="session")
        )
        keep("captions", str(count), CAPTIONS_A_TASK)
    chosen = choose_tasks(place, [str(task) for task in directions], of)
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
    if found is None:
        if not under_way():
            st.caption(
                "Trace translates the text in each task and shows which experts its tokens chose: tasks by their experts"
                " and how alike they are, beside chance; a map of sentences; a sentence token by token."
            )
        return None
    traced, routes = found
    if traced != asked:
        st.caption(
            "Below is the trace of what was asked before."
            + ("" if under_way() else " Press Trace for the new one.")
        )
    several = len(traced.tasks)
    own = "the bundled captions" if traced.lines is None else "typed text"
    sentences = counted(len(routes.sources) // several, "sentence")
    of = f"{traced.name}: translations of its own of {own}, {sentences} in {counted(several, 'task')}"
    return routing_of(routes, repr(traced), traced.name, of)


def open_saved(strange: list[str]) -> Routing | None:
    """What saved tables hold, of all their tasks or of some."""
    found: Routing | None = None
    try:
        found = choose_saved(st, strange)
    except WorkbenchError as error:
        st.error(str(error), icon=":material/error:")
    say_strange(strange)
    if found is None:
        st.caption(
            "Trace a network where there is room for it, with `workbench routes` or `workbench usage`, and look at what it"
            " wrote here. Any table with the columns of `routes` will do."
        )
        return None
    names = list(found.usage.tasks)
    chosen = choose_tasks(st, names, found.key)
    return found.only(chosen) if chosen and len(chosen) < len(names) else found


def show(routing: Routing) -> None:
    """What there is of tasks, of sentences and of tokens."""
    st.divider()
    routes = routing.routes
    several = len(routing.usage.tasks)
    said = counted(several, "task")
    if routes is not None:
        each = routes.frame.groupby("task", observed=True)["sentence"].nunique()
        alike = several > 1 and each.nunique() == 1
        number = counted(int(each.iloc[0] if alike else each.sum()), "sentence")
        said = f"{number} in {'each of ' if alike else ''}{said}"
    st.subheader(f"{routing.name}: {said}", anchor=False)
    if routes is None:
        show_tasks(routing)
        return
    if routes.cut:
        st.caption(
            f"{counted(len(routes.cut), 'sentence')} of them {'is' if len(routes.cut) == 1 else 'are'} longer than the"
            " network holds: what lies beyond is not traced."
        )
    by_task, by_sentence, by_token = st.tabs(
        ["Tasks", "Sentences", "Tokens"], key="tab", bind="query-params"
    )
    with by_task:
        show_tasks(routing)
    with by_sentence:
        show_sentences(routing, routes)
    with by_token:
        show_tokens(routing, routes)
    st.download_button(
        "All routes as Parquet",
        lambda: as_parquet(routes),
        "routes.parquet",
        icon=":material/download:",
        on_click="ignore",
        help="To open again under Saved tables, or with `wb.read_routes` or any reader of Parquet",
    )


def as_parquet(routes: Routes) -> bytes:
    """The file that `read_routes` takes."""
    file = io.BytesIO()
    write_routes(routes, file, ".parquet")
    return file.getvalue()


st.title("Experts", anchor=False)
configs = session.usable()
routed = {name: config for name, config in configs.items() if not config.is_dense}
if not routed:
    st.info(
        "None of the checkpoints has experts: they are all dense. What is saved in files can be looked at.",
        icon=":material/info:",
    )
strange: list[str] = []
offered = WHOSE | SAVED if routed else SAVED
where = choose_one(st, "Look at", "whose-text", offered, segmented=True, strange=strange)
found = open_saved(strange) if where == "file" else trace(routed, where, strange)
if found is not None:
    try:
        show(found)
    except WorkbenchError as error:  # of a table that was made elsewhere
        st.error(session.literal(str(error)), icon=":material/error:")
