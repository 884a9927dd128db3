"""Translate: the same text through one to three checkpoints, with the experts of every token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from app import session
from app.widgets import tokens
from app.widgets.address import keep
from app.widgets.direction import choose_direction
from app.widgets.typed import offer_file, typed_sentences
from app.widgets.what_if import Change, choose_change
from workbench.errors import WorkbenchError
from workbench.tasks import Task

if TYPE_CHECKING:
    from workbench.decoding.system import Translation
    from workbench.routing.trace import Routes

EXAMPLE = (
    "A man in a blue shirt is riding a bicycle.\n"
    "Two dogs are running through the snow.\n"
    "A little girl is playing in the water."
)
MOST_CHARACTERS = 100_000
# A longer text is not in the page's address: mail programs and servers cut long ones.
MOST_IN_ADDRESS = 1_000
# Ends the key of a what-if's result; before it stands the original's.
CHANGED = ", changed"


@dataclass(frozen=True)
class Result:
    """What one checkpoint made of the text."""

    name: str
    lines: tuple[str, ...]
    translations: tuple[Translation, ...]
    routes: Routes | None
    task: Task
    source_lengths: tuple[int, ...]  # in tokens


def translate(
    name: str, lines: tuple[str, ...], task: Task, change: Change | None = None
) -> Result | str:
    """The checkpoint's result, or what went wrong."""
    try:
        model = session.load(session.checkpoints()[name])
        if change is not None:
            model = change.of(model)
        with st.spinner(f"{name}: translating (the first time for a shape, compiling)"):
            made = model.translate(lines, task.source, task.target)
            routes = None
            if not model.config.is_dense:
                from workbench.routing.trace import trace_routes

                routes = trace_routes(model, lines, task.source, task.target, references=made)
        lengths = map(len, model.tokenizer.encode_sources(list(lines), task.source))
        return Result(model.name, lines, tuple(made), routes, task, tuple(lengths))
    except WorkbenchError as error:
        return str(error)


def show(name: str, result: Result | str, stack: str, layer: int, note: str = "") -> None:
    """One checkpoint's column."""
    if isinstance(result, str):
        st.subheader(name, anchor=False)
        st.error(result, icon=":material/error:")
        return
    st.subheader(result.name, anchor=False)
    if note:
        st.markdown(note)
    import jax  # loaded with the translator by now

    made = [t for t in result.translations if t.token_ids]
    if made:
        run = 1000 * sum(t.seconds for t in made) / len(made)
        compiled = made[0].compile_seconds
        st.caption(
            f"{run:.1f} ms a sentence"
            + (f" · compiled first, {compiled:.1f} s" if compiled > 0.05 else "")
            + f" · greedy, float32, {jax.default_backend().upper()}, batches of up to 32"
        )
    frame = result.routes.to_frame() if result.routes else None
    for number, (line, translation) in enumerate(
        zip(result.lines, result.translations, strict=True)
    ):
        parts = [tokens.text(line, translation.text)]
        shown = ""
        if frame is not None and stack in result.routes.layers:  # type: ignore[union-attr]
            here = frame[
                (frame["sentence"] == number)
                & (frame["stack"] == stack)
                & (frame["layer"] == layer)
            ]
            source = stack == "encoder"
            parts.append(tokens.tinted(here, result.task.source if source else result.task.target))
            # The decoder reads two tokens before those that it writes, and not the last.
            there = result.source_lengths[number] if source else len(translation.token_ids) + 1
            shown = in_words(here["position"].nunique(), there)
        else:
            parts.append(tokens.plain(translation.tokens, result.task.target))
        st.html(tokens.STYLE + "".join(parts))
        if translation.token_ids:
            cut = " · cut at the longest length" if translation.truncated else ""
            st.caption(
                f"log-probability a token {translation.score:.2f}"
                f" · {len(translation.token_ids)} tokens written{shown}{cut}"
            )


def in_words(shown: int, there: int) -> str:
    """How many of the tokens there are have been shown."""
    if shown < there:
        return f" · above: the first {shown} of {there} tokens, the most that the network holds"
    return f" · above: {shown} tokens"


def side_by_side(results: dict[str, Result | str]) -> dict[str, Result | str]:
    """Those to show: a what-if beside its original, else all."""
    for name in results:
        if name.endswith(CHANGED):
            return {n: results[n] for n in (name.removesuffix(CHANGED), name)}
    return results


def put_translation() -> None:
    """On a swap: the translation shown becomes the text, where it is that of the text there now."""
    state = st.session_state
    if "translated" not in state or state["text"] != state["translated text"]:
        return
    (_, done, _), results = state["translated"]
    found = [r for r in side_by_side(results).values() if not isinstance(r, str)]
    if found and done == Task(state["from"], state["to"]):
        state["text"] = "\n".join(made.text for made in found[0].translations)


