"""Translate: the same text through one to three checkpoints, with the experts of every token."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app import session
from app.widgets import address, tokens, translating
from app.widgets.direction import choose_direction
from app.widgets.kept_text import write_text
from app.widgets.paging import choose_page
from app.widgets.search import BEAMS
from app.widgets.translating import CHANGED, Asked, Result, Results
from app.widgets.typed import example, offer_file, typed_sentences
from app.widgets.what_if import choose_change
from workbench.config import ModelConfig
from workbench.tasks import Task

MOST_CHARACTERS = 100_000
MOST_CHECKPOINTS = 3


def put_translation() -> None:
    """On a swap: the translation shown becomes the text, where it is that of the text there now."""
    state = st.session_state
    if "translated" not in state or state["text"] != state["translated"][0].written:
        return
    asked, results = state["translated"]
    found = [r for r in translating.side_by_side(results).values() if not isinstance(r, str)]
    if found and asked.task == Task(state["from"], state["to"]):
        state["text"] = "\n".join(made.text for made in found[0].translations)


def change_example(untouched: str) -> None:
    """Put the example of another language into the text box, unless a person has typed."""
    state = st.session_state
    if "text" in state and state["text"] == state.get("example"):
        state["text"] = untouched
    state["example"] = untouched


def choose_tint(results: Results) -> tuple[str, int] | None:
    """The layer whose experts tint the tokens, where any result has one. Kept in the address as `tint`."""
    places = {
        f"{stack}-{layer}": (stack, layer)
        for stack, layer in sorted(
            {
                (stack, layer)
                for result in results.values()
                if not isinstance(result, str) and result.routes
                for stack, found in result.routes.layers.items()
                for layer in found
            }
        )
    }
    if not places:
        return None

    def label(place: str) -> str:
        stack, layer = places[place]
        read = "source tokens" if stack == "encoder" else "tokens it has written"
        return f"{stack.capitalize()} layer {layer} · {read}"

    names = list(places)
    if st.session_state.get("tint") not in (None, *names):  # of a checkpoint that is not shown now
        del st.session_state["tint"]
    address.say_strange(address.begin_one("tint", names))
    place = st.segmented_control(
        "Tint tokens by the experts of",
        names,
        format_func=label,
        key="tint",
        required=True,
        persist_state="session",
    )
    place = place or names[0]
    address.keep("tint", place, names[0])
    return places[place]


def explain_tint(results: Results, stack: str) -> None:
    """Which colour is which expert, and what is shown of them."""
    experts = max(
        r.routes.experts[stack]
        for r in results.values()
        if not isinstance(r, str) and r.routes and stack in r.routes.experts
    )
    st.html(tokens.STYLE + tokens.key(experts))
    st.caption(
        "Colour and number are those of the first expert that a token is sent to; point at a token, or tap it, for all of"
        " them."
        + (
            " The decoder reads an end mark and the language before the tokens that it writes."
            if stack == "decoder"
            else ""
        )
    )


@st.fragment
def show_results(asked: Asked, configs: dict[str, ModelConfig]) -> None:
    """What was translated last. Alone it is drawn anew when another layer, or another page of sentences, is chosen."""
    results: Results = st.session_state["translated"][1]
    shown = translating.side_by_side(results)
    place = choose_tint(results)
    if place is not None:
        explain_tint(results, place[0])
        routed = {
            n: configs[n]
            for n, r in results.items()
            if n in configs and not isinstance(r, str) and r.routes
        }
        found = choose_change(routed, disabled=translating.under_way()) if routed else None
        if found is not None:
            name, change = found
            # No field of the text: the what-if is of the lines that are shown.
            translating.start(
                Asked((name,), asked.task, asked.lines, asked.beam, change, written=asked.written)
            )
            st.rerun()
    differ = frozenset[int]()
    original, *others = shown.values()
    changed = others[0] if any(name.endswith(CHANGED) for name in shown) else None
    numbers = list(range(len(asked.lines)))
    if isinstance(changed, Result) and isinstance(original, Result):
        pairs = zip(changed.translations, original.translations, strict=True)
        differ = frozenset(i for i, (new, old) in enumerate(pairs) if new.text != old.text)
        row = st.container(horizontal=True, vertical_alignment="center")
        row.button(
            "Back to the original", icon=":material/undo:", on_click=translating.put_original_back
        )
        if 0 < len(differ) < len(numbers) and row.toggle(
            "Only sentences that differ", key="only differing"
        ):
            numbers = sorted(differ)
    here, choose_again = choose_page(numbers, "sentence")
    columns = st.columns(len(shown), gap="large")
    cells: dict[str, list[str]] = {}
    for column, (name, result) in zip(columns, shown.items(), strict=True):
        with column:
            if isinstance(result, str):
                st.subheader(name, anchor=False)
                st.error(session.literal(result), icon=":material/error:")
                cells[name] = [""] * len(here)
                continue
            st.subheader(result.name, anchor=False)
            if result is changed:
                st.markdown(f"{len(differ)} of {len(result.lines)} differ from the original's.")
            show_numbers(result)
            if place is not None:
                explain_routing(result, *place)
            cells[result.name] = sentences(
                result, place, here, differ if result is changed else frozenset()
            )
    # In one piece: one element for each would take seconds to draw.
    st.html(tokens.STYLE + tokens.side_by_side(cells))
    choose_again()
    sound = [result for result in shown.values() if not isinstance(result, str)]
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


def show_numbers(result: Result) -> None:
    """How long a sentence took, and how it was translated."""
    made = [t for t in result.translations if t.token_ids]
    if made:
        run = 1000 * sum(t.seconds for t in made) / len(made)
        compiled = result.compile_seconds
        st.caption(
            f"{run:.1f} ms a sentence"
            + (f" · compiled first, {compiled:.1f} s" if compiled > 0.05 else "")
            + f" · {result.how}"
        )


def explain_routing(result: Result, stack: str, layer: int) -> None:
    """Why all tokens of a checkpoint have one colour, where they have."""
    if result.routes is not None and layer in result.routes.layers.get(stack, ()):
        words = tokens.why_alike(getattr(result.config, stack).router)
        if words is not None:
            st.caption(f"{stack.capitalize()} {words}")


def sentences(
    result: Result, place: tuple[str, int] | None, numbers: list[int], differ: frozenset[int]
) -> list[str]:
    """HTML of some of a checkpoint's sentences."""
    stack, layer = place or ("decoder", 0)
    source = stack == "encoder"
    rows: dict[int, pd.DataFrame] | None = None
    if result.routes is not None and layer in result.routes.layers.get(stack, ()):
        frame = result.routes.frame
        of_layer = frame[(frame["stack"] == stack) & (frame["layer"] == layer)]
        of_page = of_layer[of_layer["sentence"].isin(numbers)]
        rows = {int(n): found for n, found in of_page.groupby("sentence")}
    parts = []
    for number in numbers:
        translation = result.translations[number]
        seen = ""
        if rows is not None:
            found = rows.get(number)
            language = result.task.source if source else result.task.target
            strip = "" if found is None else tokens.tinted(found, language)
            # The decoder reads two tokens before those that it writes, and not the last.
            there = result.source_lengths[number] if source else len(translation.token_ids) + 1
            seen = in_words(0 if found is None else found["position"].nunique(), there)
        else:
            strip = tokens.plain(translation.tokens, result.task.target)
        note = ""
        if translation.token_ids:
            cut = " · cut at the longest length" if translation.truncated else ""
            note = (
                f"log-probability a token {translation.score:.2f}"
                f" · {len(translation.token_ids)} tokens written{seen}{cut}"
            )
        line = result.lines[number]
        parts.append(tokens.sentence(line, translation.text, strip, note, number in differ))
    return parts


