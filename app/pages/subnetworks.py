"""Sub-networks: what one task needs of a checkpoint, cut out, proved and saved."""

from __future__ import annotations

import tempfile
import zipfile
from io import BytesIO
from pathlib import Path

import pandas as pd
import streamlit as st

from app import session
from app.widgets.direction import choose_direction
from workbench.checkpoint.components import parameters_by_component
from workbench.decoding.translator import Translator
from workbench.errors import WorkbenchError
from workbench.evaluation.testset import CAPTIONS, read_corpus
from workbench.figures.sizes import component_bars
from workbench.subnetworks.extract import extract, folded_config, kept_experts
from workbench.subnetworks.proof import Proof, prove
from workbench.tasks import Task


def show_kept(model: Translator, task: Task) -> None:
    """The experts that the task keeps, and the sizes before and after."""
    kept = kept_experts(model, task)
    rows = [
        {
            "Stack": stack,
            "Layer": int(layer),
            "Experts kept": ", ".join(experts),
            "Gates": ", ".join(f"{gate:.3f}" for gate in experts.values()),
            "Of": getattr(model.config, stack).experts,
        }
        for stack, layers in kept.items()
        for layer, experts in layers.items()
    ]
    before = parameters_by_component(model.config)
    after = parameters_by_component(folded_config(model.config, task))
    totals = sum(before.values()), sum(after.values())
    first, second, third = st.columns(3)
    first.metric("Parameters before", f"{totals[0] / 1e6:.2f} M", help="float32: 4 bytes each")
    second.metric(
        "Parameters after",
        f"{totals[1] / 1e6:.2f} M",
        f"{totals[1] / totals[0] - 1:.0%}",
        delta_color="inverse",
    )
    third.metric(
        "In memory, float32",
        f"{4 * totals[1] / 2**20:.1f} MiB",
        f"of {4 * totals[0] / 2**20:.1f} MiB",
        delta_color="off",
        delta_arrow="off",
    )
    left, right = st.columns([2, 3], gap="large")
    left.markdown("**Experts that this task keeps**")
    left.dataframe(pd.DataFrame(rows), hide_index=True, width="stretch")
    sizes = pd.DataFrame(
        [
            {"component": component, "network": network, "parameters": count}
            for network, counts in (("full", before), ("sub-network", after))
            for component, count in counts.items()
            if before[component] or after[component]
        ]
    )
    right.altair_chart(component_bars(sizes), width="stretch")


def cut(model: Translator, task: Task) -> tuple[Translator, Proof]:
    """The sub-network and its proof on the bundled captions."""
    bar = st.progress(0.0, text="Extracting")
    small = extract(model, [task])

    def report(done: int, total: int) -> None:
        bar.progress(done / total, text="Proving: both translate the captions")

    sources = read_corpus(CAPTIONS, (task.source,)).lines[task.source]
    proof = prove(
        model,
        small,
        sources,
        task,
        progress=report,
    )
    bar.empty()
    small.provenance["proof"] = proof.to_json()
    return small, proof


@st.cache_data(show_spinner="Packing", max_entries=2)
def archive(name: str, stamp: int, _small: Translator) -> bytes:
    """The sub-network's directory as a zip file."""
    with tempfile.TemporaryDirectory() as folder:
        _small.save(Path(folder) / name)
        data = BytesIO()
        with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as file:
            for path in sorted((Path(folder) / name).iterdir()):
                file.write(path, f"{name}/{path.name}")
        return data.getvalue()


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
            f"{proof.different} of {proof.sentences} translations differ by more than rounding:"
            f" sentences {', '.join(str(n + 1) for n in proof.differing[:10])}.",
            icon=":material/error:",
        )
    left, right = st.columns([3, 2], gap="medium", vertical_alignment="bottom")
    place = left.text_input("Save as", str(session.root() / small.name))
    save, download = right.columns(2)
    if save.button("Save", icon=":material/save:", width="stretch"):
        try:
            small.save(place)
            st.toast(f"Saved in {place}", icon=":material/check:")
        except WorkbenchError as error:
            st.error(str(error), icon=":material/error:")
    download.download_button(
        "Download",
        lambda: archive(small.name, id(small), small),
        f"{small.name}.zip",
        icon=":material/download:",
        width="stretch",
    )


st.title("Sub-networks", anchor=False)
configs = session.usable()
by_task = [
    name
    for name, config in configs.items()
    if any(s.router and s.router.granularity == "task" for _, s in config.stacks)
]
if not by_task:
    st.info(
        "None of the checkpoints is routed by task, so nothing can be cut out exactly.",
        icon=":material/info:",
    )
    st.stop()
if st.session_state.get("model") not in by_task:
    wanted = st.query_params.get("model")
    st.session_state["model"] = wanted if wanted in by_task else by_task[0]
columns = st.columns([4, 3, 0.6, 3], vertical_alignment="bottom")
name = columns[0].selectbox("Checkpoint", by_task, key="model", bind="query-params")
task = choose_direction(columns[1:], configs[name].directions)
try:
    model = session.load(session.checkpoints()[name])
except WorkbenchError as error:
    st.error(str(error), icon=":material/error:")
    st.stop()
show_kept(model, task)
if st.button("Extract and prove", type="primary", icon=":material/content_cut:"):
    try:
        st.session_state["cut"] = (name, task, *cut(model, task))
    except WorkbenchError as error:
        st.error(str(error), icon=":material/error:")
if st.session_state.get("cut", ())[:2] == (name, task):
    show_proof(*st.session_state["cut"][2:])