st.title("Translate", anchor=False)
configs = session.usable()
st.session_state.setdefault("with", [next(iter(configs))])
st.session_state["with"] = [n for n in st.session_state["with"] if n in configs] or [
    next(iter(configs))
]
columns = st.columns([3, 0.6, 3, 5], vertical_alignment="bottom")
with columns[3]:
    names = st.multiselect(
        "Checkpoints, side by side",
        list(configs),
        key="with",
        bind="query-params",
        max_selections=3,
    )
chosen = names or [next(iter(configs))]
tasks = list(dict.fromkeys(task for name in chosen for task in configs[name].directions))
task = choose_direction(columns, tasks, before_swap=put_translation)
if "text" not in st.session_state:
    st.session_state["text"] = st.query_params.get("text", EXAMPLE)[:MOST_CHARACTERS]
written = st.text_area(
    "Text: every sentence is translated on its own",
    key="text",
    persist_state="session",
    height=112,
    max_chars=MOST_CHARACTERS,
)
keep("text", written if len(written) <= MOST_IN_ADDRESS else EXAMPLE, EXAMPLE)
lines = typed_sentences(written) if written.strip() else ()
buttons = st.container(horizontal=True)
invited = buttons.button(
    "Translate", type="primary", icon=":material/translate:", disabled=not lines
)
offer_file(buttons, "text", MOST_CHARACTERS)
asked = (tuple(chosen), task, lines)
if invited:
    st.session_state["translated text"] = written
    st.session_state["translated"] = (
        asked,
        {name: translate(name, lines, task) for name in chosen},
    )

if "translated" in st.session_state:
    (chosen, done, _), results = st.session_state["translated"]
    st.divider()
    if (tuple(chosen), done, lines) != asked:
        st.caption(
            "Below is the translation of what was asked before. Press Translate for the new one."
        )
    layers = sorted(
        {
            (stack, layer)
            for result in results.values()
            # Not `isinstance(result, Result)`: Streamlit runs this script, and defines the class, anew.
            if not isinstance(result, str) and result.routes
            for stack, found in result.routes.layers.items()
            for layer in found
        }
    )
    stack, layer = "decoder", 0
    if layers:
        # By their labels: the widget would read a tuple as several defaults.
        places = {
            f"{stack.capitalize()} layer {layer} · "
            + ("source tokens" if stack == "encoder" else "tokens it has written"): (stack, layer)
            for stack, layer in layers
        }
        first = next(iter(places))
        # Under a second name as well: Streamlit forgets a widget's own when another page is shown.
        kept = st.session_state.get("tint", st.session_state.get("tinted by"))
        st.session_state["tint"] = kept if kept in places else first
        place = st.segmented_control(
            "Tint tokens by the experts of", list(places), key="tint", required=True
        )
        st.session_state["tinted by"] = place
        stack, layer = places[place or first]
        experts = max(
            r.routes.experts[stack]
            for r in results.values()
            if not isinstance(r, str) and r.routes and stack in r.routes.experts
        )
        st.html(tokens.STYLE + tokens.key(experts))
        st.caption(
            "Colour and number are those of the first expert that a token is sent to; point at a token for all of them."
            + (
                " The decoder reads an end mark and the language before the tokens that it writes."
                if stack == "decoder"
                else ""
            )
        )
        routed = {
            n: configs[n]
            for n, r in results.items()
            if n in configs and not n.endswith(CHANGED) and not isinstance(r, str) and r.routes
        }
        if routed and (found := choose_change(routed)) is not None:
            name, change = found
            changed = translate(name, results[name].lines, done, change)
            # The others stay, so that any of them can be changed next.
            results = {n: r for n, r in results.items() if not n.endswith(CHANGED)}
            results[name + CHANGED] = changed
            st.session_state["translated"] = st.session_state["translated"][0], results
    results = side_by_side(results)
    for column, (name, result) in zip(
        st.columns(len(results), gap="large"), results.items(), strict=True
    ):
        with column:
            note = ""
            if name.endswith(CHANGED) and not isinstance(result, str):
                original = next(iter(results.values()))
                assert not isinstance(original, str)  # only what was translated can be changed
                pairs = zip(result.translations, original.translations, strict=True)
                differ = sum(new.text != old.text for new, old in pairs)
                note = f"{differ} of {len(result.lines)} differ from the original's."
            show(name, result, stack, layer, note)
    sound = [result for result in results.values() if not isinstance(result, str)]
    if sound:
        made = {result.name: [t.text for t in result.translations] for result in sound}
        table = pd.DataFrame({"source": sound[0].lines, **made})
        st.download_button(
            "Translations as TSV",
            lambda: table.to_csv(sep="\t", index=False),
            "translations.tsv",
            icon=":material/download:",
            on_click="ignore",
        )