def in_words(shown: int, there: int) -> str:
    """How many of the tokens there are have been shown."""
    if shown < there:
        return f" · above: the first {shown} of {there} tokens, the most that the network holds"
    return f" · above: {shown} tokens"


st.title("Translate", anchor=False)
configs = session.usable()
with address.together():
    strange = address.begin_many("with", list(configs), [next(iter(configs))])
    asked_for = list(dict.fromkeys(st.session_state["with"]))
    left_out = asked_for[MOST_CHECKPOINTS:]
    if asked_for[:MOST_CHECKPOINTS] != st.session_state["with"]:
        st.session_state["with"] = asked_for[:MOST_CHECKPOINTS]
    columns = st.columns([3, 0.6, 3, 5], vertical_alignment="bottom")
    with columns[3]:
        names = st.multiselect(
            "Checkpoints, side by side",
            list(configs),
            key="with",
            persist_state="session",
            max_selections=MOST_CHECKPOINTS,
        )
    address.keep("with", names, [next(iter(configs))])
    tasks = list(dict.fromkeys(task for n in names or configs for task in configs[n].directions))
    task = choose_direction(columns, tasks, before_swap=put_translation, strange=strange)
    said = st.empty()
    change_example(example(task.source) or st.session_state.get("example", example("eng_Latn")))
    written = write_text(
        st,
        "Text: every sentence is translated on its own",
        "text",
        MOST_CHARACTERS,
        height=112,
        untouched=st.session_state["example"],
        strange=strange,
    )
    lines = typed_sentences(written) if written.strip() else ()
    buttons = st.container(horizontal=True, vertical_alignment="bottom")
    with buttons:
        invited = st.button(
            "Translate",
            type="primary",
            icon=":material/translate:",
            disabled=not lines or not names or translating.under_way(),
        )
    offer_file(buttons, "text", MOST_CHARACTERS)
    beam = address.choose_one(
        buttons,
        "Search",
        "beam",
        BEAMS | {"1": "Greedy search"},  # here it has no label
        strange=strange,
        width=150,
        label_visibility="collapsed",
    )
if strange or left_out:
    with said.container():
        address.say_strange(strange)
        if left_out:
            st.warning(
                f"{session.literal(', '.join(left_out))} of the address: left out, at most {MOST_CHECKPOINTS}"
                " checkpoints stand side by side.",
                icon=":material/link_off:",
            )
if not names:
    st.info("Choose at least one checkpoint to translate with.", icon=":material/info:")
paths = session.checkpoints()
versions = tuple(session.version_of(paths[name]) for name in names)
now = Asked(tuple(names), task, lines, int(beam), versions=versions, written=written)
if invited:
    translating.start(now)
else:
    translating.find(now)
with st.container():  # so that what stands below keeps its place, and what is open stays open
    done = translating.last()
if done is not None:
    st.divider()
    if done[0] != now:
        st.caption(
            "Below is the translation of what was asked before."
            + ("" if translating.under_way() else " Press Translate for the new one.")
        )
    show_results(done[0], configs)
