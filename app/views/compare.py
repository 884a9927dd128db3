"""Compare: quality and speed of systems on the bundled captions, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import streamlit as st

from app import jobs, session
from app.widgets.direction import choose_direction
from app.widgets.watching import watch
from workbench.checkpoint.components import parameters_by_component
from workbench.decoding.system import Translation
from workbench.decoding.translator import Translator
from workbench.errors import WorkbenchError
from workbench.evaluation.quality import evaluate
from workbench.evaluation.speed import benchmark
from workbench.evaluation.testset import CAPTIONS, TestSet, load_testset
from workbench.figures.trade_off import quality_against_latency
from workbench.subnetworks.extract import extract
from workbench.tasks import Task

SUBNETWORK = " ✂"  # marks the sub-network of a checkpoint, extracted when it is needed


@dataclass(frozen=True)
class Measured:
    """One system's scores, speeds and translations."""

    system: str
    parameters: int
    scores: pd.DataFrame
    speeds: pd.DataFrame
    translations: tuple[Translation, ...]


def system(name: str, task: Task) -> Translator:
    """The checkpoint, or the sub-network of it, that a name in the list means."""
    model = session.load(session.checkpoints()[name.removesuffix(SUBNETWORK)])
    return extract(model, [task], name=name) if name.endswith(SUBNETWORK) else model


def measure(job: jobs.Job, models: Sequence[Translator], testset: TestSet, batch: int) -> None:
    """Score and time each model in turn; each is a result as soon as it is done."""
    for index, model in enumerate(models):

        def report(done: int, total: int, offset: float, what: str, index: int = index) -> None:
            share = (index + offset + 0.5 * done / max(1, total)) / len(models)
            job.report(share, f"{models[index].name}: {what}")

        scores = evaluate(model, testset, progress=lambda d, t: report(d, t, 0.0, "translating"))
        speeds = benchmark(
            model,
            batch_sizes=(1, batch),
            batches=10,
            source=testset.task.source,
            target=testset.task.target,
            progress=lambda d, t: report(d, t, 0.5, "timing"),
        )
        job.results.append(
            Measured(
                model.name,
                sum(parameters_by_component(model.config).values()),
                scores.to_frame(),
                speeds.to_frame(),
                scores.hypotheses[model.name][0],
            )
        )


def show(results: Sequence[Measured], testset: TestSet) -> None:
    """The table, the chart, and the sentences that differ most."""
    scores = pd.concat([r.scores for r in results])
    speeds = pd.concat([r.speeds for r in results])
    metrics = list(dict.fromkeys(scores["metric"]))
    batch = int(speeds["batch_size"].max())
    rows = []
    for r in results:
        row: dict[str, object] = {"System": r.system, "Parameters (M)": r.parameters / 1e6}
        for score in r.scores.itertuples():
            row[str(score.metric)] = score.score
            row[f"± {score.metric}"] = score.ci
            row["Length ratio"] = score.length_ratio
        for speed in r.speeds.itertuples():
            if speed.batch_size == 1:
                row |= {"p50 (ms)": speed.p50_ms, "p95 (ms)": speed.p95_ms}
            if speed.batch_size == batch:
                row[f"Sentences/s, batch {batch}"] = speed.sentences_per_second
        row["Compile (s)"] = r.speeds["compile_seconds"].sum()
        rows.append(row)
    table = pd.DataFrame(rows)
    digits = {
        c: st.column_config.NumberColumn(format="%.1f") for c in table.columns if c != "System"
    }
    digits |= {
        c: st.column_config.NumberColumn(format="%.2f") for c in ("Parameters (M)", "Length ratio")
    }
    st.dataframe(table, hide_index=True, width="stretch", column_config=digits)
    one = speeds.iloc[0]
    conditions = f"batch 1, greedy, {one['dtype']}, {one.device}, {one.threads} threads"
    st.caption(
        f"{testset.task.label}, {len(testset)} captions written for this project: a smoke test,"
        f" not a benchmark. Latency: {conditions}, tokenisation included; compiling apart."
        " ±: 95 % bootstrap interval."
    )
    signatures = dict(zip(scores["metric"], scores["signature"], strict=True))
    with st.expander("sacreBLEU signatures"):
        st.code("\n".join(f"{metric}: {signature}" for metric, signature in signatures.items()))
    if len(results) > 1:
        latency = speeds[speeds["batch_size"] == 1][["system", "p50_ms"]]
        first = scores[scores["metric"] == metrics[0]][["system", "score"]]
        points = first.merge(latency, on="system")
        st.altair_chart(quality_against_latency(points, metrics[0], conditions), width="stretch")
        differing = [
            {
                "Source": source,
                **{r.system: r.translations[i].text for r in results},
                "Reference": reference,
            }
            for i, (source, reference) in enumerate(
                zip(testset.sources, testset.references, strict=True)
            )
            if len({r.translations[i].text for r in results}) > 1
        ]
        st.markdown(f"**Sentences translated differently: {len(differing)} of {len(testset)}**")
        if differing:
            st.dataframe(pd.DataFrame(differing), hide_index=True, width="stretch", height=320)
    st.download_button(
        "Table as CSV", table.to_csv(index=False), "compare.csv", icon=":material/download:"
    )


st.title("Compare", anchor=False)
configs = session.usable()
options = []
for name, config in configs.items():
    options.append(name)
    if any(s.router and s.router.granularity == "task" for _, s in config.stacks):
        options.append(name + SUBNETWORK)
st.session_state.setdefault("systems", options[:3])
st.session_state["systems"] = [n for n in st.session_state["systems"] if n in options]
columns = st.columns([3, 0.6, 3, 6], vertical_alignment="bottom")
names = columns[3].multiselect(
    "Systems",
    options,
    key="systems",
    bind="query-params",
    help="✂: the sub-network of the chosen direction",
)
tasks = list(
    dict.fromkeys(
        task
        for name in names or options
        for task in configs[name.removesuffix(SUBNETWORK)].directions
    )
)
task = choose_direction(columns, tasks)
left, right = st.columns([3, 9.6], vertical_alignment="bottom")
batch = left.selectbox("Batch size for throughput", [8, 16, 32, 64], index=2)
running: jobs.Job | None = st.session_state.get("job")
busy = running is not None and not running.finished
if right.button(
    "Compare", type="primary", icon=":material/play_arrow:", disabled=busy or not names
):
    try:
        models = [system(name, task) for name in names]
        for model in models:
            model.config.check_task(task)
        testset = load_testset(CAPTIONS, task)
        running = jobs.start(lambda job: measure(job, models, testset, batch))
        st.session_state["job"], st.session_state["compared"] = running, testset
    except WorkbenchError as error:
        st.error(str(error), icon=":material/error:")
if running is not None:
    if not running.finished:
        watch(running)
    elif running.error:
        st.error(running.error, icon=":material/error:")
    elif running.cancelled:
        st.info(
            f"Cancelled. What was finished is kept: {len(running.results)} systems.",
            icon=":material/info:",
        )
    if running.results:
        show(list(running.results), st.session_state["compared"])
