"""Exact extraction: what one task keeps of a task-routed checkpoint, cut out and proved."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app import jobs
from app.widgets.before_after import show_components, show_totals
from app.widgets.saving import offer
from app.widgets.watching import watch
from workbench.decoding.translator import Translator
from workbench.evaluation.testset import CAPTIONS, read_corpus
from workbench.subnetworks.extract import extract, folded_config, kept_experts
from workbench.subnetworks.proof import Proof, prove
from workbench.tasks import Task


def extraction(model: Translator, task: Task) -> None:
    """What the task keeps; on request the sub-network, its proof, and ways to keep it."""
    show_kept(model, task)
    of = model.name, task
    job: jobs.Job | None = st.session_state.get("cutting")
    busy = job is not None and not job.finished
    if st.button("Extract and prove", type="primary", icon=":material/content_cut:", disabled=busy):
        st.session_state["cutting"] = jobs.start(lambda job: cut(job, model, task), of)
        st.rerun()
    if job is not None and not job.finished:
        watch(job)
    elif job is not None and job.of == of:
        if job.results:
            show_proof(*job.results[0])
        elif job.error:
            st.error(job.error, icon=":material/error:")
        else:
            st.info("Cancelled: nothing was extracted.", icon=":material/info:")


def show_kept(model: Translator, task: Task) -> None:
    """The experts that the task keeps, and the sizes before and after."""
    kept = kept_experts(model, task)
    rows = [
        {
            "Stack": stack,
            "Layer": int(layer),
            "Experts kept": ", ".join(experts),
            "Of how many": getattr(model.config, stack).experts_in(int(layer)),
            "Gates": ", ".join(f"{gate:.3f}" for gate in experts.values()),
        }
        for stack, layers in kept.items()
        for layer, experts in layers.items()
    ]
    after = folded_config(model.config, task)
    show_totals(model.config, after)
    left, right = st.columns([2, 3], gap="large")
    left.markdown("**Experts that this task keeps**")
    left.dataframe(pd.DataFrame(rows), hide_index=True, width="stretch")
    for stack, routed in model.config.stacks:
        if routed.router and stack not in kept:
            left.caption(
                f"The {stack} is routed by {routed.router.granularity}: it keeps all its experts."
            )
    show_components(right, model.config, after, f"{model.name}, extracted for {task.label}")


def cut(job: jobs.Job, model: Translator, task: Task) -> None:
    """The sub-network and its proof on the bundled captions, as the job's only result."""
    job.report(0.0, f"Extracting {task.label}")
    small = extract(model, [task])

    def report(done: int, total: int) -> None:
        job.report(done / total, f"Proving {task.label}: both translate the captions")

    sources = read_corpus(CAPTIONS, (task.source,)).lines[task.source]
    proof = prove(model, small, sources, task, progress=report)
    small.provenance["proof"] = proof.to_json()
    job.results.append((small, proof))


def show_proof(small: Translator, proof: Proof) -> None:
    """Verdict, numbers, and ways to keep the result."""
    if proof.holds:
        st.success(
            f"Proved on {proof.sentences} captions: {proof.identical} translations are equal token for token"
            + (f", {proof.ties} differ by a tie" if proof.ties else "")
            + f". Largest logit difference {proof.largest_logit_difference:.1e}.",
            icon=":material/verified:",
        )
    else:
        st.error(
            f"Not proved. {proof.objection} Sentences are counted from 0.", icon=":material/error:"
        )
    offer(small)
