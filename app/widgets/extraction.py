"""Exact extraction: what some tasks keep of a task-routed checkpoint, cut out and proved for each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import streamlit as st

from app import jobs, session
from app.widgets.address import is_fresh, keep, together
from app.widgets.before_after import show_components, show_totals
from app.widgets.saving import offer
from app.widgets.watching import watch
from workbench.checkpoint.selection import Selection
from workbench.config import ModelConfig
from workbench.decoding.translator import Translator
from workbench.errors import WorkbenchError
from workbench.evaluation.testset import CAPTIONS, read_corpus
from workbench.subnetworks.extract import extract, folded_config, kept_experts
from workbench.subnetworks.from_disk import DiskExtraction
from workbench.subnetworks.proof import TIE, Proof, proofs_table, prove, unequal_table
from workbench.tasks import Task, parse_task

_PREFERRED = "eng_Latn-deu_Latn"
_KEY = "cut-directions"


@dataclass(frozen=True)
class Cut:
    """A sub-network and the proofs that are done, in the order of its tasks. whole: the name of its parent."""

    network: Translator
    whole: str
    tasks: tuple[Task, ...]
    proofs: tuple[Proof, ...] = ()


def choose_directions(config: ModelConfig) -> list[Task]:
    """The directions to extract. One stands in the URL as `from` and `to`, several as `directions`."""
    options = [str(task) for task in config.directions]
    default = [_PREFERRED if _PREFERRED in options else options[0]]
    if is_fresh(_KEY):
        st.session_state[_KEY] = _asked()
    found = [name for name in dict.fromkeys(st.session_state[_KEY]) if name in options]
    if not found and st.session_state[_KEY] != []:
        found = default
    st.session_state[_KEY] = found
    names = st.multiselect(
        "Directions",
        options,
        format_func=lambda name: parse_task(name).label,
        key=_KEY,
        persist_state="session",
        wrap=True,
    )
    tasks = [parse_task(name) for name in names]
    one = tasks[0] if len(tasks) == 1 and names != default else None
    with together():
        keep("directions", names if len(names) > 1 else [], [])
        keep("from", one.source if one else "", "")
        keep("to", one.target if one else "", "")
    if len(tasks) == 1:  # other pages begin with it
        st.session_state.update({"last from": tasks[0].source, "last to": tasks[0].target})
    return tasks


def _asked() -> list[str]:
    """The directions that the address names, else the one of the page before."""
    several = st.query_params.get_all("directions")
    first, second = (
        st.query_params.get(key, st.session_state.get(f"last {key}")) for key in ("from", "to")
    )
    return several or [f"{first}-{second}"]


def extraction(path: Path, model: Translator, tasks: Sequence[Task]) -> None:
    """What the tasks keep; on request the sub-network, a proof for each of them, and ways to keep it."""
    if not tasks:
        st.info("Choose at least one direction to extract.", icon=":material/info:")
        return
    place = st.container()  # above the details, so that it is in sight on a low screen too
    try:
        show_kept(model, tasks)
    except WorkbenchError as error:
        st.error(session.literal(str(error)), icon=":material/error:")
        return
    with place:
        _extract_and_prove(path, model, tasks)


def _extract_and_prove(path: Path, model: Translator, tasks: Sequence[Task]) -> None:
    """The button, the job under way, and what came of it."""
    asked = session.Making(path, session.version_of(path), "extract", tuple(tasks))
    job: jobs.Job | None = st.session_state.get("cutting")
    if job is None or (
        job.finished and job.of != asked
    ):  # it may have been asked before, and the page loaded anew
        job = jobs.known(asked) or job
        if job is not None:
            st.session_state["cutting"] = job
    busy = job is not None and not job.finished
    if st.button("Extract and prove", type="primary", icon=":material/content_cut:", disabled=busy):
        name = None if len(tasks) == 1 else session.free_name(f"{model.name}-{len(tasks)}-tasks")
        st.session_state["cutting"] = jobs.start(
            lambda job: cut(job, model, tasks, name), asked, shared=True
        )
        st.rerun()
    if job is None:
        return
    if not job.finished:
        watch(job)
    elif job.of == asked:
        if job.error:
            st.error(session.literal(job.error), icon=":material/error:")
        elif job.cancelled and not job.results:
            st.info("Cancelled: nothing was extracted.", icon=":material/info:")
        for result in job.results:
            show_proofs(result)


def shape_of(model: Translator, tasks: Sequence[Task]) -> ModelConfig:
    """The shape of the sub-network. Raises WorkbenchError where the checkpoint's files cannot be read."""
    if len(tasks) == 1 or model.path is None:
        return folded_config(model.config, tasks[0])
    return DiskExtraction(Selection(model.path, model.config), tasks, model.name).config


def show_kept(model: Translator, tasks: Sequence[Task]) -> None:
    """The experts that the tasks keep, and the sizes before and after."""
    after = shape_of(model, tasks)
    show_totals(model.config, after)
    left, right = st.columns(2, gap="large")
    each = {task: kept_experts(model, task) for task in tasks}
    left.markdown(
        f"**Experts that {'this task keeps' if len(tasks) == 1 else 'these tasks keep'}**"
    )
    left.dataframe(_layers(model.config, each), hide_index=True, width="stretch")
    for stack, routed in model.config.stacks:
        if not routed.router:
            continue
        if routed.router.granularity != "task":
            left.caption(
                f"The {stack} is routed by {routed.router.granularity}: it keeps all its experts."
            )
        elif getattr(after, stack).router is None:
            left.caption(f"The {stack} becomes dense.")
        else:
            left.caption(f"The {stack} keeps a router over these experts.")
    if len(tasks) > 1:
        with left.expander("By direction"):
            frames = [
                _layers(model.config, {task: kept}, task.label) for task, kept in each.items()
            ]
            st.dataframe(pd.concat(frames), hide_index=True, width="stretch")
    of = f"{model.name}, extracted for {', '.join(task.label for task in tasks)}"
    show_components(right, left, model.config, after, of, model.path)


