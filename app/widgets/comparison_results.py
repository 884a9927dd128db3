"""What the Compare page shows of measured systems: a table, and quality, speed and sentences in detail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from html import escape
from operator import add
from typing import Any

import pandas as pd
import streamlit as st

from app.widgets.charts import show_chart
from app.widgets.measuring import Measured
from app.widgets.search import search_in_words
from workbench.evaluation.comparison import Comparison
from workbench.evaluation.differences import MEAN
from workbench.evaluation.quality import Scores, metric_in_words
from workbench.evaluation.sentences import differing_sentences
from workbench.evaluation.speed import Speed, Speeds
from workbench.evaluation.testset import TestSet
from workbench.figures.differences import difference_chart
from workbench.figures.throughput import throughput_chart
from workbench.figures.trade_off import quality_against_latency
from workbench.tasks import parse_task
from workbench.wording import counted

#: Sentences drawn side by side, at most; the file has all.
MOST_SENTENCES = 100
# Sentences side by side; on a narrow page one below the other, each named.
STYLE = """<style>
.moe-beside{max-height:32rem;overflow:auto;border:1px solid #8885;border-radius:.5rem}
.moe-beside table{width:100%;table-layout:fixed;border-collapse:collapse;font-size:.875rem}
.moe-beside :is(th,td){padding:.35rem .6rem;text-align:start;vertical-align:top;overflow-wrap:anywhere}
.moe-beside tr{border-top:1px solid #8885}
.moe-beside thead tr{border-top:0}
.moe-beside small{opacity:.7;white-space:nowrap}
@media (max-width:640px){
.moe-beside thead{display:none}
.moe-beside :is(table,tbody,tr,td){display:block}
.moe-beside td::before{content:attr(data-of);display:block;font-size:.75rem;opacity:.7}
}
</style>"""


def show_results(results: Sequence[Measured]) -> None:
    """The table of all, and the tabs below it."""
    scores: Scores = reduce(add, (r.scores for r in results))
    testsets = scores.testsets
    changes = pd.concat([r.differences for r in results], ignore_index=True)
    timed = [r.speeds for r in results if r.speeds is not None]
    speeds = pd.concat(timed, ignore_index=True) if timed else None
    table = _summary(results, scores, changes, speeds)
    formats: dict[str, Any] = {
        name: st.column_config.NumberColumn(format=_format(name))
        for name in table.columns
        if name != "System"
    }
    formats["Repetition"] = st.column_config.NumberColumn(
        format="percent", help="Translations in which up to 4 words stand three times in a row"
    )
    formats["Length ratio"] = st.column_config.NumberColumn(
        format="%.3f", help="Tokens of the translations over tokens of the references"
    )
    st.dataframe(table, hide_index=True, width="stretch", column_config=formats, placeholder="–")
    st.caption(_notes(results, testsets, speeds))
    of = f"{_directions(testsets)}, {counted(sum(map(len, testsets)), 'sentence')}"
    quality, speed, sentences = st.tabs(
        ["Quality", "Speed and size", "Sentences"], key="tab", bind="query-params"
    )
    with quality:
        _quality(scores, changes, of)
    with speed:
        _speed(results, table, speeds, of)
    with sentences:
        _sentences(scores)
    whole = comparison(results, scores, changes, speeds)
    files: dict[str, tuple[str, Callable[[], str]]] = {
        "Table as CSV": ("compare.csv", lambda: table.to_csv(index=False)),
        "Table as LaTeX": ("compare.tex", lambda: whole.render("latex")),
        "All numbers as JSON": ("compare.json", lambda: whole.render("json")),
    }
    with st.container(horizontal=True):
        for label, (name, make) in files.items():
            st.download_button(label, make, name, icon=":material/download:", on_click="ignore")


def comparison(
    results: Sequence[Measured], scores: Scores, changes: pd.DataFrame, speeds: pd.DataFrame | None
) -> Comparison:
    """What was measured, as `workbench compare` gives it."""
    numbers = {str(testset.task): i for i, testset in enumerate(scores.testsets)}
    p_values = {
        (str(row.system), numbers[str(row.task)], str(row.metric)): float(row.p_value)  # type: ignore[arg-type]
        for row in changes.itertuples()
        if row.task in numbers
    }
    timed = None
    if speeds is not None:
        timed = Speeds(tuple(Speed(**row) for row in speeds.to_dict("records")))  # type: ignore[misc]
    return Comparison(
        scores,
        p_values,
        timed,
        {r.system: r.parameters for r in results},
        {r.system: r.memory for r in results},
        {r.system: r.disk for r in results},
    )


def _summary(
    results: Sequence[Measured], scores: Scores, changes: pd.DataFrame, speeds: pd.DataFrame | None
) -> pd.DataFrame:
    """A row a system; of several directions the means."""
    frame = scores.to_frame()
    # The row of a comparison's mean, or of its only direction.
    last = changes.drop_duplicates(["system", "metric"], keep="last").set_index(
        ["system", "metric"]
    )
    rows = []
    for r in results:
        own = frame[frame["system"] == r.system]
        row: dict[str, object] = {"System": r.system}
        for metric, group in own.groupby("metric", sort=False):
            name = metric_in_words(str(metric))
            row[name] = group["score"].mean()
            if len(results) > 1:
                found = (r.system, metric) in last.index
                change: Any = last.loc[(r.system, metric)] if found else None
                row[f"Δ {name}"] = change["delta"] if found else None
                row[f"p ({name})"] = change["p_value"] if found else None
        row |= {"Length ratio": own["length_ratio"].mean(), "Repetition": own["loops"].mean()}
        if speeds is not None:
            timed = speeds[speeds["system"] == r.system].sort_values("batch_size")
            least, most = timed.iloc[0], timed.iloc[-1]
            row[f"p50 ×{least['batch_size']} (ms)"] = least["p50_ms"]
            row[f"Sentences/s ×{most['batch_size']}"] = most["sentences_per_second"]
        row["Parameters (M)"] = r.parameters / 1e6
        rows.append(row)
    return pd.DataFrame(rows)


def _format(name: str) -> str:
    if name.startswith("Δ"):
        return "%+.2f"
    if name.startswith("p ("):
        return "%.3f"
    return "%.2f" if name.startswith("Parameters") else "%.1f"


def _notes(
    results: Sequence[Measured], testsets: Sequence[TestSet], speeds: pd.DataFrame | None
) -> str:
    sizes = counted(len(testsets[0]), "sentence")
    notes = [f"{_directions(testsets)}, {sizes}{' each' if len(testsets) > 1 else ''}."]
    if testsets[0].name == "captions":
        notes.append("The captions were written for this project: a smoke test, not a benchmark.")
    if len(testsets) > 1:
        notes.append("Scores are means over directions.")
    if len(results) > 1:
        notes.append(
            f"Δ: against {results[0].system}; p: sacreBLEU's paired bootstrap over sentences, one-sided, no"
            " correction for the number of comparisons."
        )
    if speeds is not None:
        notes.append(
            f"Time: {_conditions(speeds)}, {parse_task(str(speeds['task'].iloc[0])).label}, ×N: batch size; p50: the median"
            " batch; sentences/s: over all batches. Systems in turns, tokenisation included, compiling apart. Taken beside"
            " this page and its browser: for figures, `workbench bench`."
        )
    return " ".join(notes)


def _directions(testsets: Sequence[TestSet]) -> str:
    if len(testsets) > 3:
        return counted(len(testsets), "direction")
    return ", ".join(testset.task.label for testset in testsets)


def _conditions(speeds: pd.DataFrame) -> str:
    one = speeds.iloc[0]
    dtypes = dict.fromkeys(speeds["dtype"])
    computed = f"{one['dtype']}, " if len(dtypes) == 1 else ""
    return f"{search_in_words(one['beam'])}, {computed}{one['device']}, {one['threads']} threads"


def _quality(scores: Scores, changes: pd.DataFrame, of: str) -> None:
    """Differences by direction as a chart, and all scores with their intervals."""
    frame = scores.to_frame()
    metrics = list(dict.fromkeys(frame["metric"]))
    if not changes.empty:
        metric = st.segmented_control(
            "Metric",
            metrics,
            default=metrics[0],
            required=True,
            format_func=metric_in_words,
            key="difference-metric",
            persist_state="session",
            label_visibility="collapsed",
        )
        chart = difference_chart(changes, str(metric), scores.systems)
        show_chart(chart, changes[changes["metric"] == metric], "differences", of)
    shown = frame.assign(
        task=[parse_task(str(task)).label for task in frame["task"]],
        metric=[metric_in_words(str(metric)) for metric in frame["metric"]],
    )
    names: dict[str, Any] = {
        "system": "System",
        "task": "Direction",
        "metric": "Metric",
        "score": st.column_config.NumberColumn("Score", format="%.2f"),
        "ci": st.column_config.NumberColumn(
            "±", format="%.2f", help="Half the 95 % interval, bootstrap over sentences"
        ),
        "length_ratio": st.column_config.NumberColumn("Length ratio", format="%.3f"),
        "loops": st.column_config.NumberColumn("Repetition", format="percent"),
    }
    st.dataframe(
        shown, hide_index=True, width="stretch", column_order=list(names), column_config=names
    )
    if not changes.empty:
        with st.expander("Differences in numbers"):
            st.dataframe(
                changes.assign(
                    task=["Mean" if t == MEAN else parse_task(t).label for t in changes["task"]],
                    metric=[metric_in_words(str(metric)) for metric in changes["metric"]],
                ),
                hide_index=True,
                width="stretch",
                column_order=["system", "task", "metric", "delta", "ci", "p_value"],
                column_config={
                    **names,
                    "delta": st.column_config.NumberColumn("Δ", format="%+.2f"),
                    "p_value": st.column_config.NumberColumn("p", format="%.3f"),
                },
            )
    with st.expander("sacreBLEU signatures"):
        signatures = dict.fromkeys(zip(frame["metric"], frame["signature"], strict=True))
        st.code("\n".join(f"{metric}: {signature}" for metric, signature in signatures))


def _speed(
    results: Sequence[Measured], summary: pd.DataFrame, speeds: pd.DataFrame | None, of: str
) -> None:
    """Quality over latency, throughput over batch size, and sizes."""
    quality = summary.columns[1]
    if speeds is not None:
        conditions = _conditions(speeds)
        least = int(speeds["batch_size"].min())
        left, right = st.columns(2, gap="medium")
        if len(results) > 1:
            points = speeds[speeds["batch_size"] == least][["system", "p50_ms"]].merge(
                summary[["System", quality]].set_axis(["system", "score"], axis=1), on="system"
            )
            with left:
                chart = quality_against_latency(points, quality, f"Batch {least}, {conditions}")
                show_chart(chart, points, "quality-latency", of)
        if speeds["batch_size"].nunique() > 1:
            with right if len(results) > 1 else left:
                chart = throughput_chart(speeds, conditions)
                show_chart(chart, speeds, "throughput", of)
    rows = []
    for r in results:
        row: dict[str, object] = {
            "System": r.system,
            "Parameters (M)": r.parameters / 1e6,
            "In memory (MiB)": None if r.memory is None else r.memory / 2**20,
            "On disk (MiB)": None if r.disk is None else r.disk / 2**20,
        }
        if r.speeds is not None:
            for speed in r.speeds.itertuples():
                row[f"p50 ×{speed.batch_size} (ms)"] = speed.p50_ms
                row[f"p95 ×{speed.batch_size} (ms)"] = speed.p95_ms
                row[f"Sentences/s ×{speed.batch_size}"] = speed.sentences_per_second
            row["Compile (s)"] = r.speeds["compile_seconds"].sum()
            row["Computed in"] = r.speeds["dtype"].iloc[0]
        rows.append(row)
    table = pd.DataFrame(rows)
    formats = {
        name: st.column_config.NumberColumn(format="%.2f" if "(M" in name else "%.1f")
        for name in table.columns
        if name not in ("System", "Computed in")
    }
    st.dataframe(table, hide_index=True, width="stretch", column_config=formats, placeholder="–")
    st.caption(
        "In memory and on disk: the weights alone; a dash where another engine holds them, or nothing is saved yet."
    )


def _sentences(scores: Scores) -> None:
    """The sentences that systems translate differently, those that differ most first."""
    if len(scores.systems) < 2:
        st.caption("With a second system, the sentences on which they differ are shown here.")
        return
    frame = differing_sentences(scores)
    labels = {str(testset.task): testset.task.label for testset in scores.testsets}
    task = next(iter(labels))
    if len(labels) > 1:
        task = st.selectbox("Direction", list(labels), format_func=lambda t: labels[t])
    chosen = frame[frame["task"] == task]
    total = next(len(t) for t in scores.testsets if str(t.task) == task)
    found = list(chosen.groupby("sentence", sort=False))
    st.markdown(f"**Sentences translated differently: {len(found)} of {total}**")
    if not found:
        return
    st.caption(
        "Small: chrF++ of the sentence. Those whose scores lie furthest apart come first"
        + (f"; the first {MOST_SENTENCES} are shown." if len(found) > MOST_SENTENCES else ".")
    )
    st.html(STYLE + beside([group for _, group in found[:MOST_SENTENCES]], scores.systems))
    st.download_button(
        "Sentences as CSV",
        frame.to_csv(index=False),
        "sentences.csv",
        icon=":material/download:",
    )


def beside(sentences: Sequence[pd.DataFrame], systems: Sequence[str]) -> str:
    """Sentences as a table in HTML whose texts wrap, so that all columns are in sight.

    sentences: a row a system, as `differing_sentences` gives them.
    """
    names = ["Source", *systems, "Reference"]
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    rows = []
    for group in sentences:
        first = group.iloc[0]
        made = group.set_index("system")
        texts = [
            f"{escape(made.at[name, 'translation'])} <small>{made.at[name, 'score']:.0f}</small>"
            for name in systems
        ]
        cells = zip(
            names, [escape(first["source"]), *texts, escape(first["reference"])], strict=True
        )
        rows.append(
            "<tr>"
            + "".join(
                f'<td data-of="{escape(name)}" dir="auto">{text}</td>' for name, text in cells
            )
            + "</tr>"
        )
    return (
        f'<div class="moe-beside"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )
