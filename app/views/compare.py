"""Compare: quality and speed of systems on the bundled captions, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape

import pandas as pd
import streamlit as st

from app import jobs, session
from app.widgets.charts import show_menu
from app.widgets.direction import choose_direction
from app.widgets.watching import watch
from workbench.checkpoint.components import parameters_by_component
from workbench.decoding.system import System, Translation
from workbench.decoding.translator import Translator
from workbench.engines.loading import ENGINES, Engine, under
from workbench.engines.packages import missing
from workbench.errors import WorkbenchError
from workbench.evaluation.quality import evaluate, metric_in_words
from workbench.evaluation.speed import benchmark
from workbench.evaluation.testset import CAPTIONS, TestSet, load_testset
from workbench.figures.trade_off import quality_against_latency
from workbench.subnetworks.extract import extract
from workbench.tasks import Task

# Sentences side by side; on a narrow page one below the other, each named.
STYLE = """<style>
.moe-beside{max-height:26rem;overflow:auto;border:1px solid #8885;border-radius:.5rem}
.moe-beside table{width:100%;table-layout:fixed;border-collapse:collapse;font-size:.875rem}
.moe-beside :is(th,td){padding:.35rem .6rem;text-align:start;vertical-align:top;overflow-wrap:anywhere}
.moe-beside tr{border-top:1px solid #8885}
.moe-beside thead tr{border-top:0}
@media (max-width:640px){
.moe-beside thead{display:none}
.moe-beside :is(table,tbody,tr,td){display:block}
.moe-beside td::before{content:attr(data-of);display:block;font-size:.75rem;opacity:.7}
}
</style>"""
SUBNETWORK = " ✂"  # marks the sub-network of a checkpoint, extracted when it is needed


@dataclass(frozen=True)
class Measured:
    """One system's scores, translations and, once all are scored, speeds."""

    system: str
    parameters: int
    scores: pd.DataFrame
    speeds: pd.DataFrame | None  # not measured yet
    translations: tuple[Translation, ...]


def system(name: str, task: Task) -> Translator:
    """The checkpoint, or the sub-network of it, that a name in the list means."""
    model = session.load(session.checkpoints()[name.removesuffix(SUBNETWORK)])
    return extract(model, [task], name=name) if name.endswith(SUBNETWORK) else model


def under_engines(
    job: jobs.Job, models: Sequence[Translator], engines: Sequence[Engine]
) -> list[System]:
    """The models, each dense one followed by itself under other engines."""
    systems: list[System] = []
    for model in models:
        systems.append(model)
        for engine in engines if model.config.is_dense else ():
            job.report(0.0, f"{model.name}: converting for {engine}")
            systems.append(under(model, engine))
    return systems


def measure(job: jobs.Job, models: Sequence[System], testset: TestSet, batch: int) -> None:
    """Score each model, a result as soon as it is done; then time them all, in turns."""
    for index, model in enumerate(models):

        def report(done: int, total: int, index: int = index) -> None:
            share = 0.5 * (index + done / max(1, total)) / len(models)
            job.report(share, f"{models[index].name}: translating")

        scores = evaluate(model, testset, progress=report)
        job.results.append(
            Measured(
                model.name,
                sum(parameters_by_component(model.config).values()),
                scores.to_frame(),
                None,
                scores.hypotheses[model.name][0],
            )
        )
    speeds = benchmark(
        models,
        batch_sizes=(1, batch),
        batches=10,
        source=testset.task.source,
        target=testset.task.target,
        progress=lambda done, total: job.report(0.5 + 0.5 * done / total, "Timing, in turns"),
    ).to_frame()
    job.results[:] = [
        replace(result, speeds=speeds[speeds["system"] == result.system]) for result in job.results
    ]


def show(results: Sequence[Measured], testset: TestSet) -> None:
    """The table, the chart, and the sentences that differ most."""
    scores = pd.concat([r.scores for r in results])
    timed = [r.speeds for r in results if r.speeds is not None]
    speeds = pd.concat(timed) if timed else None
    metrics = list(dict.fromkeys(scores["metric"]))
    batch = 0 if speeds is None else int(speeds["batch_size"].max())
    rows = []
    for r in results:
        row: dict[str, object] = {"System": r.system, "Parameters (M)": r.parameters / 1e6}
        for score in r.scores.itertuples():
            metric = metric_in_words(str(score.metric))
            row[metric], row[f"± {metric}"] = score.score, score.ci
            row["Length ratio"] = score.length_ratio
        for speed in () if r.speeds is None else r.speeds.itertuples():
            if speed.batch_size == 1:
                row |= {"p50 (ms)": speed.p50_ms, "p95 (ms)": speed.p95_ms}
            if speed.batch_size == batch:
                row[f"Sentences/s, batch {batch}"] = speed.sentences_per_second
        if r.speeds is not None:
            row["Compile (s)"] = r.speeds["compile_seconds"].sum()
            row["Computed in"] = r.speeds["dtype"].iloc[0]
        rows.append(row)
    table = pd.DataFrame(rows)
    digits = {
        c: st.column_config.NumberColumn(format="%.1f")
        for c in table.columns
        if c not in ("System", "Computed in")
    }
    digits |= {
        c: st.column_config.NumberColumn(format="%.2f") for c in ("Parameters (M)", "Length ratio")
    }
    st.dataframe(table, hide_index=True, width="stretch", column_config=digits)
    conditions = ""
    if speeds is not None:
        one = speeds.iloc[0]
        dtypes = dict.fromkeys(speeds["dtype"])
        computed = f"{one['dtype']}, " if len(dtypes) == 1 else ""
        conditions = f"batch 1, greedy, {computed}{one.device}, {one.threads} threads"
    st.caption(
        f"{testset.task.label}, {len(testset)} captions written for this project: a smoke test,"
        " not a benchmark."
        + (
            f" Latency, systems in turns: {conditions}, tokenisation included; compiling apart."
            " Taken beside this page and its browser: for figures, `workbench bench`."
            if conditions
            else ""
        )
        + " ±: 95 % bootstrap interval."
    )
    signatures = dict(zip(scores["metric"], scores["signature"], strict=True))
    with st.expander("sacreBLEU signatures"):
        st.code("\n".join(f"{metric}: {signature}" for metric, signature in signatures.items()))
    if speeds is not None and len(results) > 1:
        latency = speeds[speeds["batch_size"] == 1][["system", "p50_ms"]]
        first = scores[scores["metric"] == metrics[0]][["system", "score"]]
        points = first.merge(latency, on="system")
        chart = quality_against_latency(points, metrics[0], conditions)
        st.altair_chart(chart, width="stretch")
        show_menu(
            chart, points, "quality-latency", f"{testset.task.label}, {len(testset)} captions"
        )
    differing: list[dict[str, str]] = []
    if len(results) > 1:
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
            st.html(STYLE + beside(differing))
    with st.container(horizontal=True):
        st.download_button(
            "Table as CSV", table.to_csv(index=False), "compare.csv", icon=":material/download:"
        )
        if differing:
            st.download_button(
                "Sentences as CSV",
                pd.DataFrame(differing).to_csv(index=False),
                "sentences.csv",
                icon=":material/download:",
            )


def beside(rows: Sequence[dict[str, str]]) -> str:
    """The rows as a table in HTML whose texts wrap, so that all columns are in sight."""
    head = "".join(f"<th>{escape(name)}</th>" for name in rows[0])
    body = "".join(
        "<tr>"
        + "".join(
            f'<td data-of="{escape(name)}" dir="auto">{escape(text)}</td>'
            for name, text in row.items()
        )
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="moe-beside"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
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
left, middle, right = st.columns([3, 5, 4.6], vertical_alignment="bottom")
installed: list[Engine] = [e for e in ENGINES if not missing(e.removesuffix("-int8"))]
batch = left.selectbox(
    "Batch size for throughput", [8, 16, 32, 64], index=2, key="batch", persist_state="session"
)
st.session_state.setdefault("engines", [])
st.session_state["engines"] = [e for e in st.session_state["engines"] if e in installed]
engines = middle.multiselect(
    "Dense systems also under",
    installed,
    key="engines",
    bind="query-params",
    placeholder="other engines" if installed else "not installed",
    disabled=not installed,
    help="Measures what you would deploy: each dense system once more, converted for these engines."
    " They need `pip install 'task-moe-workbench[engines]'`.",
)
asked = (tuple(names), task, batch, tuple(engines))
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
        if engines and not any(model.config.is_dense for model in models):
            raise WorkbenchError(
                "None of these systems is dense, so no other engine can run them. Add one with ✂ whose routing"
                " is by task in both stacks, or a dense checkpoint."
            )
        running = jobs.start(
            lambda job: measure(job, under_engines(job, models, engines), testset, batch)
        )
        st.session_state["job"], st.session_state["compared"] = running, (asked, testset)
    except WorkbenchError as error:
        st.error(str(error), icon=":material/error:")
if running is not None:
    before, testset = st.session_state["compared"]
    if before != asked:
        st.caption(
            "Below is the comparison of what was asked before. Press Compare for the new one."
        )
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
        show(list(running.results), testset)
else:
    st.caption(
        "Compare translates the captions in the package with each system: BLEU and chrF with their intervals, time for"
        " one sentence and for a batch, and the sentences on which systems differ."
    )