def _layers(
    config: ModelConfig, kept: dict[Task, dict[str, dict[str, dict[str, float]]]], label: str = ""
) -> pd.DataFrame:
    """A row for each layer: the experts that any of the tasks keeps; of one task with their gates."""
    rows = []
    for stack, layers in next(iter(kept.values())).items():
        for layer in layers:
            gates = {e: g for own in kept.values() for e, g in own[stack][layer].items()}
            experts = sorted(gates, key=int) if len(kept) > 1 else list(gates)
            rows.append(
                {
                    **({"Direction": label} if label else {}),
                    "Stack": stack,
                    "Layer": int(layer),
                    "Experts kept": ", ".join(experts),
                    "Of how many": getattr(config, stack).experts_in(int(layer)),
                    **(
                        {"Gates": ", ".join(f"{gates[e]:.3f}" for e in experts)}
                        if len(kept) == 1
                        else {"Kept": len(experts)}
                    ),
                }
            )
    return pd.DataFrame(rows)


def cut(job: jobs.Job, model: Translator, tasks: Sequence[Task], name: str | None) -> None:
    """The sub-network, and its proofs on the bundled captions one by one, as the job's only result."""
    job.report(0.0, f"Extracting {tasks[0].label if len(tasks) == 1 else f'{len(tasks)} tasks'}")
    small = extract(model, tasks, name)
    session.keep(small)
    job.results.append(Cut(small, model.name, tuple(tasks)))
    corpus = read_corpus(CAPTIONS)
    for number, task in enumerate(tasks):
        if task.source not in corpus.lines:
            continue

        def report(done: int, total: int, number: int = number, task: Task = task) -> None:
            share = (number + done / total) / len(tasks)
            job.report(share, f"Proving {task.label}: both translate the captions")

        proof = prove(model, small, corpus.lines[task.source], task, progress=report)
        result = job.results[0]
        job.results[:] = [replace(result, proofs=(*result.proofs, proof))]
        tables = [each.to_json() for each in job.results[0].proofs]
        small.provenance["proof"] = tables[0] if len(tasks) == 1 else tables


def show_proofs(result: Cut) -> None:
    """Verdict, numbers, the sentences that are not equal, and ways to keep the result."""
    proofs, tasks = result.proofs, result.tasks
    failed = [proof for proof in proofs if not proof.holds]
    left_out = [task.label for task in tasks if str(task) not in {p.task for p in proofs}]
    st.subheader(result.network.name, anchor=False)
    for proof in failed:
        st.error(
            f"Not proved. {proof.objection} Sentences are counted from 0.", icon=":material/error:"
        )
    if left_out:
        st.warning(
            f"Extracted, but not proved for {', '.join(left_out)}: the proof was cancelled, or the bundled captions"
            " are not in the source language.",
            icon=":material/warning:",
        )
    if proofs and not failed:
        table = proofs_table(proofs)
        ties = int(table["ties"].sum())
        st.success(
            f"Proved on {proofs[0].sentences} captions"
            + (f" in each of {len(proofs)} directions" if len(proofs) > 1 else "")
            + f": {table['identical'].sum():,} translations are equal token for token"
            + (f", {ties:,} differ by a tie" if ties else "")
            + f". Largest logit difference {table['largest_logit_difference'].max():.1e}.",
            icon=":material/verified:",
        )
    if proofs:
        show_table(proofs)
    offer(result.network, result.whole, tasks)


def show_table(proofs: Sequence[Proof]) -> None:
    """A row for each direction, and the sentences that are not equal token for token."""
    table = proofs_table(proofs)
    table["task"] = [parse_task(name).label for name in table["task"]]
    table["holds"] = ["proved" if holds else "not proved" for holds in table["holds"]]
    number = st.column_config.NumberColumn
    st.dataframe(
        table,
        hide_index=True,
        width="stretch",
        column_config={
            "task": st.column_config.TextColumn("Direction", pinned=True),
            "sentences": number("Sentences"),
            "identical": number("Equal token for token"),
            "ties": number("Ties", help=f"The parent's two best logits lie within {TIE:g} there"),
            "different": number("Different"),
            "largest_logit_difference": number("Largest logit difference", format="%.1e"),
            "logits_within": number("Rounding explains", format="%.1e", help="At most"),
            "holds": st.column_config.TextColumn("Verdict"),
        },
    )
    unequal = unequal_table(proofs)
    if unequal.empty:
        st.caption("No sentence differs, not even by a tie.")
        return
    unequal["task"] = [parse_task(name).label for name in unequal["task"]]
    unequal["tie"] = ["tie" if tie else "different" for tie in unequal["tie"]]
    with st.expander(f"Where translations part: {len(unequal)}, ties included"):
        st.dataframe(
            unequal,
            hide_index=True,
            width="stretch",
            column_config={
                "task": "Direction",
                "sentence": number("Sentence", help="Counted from 0"),
                "source": "Source",
                "position": number("Position", help="Of the first unequal token, from 0"),
                "parent_token": "Token of the whole",
                "token": "Token of the part",
                "margin": number(
                    "Difference",
                    format="%.1e",
                    help="Between the two best logits of the whole network there",
                ),
                "tie": "Is a",
            },
        )
