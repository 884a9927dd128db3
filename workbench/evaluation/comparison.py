"""Comparison: quality, significance and speed of systems in one table, against the first of them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import Any, Literal, get_args

import pandas as pd

from workbench.decoding.system import System
from workbench.errors import WorkbenchError
from workbench.evaluation.differences import differences, from_baseline
from workbench.evaluation.quality import (
    ASKED_AS,
    RESAMPLES,
    Scores,
    evaluate_each,
    metric_in_words,
)
from workbench.evaluation.repetition import IN_WORDS
from workbench.evaluation.speed import BATCHES, Speeds, benchmark
from workbench.evaluation.systems import name_systems, size_of
from workbench.evaluation.tables import latex_table, text_table
from workbench.evaluation.testset import TestSet
from workbench.wording import counted

Format = Literal["text", "json", "latex"]
#: p-values below this are marked as significant.
LEVEL = 0.05


@dataclass(frozen=True, eq=False)
class Comparison:
    """Scores and speeds of the same systems; the first is the baseline.

    `to_frame` has all numbers, `differences` the points gained or lost; `render` gives a table as text, LaTeX or JSON.

    p_values: (system, number of the test set, metric) -> p of the paired bootstrap against the baseline.
    speeds: None where they were not measured. parameters: of each system. memory, disk: bytes of each system's weights,
    see `workbench.evaluation.systems.Size`.
    """

    scores: Scores
    p_values: dict[tuple[str, int, str], float]
    speeds: Speeds | None
    parameters: dict[str, int]
    memory: dict[str, int | None] = field(default_factory=dict)
    disk: dict[str, int | None] = field(default_factory=dict)

    def __repr__(self) -> str:
        timed = ", with speeds" if self.speeds else ""
        return f"Comparison({counted(len(self.parameters), 'system')}, of {self.scores!r}{timed})"

    def to_frame(self) -> pd.DataFrame:
        """A row for each system, test set and metric: the columns of `Scores`, `p_value` (NaN for the
        baseline), `parameters`, and `memory_bytes` and `disk_bytes` of the weights (missing where nobody knows).
        """
        frame = self.scores.to_frame()
        numbers = {(each.name, str(each.task)): i for i, each in enumerate(self.scores.testsets)}
        frame["p_value"] = [
            self.p_values.get((row.system, numbers[row.testset, row.task], row.metric), math.nan)
            for row in frame.itertuples()
        ]
        sizes: dict[str, Mapping[str, int | None]] = {
            "parameters": self.parameters,
            "memory_bytes": self.memory,
            "disk_bytes": self.disk,
        }
        return frame.assign(
            **{
                name: pd.array([of.get(system) for system in frame["system"]], dtype="Int64")
                for name, of in sizes.items()
            }
        )

    def differences(self) -> pd.DataFrame:
        """Points gained or lost against the baseline, with intervals: see `workbench.evaluation.differences`."""
        return from_baseline(self.scores)

    def render(self, form: Format = "text") -> str:
        """As a text for a terminal, as LaTeX, or as JSON with everything that was measured."""
        if form not in get_args(Format):
            raise WorkbenchError(
                f"A comparison has no form {form!r:.40}. Accepted: {', '.join(get_args(Format))}."
            )
        if form == "json":
            return json.dumps(self.to_json(), indent=2, ensure_ascii=False)
        table = text_table if form == "text" else latex_table
        header, rows = self._rows()
        notes = self._notes()
        if form == "latex":
            return "\n".join([*(f"% {note}" for note in notes), table(header, rows, 2)])
        return "\n".join([table(header, rows, 2), "", *notes])

    def to_json(self) -> dict[str, Any]:
        """As plain objects: `scores`, `differences` and `speeds`, one object a row, NaN as null."""
        tables = {"scores": self.to_frame()}
        if len(self.scores.systems) > 1:
            tables["differences"] = self.differences()
        if self.speeds:
            tables["speeds"] = self.speeds.to_frame()
        return {
            "baseline": self.scores.systems[0],
            **{name: json.loads(frame.to_json(orient="records")) for name, frame in tables.items()},
        }

    def _rows(self) -> tuple[list[str], list[list[str]]]:
        frame = self.to_frame()
        metrics = list(frame["metric"].unique())
        header = ["system", "task", *map(metric_in_words, metrics), "length", "parameters"]
        looping = bool(frame["loops"].any())
        if looping:
            header.insert(-1, "repetition")
        several = frame["testset"].nunique() > 1
        speeds = self.speeds.to_frame() if self.speeds else None
        if speeds is not None:
            sizes = sorted(speeds["batch_size"].unique())
            header += [f"p50 ms ×{sizes[0]}", f"sentences/s ×{sizes[-1]}"]
        rows = []
        for (system, testset, task), group in frame.groupby(
            ["system", "testset", "task"], sort=False
        ):
            by_metric = group.set_index("metric")
            first = group.iloc[0]
            row = [str(system), f"{task} ({testset})" if several else str(task)]
            row += [_score(by_metric.loc[metric]) for metric in metrics]
            row.append(f"{first['length_ratio']:.3f}")
            if looping:
                row.append(f"{first['loops']:.1%}")
            row.append(f"{first['parameters']:,}")
            if speeds is not None:
                own = speeds[speeds["system"] == system].set_index("batch_size")
                row += [
                    f"{own.loc[sizes[0], 'p50_ms']:.1f}",
                    f"{own.loc[sizes[-1], 'sentences_per_second']:.1f}",
                ]
            rows.append(row)
        return header, rows

    def _notes(self) -> list[str]:
        frame = self.to_frame()
        notes = []
        for testset, group in frame.groupby("testset", sort=False):
            *fewer, most = sorted(set(group["sentences"]))
            counts = " or ".join([*map(str, fewer), counted(most, "sentence")])
            notes.append(f"Test set {testset}: {counts} a task.")
        notes.append("± is half the 95 % confidence interval (bootstrap over sentences).")
        if self.p_values:
            notes.append(
                f"† differs from {self.scores.systems[0]}, p < {LEVEL} (sacreBLEU's paired"
                f" bootstrap, {RESAMPLES} resamples: one-sided, no correction for the number of comparisons)."
            )
        if frame["loops"].any():
            notes.append(IN_WORDS)
        notes += [
            f"{metric_in_words(m)}: {s}"
            for m, s in dict.fromkeys(zip(frame["metric"], frame["signature"], strict=True))
        ]
        if self.speeds:
            one = self.speeds.speeds[0]
            notes.append(
                f"Speed: {one.task}, {one.device}, {one.dtype}, beam {one.beam}, {one.threads} threads; ×N is"
                f" the batch size; {one.batches} batches each, systems in turn, tokenisation counted."
            )
        return notes


def compare(
    models: System | Sequence[System],
    testsets: TestSet | Sequence[TestSet],
    metrics: str | Sequence[str] = ("bleu", "chrf++"),
    batch_sizes: int | Sequence[int] = (1, 64),
    batches: int = BATCHES,
    batch_size: int = 32,
    beam_size: int = 1,
    max_length: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    early_stopping: bool = False,
    interrupted: Callable[[Comparison], None] | None = None,
) -> Comparison:
    """Evaluate and benchmark `models`, of which the first is the baseline that p-values are against.

    Args:
        models, testsets, metrics, batch_size, beam_size, max_length, early_stopping: as in `evaluate`.
        batch_sizes, batches: as in `benchmark`, which runs on the sources of the first test set; no batch
            sizes, no benchmark.
        progress: called with (what is done, steps done, steps in all).
        interrupted: called where KeyboardInterrupt ends this, with the comparison of the models that were scored by then,
            untimed, if any was.

    Raises:
        WorkbenchError: as `evaluate` and `benchmark` do.
    """

    def told(what: str) -> Callable[[int, int], None]:
        return lambda done, total: progress(what, done, total) if progress else None

    systems = name_systems(models)
    chosen = list(systems.values())
    scored: list[Scores] = []
    speeds = None
    try:
        given = metrics, batch_size, beam_size, max_length
        told_of = {"progress": told("sentences"), "early_stopping": early_stopping}
        for one in evaluate_each(chosen, testsets, *given, **told_of):  # type: ignore[arg-type]
            scored.append(one)
        if batch_sizes:
            first = scored[0].testsets[0]
            speeds = benchmark(
                chosen,
                batch_sizes,
                first.sources,
                first.task.source,
                first.task.target,
                beam_size,
                batches,
                max_length,
                progress=told("timed batches"),
                early_stopping=early_stopping,
            )
    except KeyboardInterrupt:
        if scored and interrupted:
            interrupted(_comparison(systems, scored, None))
        raise
    return _comparison(systems, scored, speeds)


def _comparison(
    systems: Mapping[str, System], scored: Sequence[Scores], speeds: Speeds | None
) -> Comparison:
    """Of those systems that were scored."""
    scores = reduce(add, scored)
    sizes = {name: size_of(systems[name]) for name in scores.systems}
    return Comparison(
        scores,
        significance(scores),
        speeds,
        parameters={name: size.parameters for name, size in sizes.items()},
        memory={name: size.memory for name, size in sizes.items()},
        disk={name: size.disk for name, size in sizes.items()},
    )


def significance(scores: Scores) -> dict[tuple[str, int, str], float]:
    """p of every system but the first, against the first: (system, number of the test set, metric) -> p.

    It is `Difference.p_value`, which is that of `sacrebleu --paired-bs`.
    """
    if not scores.systems:
        raise WorkbenchError("There is nothing to compare.")
    called = {asked: name for name, asked in ASKED_AS.items()}
    asked = list(dict.fromkeys(ASKED_AS[score.metric] for score in scores.scores))
    found: dict[tuple[str, int, str], float] = {}
    for number, testset in enumerate(scores.testsets):
        if len(testset) < 2:
            continue
        baseline, *others = (
            [text.text for text in outputs[number]] for outputs in scores.hypotheses.values()
        )
        for name, texts in zip(scores.systems[1:], others, strict=True):
            for metric, one in differences(testset, baseline, texts, asked).items():
                found[name, number, called[metric]] = one.p_value
    return found


def _score(row: Any) -> str:
    text = f"{row['score']:.1f}"
    if not math.isnan(row["ci"]):
        text += f" ± {row['ci']:.1f}"
    return text + ("†" if row["p_value"] < LEVEL else "")
