"""Checkpoints: what there is, what is in memory, and the model cards."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from app import jobs, session
from app.widgets.watching import watch
from workbench.checkpoint.components import parameters_by_component
from workbench.checkpoint.description import stack_in_words, with_lower_headings
from workbench.checkpoint.directory import CARD
from workbench.checkpoint.hub import find_checkpoint
from workbench.checkpoint.memory import free_memory
from workbench.checkpoint.model_card import licence_of, split_card
from workbench.config import ModelConfig
from workbench.errors import WorkbenchError
from workbench.languages import find_language
from workbench.wording import counted

if TYPE_CHECKING:
    from workbench.decoding.translator import Translator

#: Bytes in a MiB.
MIB = 2**20


def size_of(path: Path) -> int:
    """Bytes of the files in a checkpoint directory."""
    return sum(file.stat().st_size for file in path.iterdir() if file.is_file())


def in_memory(path: Path) -> int | None:
    """Bytes that the weights of a checkpoint occupy now; None where it is not loaded."""
    held = session.loaded().get(path)
    return None if held is None else held.model.weight_bytes


def fetch(job: jobs.Job, name: str) -> None:
    """The directory of a model on the hub as the job's only result. Cancelled, it is no longer waited for."""
    found: list[Path] = []
    problems: list[Exception] = []
    fetched = 0, 0

    def count(done: int, total: int) -> None:
        nonlocal fetched
        if job.cancelled:
            raise jobs.Cancelled
        fetched = done, total

    def work() -> None:
        try:
            found.append(find_checkpoint(name, progress=count))
        except Exception as error:  # for the job to tell
            problems.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    began = time.monotonic()
    while thread.is_alive():
        done, total = fetched
        if total:
            sizes = f"{done / MIB:,.1f} of {total / MIB:,.1f} MiB"
            job.report(done / total, f"Fetching {name} into the hub's cache: {sizes}")
        else:
            job.report(
                0.0, f"Looking for {name} on the hub: {time.monotonic() - began:.0f} s so far"
            )
        thread.join(0.2)
    if problems:
        raise problems[0]
    job.results.extend(found)


def offer_adding() -> None:
    """A field for a directory or a hub id, and what became of the last one."""
    job: jobs.Job | None = st.session_state.get("fetching")
    busy = job is not None and not job.finished
    with st.form("add", border=False):
        left, right = st.columns([6, 1], vertical_alignment="bottom")
        written = left.text_input(
            "Add a checkpoint: a directory, or a model on the Hugging Face hub",
            placeholder="/path/to/checkpoint, owner/name or owner/name@revision",
        ).strip()
        pressed = right.form_submit_button(
            "Add", icon=":material/add:", width="stretch", disabled=busy
        )
    if pressed and written:
        st.session_state.pop("fetching", None)
        job = None
        try:
            path = session.path_of(written)
        except WorkbenchError as error:
            st.error(session.literal(str(error)), icon=":material/error:")
            return
        if path.exists():
            add(path)
        else:
            job = jobs.start(lambda job: fetch(job, written), written)
            st.session_state["fetching"] = job
    if job is None:
        return
    if not job.finished:
        watch(job)
    elif job.results:
        del st.session_state["fetching"]
        add(job.results[0])
    elif job.error:
        st.error(session.literal(job.error), icon=":material/error:")
    else:
        st.info(
            f"Cancelled. {session.literal(job.of)} is not added; files that have arrived stay in the hub's cache and"
            " are not fetched again.",
            icon=":material/info:",
        )


def add(path: Path) -> None:
    """Offer a directory in all pages, or say why not."""
    try:
        session.add(path)
        st.toast(
            f"Added {session.literal(session.called(path.resolve()))}", icon=":material/check:"
        )
    except WorkbenchError as error:
        st.error(session.literal(str(error)), icon=":material/error:")


def show_overview(configs: dict[str, ModelConfig], paths: dict[str, Path]) -> None:
    """What is in memory in all, and a row for each checkpoint."""
    held = [size for name in configs if (size := in_memory(paths[name])) is not None]
    free = free_memory()
    left = "" if free is None else f"; {free / 2**30:,.1f} GiB of memory are free"
    made = [model.weight_bytes for model in session.made().values()]
    more = (
        f", and {counted(len(made), 'network')} made here: {sum(made) / MIB:,.1f} MiB"
        if made
        else ""
    )
    st.caption(
        f"{len(configs)} checkpoints, {len(held)} in memory: {sum(held) / MIB:,.1f} MiB of weights{more}, compiled"
        f" programs and caches apart{left}. At most {session.MOST_LOADED} stay in memory; the one that was used"
        " longest ago goes first. Layers are counted from 0."
    )
    overview = pd.DataFrame(
        {
            "Checkpoint": list(configs),
            "Parameters (M)": [
                sum(parameters_by_component(c).values()) / 1e6 for c in configs.values()
            ],
            "On disk (MiB)": [size_of(paths[name]) / MIB for name in configs],
            "To load (MiB)": [session.memory_needed(c) / MIB for c in configs.values()],
            "In memory (MiB)": [(in_memory(paths[name]) or float("nan")) / MIB for name in configs],
            "Encoder": [stack_in_words(c.encoder) for c in configs.values()],
            "Decoder": [stack_in_words(c.decoder) for c in configs.values()],
        }
    )
    number = st.column_config.NumberColumn
    st.dataframe(
        overview,
        hide_index=True,
        width="stretch",
        placeholder="–",
        column_config={
            "Parameters (M)": number(format="%.2f"),
            "On disk (MiB)": number(format="%.1f"),
            "To load (MiB)": number(format="%.1f", help="Memory for its weights, in float32"),
            "In memory (MiB)": number(format="%.1f", help="Now, where it is loaded"),
        },
    )


def show(name: str, path: Path, config: ModelConfig) -> None:
    """One checkpoint: facts, buttons to load, unload and remove it, and its card."""
    need, free, held = session.memory_needed(config), free_memory(), in_memory(path)
    fits = free is None or need <= free
    with st.container(border=True):
        left, right = st.columns([5, 1], vertical_alignment="center")
        left.subheader(session.literal(name), anchor=False)
        offer_loading(right, path, fits)
        languages = ", ".join(find_language(c, among=(c,)).name for c in config.languages)
        card = path / CARD
        text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
        if held is not None:
            memory = f"{held / MIB:,.1f} MiB of weights ({session.loaded()[path].model.dtype})"
        else:
            memory = f"not loaded; would need {need / MIB:,.1f} MiB for its weights (float32)"
            if free is not None and not fits:
                memory += f", but {free / MIB:,.1f} MiB are free: **it cannot be loaded here now**"
        on_disk = f"{size_of(path) / MIB:,.1f} MiB"
        facts = shape_of(config) | {
            "In memory": memory,
            "On disk": on_disk,
            "Languages": f"{languages} ({len(config.directions)} directions)",
            "Licence": licence_of(text) or "not stated",
            "Directory": f"`{path}`",
        }
        show_facts(facts)
        if text:
            with st.expander("Model card"):
                st.markdown(with_lower_headings(split_card(text)[1], 3), anchors=False)


def show_made(model: Translator) -> None:
    """A network that was made on these pages: facts, and a button that gives its memory back."""
    saved = model.path if model.path is not None and model.path.is_dir() else None
    with st.container(border=True):
        left, right = st.columns([5, 1], vertical_alignment="center")
        left.subheader(session.literal(model.name), anchor=False)
        if right.button(
            "Unload",
            key=f"drop {session.number_of(model)}",
            icon=":material/eject:",
            width="stretch",
            help=None if saved else "It is not saved, so it would have to be made anew",
        ):
            session.drop(model)
            st.rerun()
        facts = shape_of(model.config) | {
            "In memory": f"{model.weight_bytes / MIB:,.1f} MiB of weights ({model.dtype})",
            "Made here": f"saved in `{saved}`" if saved else "not saved",
            "Directions": ", ".join(task.label for task in model.config.directions),
        }
        show_facts(facts)


def shape_of(config: ModelConfig) -> dict[str, str]:
    """Parameters and stacks in words."""
    counts = parameters_by_component(config)
    experts = "" if config.is_dense else f", of which experts {counts['experts'] / 1e6:.2f} M"
    return {
        "Parameters": f"{sum(counts.values()) / 1e6:.2f} M{experts}",
        "Encoder": stack_in_words(config.encoder),
        "Decoder": stack_in_words(config.decoder),
    }


def show_facts(facts: dict[str, str]) -> None:
    """A list of facts, each with what it is of."""
    st.markdown("\n".join(f"- **{label}** {value}" for label, value in facts.items()))


def offer_loading(place: Any, path: Path, fits: bool) -> None:
    """Buttons in `place`: load or unload, and for what was added, take it off the list."""
    if path in session.loaded():
        if place.button("Unload", key=f"unload {path}", icon=":material/eject:", width="stretch"):
            session.unload(path)
            st.rerun()
    elif place.button(
        "Load",
        key=f"load {path}",
        icon=":material/memory:",
        width="stretch",
        disabled=not fits,
    ):
        try:
            session.load(path)
            st.rerun()
        except WorkbenchError as error:
            st.error(session.literal(str(error)), icon=":material/error:")
    if path in session.added() and place.button(
        "Remove",
        key=f"remove {path}",
        icon=":material/close:",
        width="stretch",
        help="From this list: its files stay",
    ):
        session.unload(path)
        session.forget(path)
        st.rerun()


st.title("Checkpoints", anchor=False)
st.caption(f"From `{session.root()}`, and what you add here.")
offer_adding()
configs = session.usable()
paths = session.checkpoints()
show_overview(configs, paths)
for network in reversed(session.made().values()):
    show_made(network)
for name, config in configs.items():
    show(name, paths[name], config)
