"""The report on networks that were pruned or merged: what they lost, direction by direction, and what that saved."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import pandas as pd

from workbench.arguments import as_list
from workbench.checkpoint.components import parameters_by_component
from workbench.config import ModelConfig
from workbench.decoding.translator import Translator
from workbench.evaluation.differences import Difference, differences, mean_difference
from workbench.evaluation.quality import RESAMPLES, evaluate
from workbench.evaluation.repetition import IN_WORDS, LONGEST, TIMES, share_of_loops
from workbench.evaluation.systems import name_systems
from workbench.evaluation.tables import text_table
from workbench.evaluation.testset import TestSet, as_testsets
from workbench.wording import counted

METRICS = ("bleu", "chrf++")


@dataclass(frozen=True)
class Row:
    """One system on one direction ("mean" for the mean over directions, each with the same weight).

    bleu, chrf: scores. *_delta: minus the parent's (0 for the parent); *_ci: half of the 95 % interval of that;
    *_p: its p-value. length_ratio: tokens over the reference's. repetition: share of translations with a loop.
    """

    system: str
    task: str
    bleu: float
    bleu_delta: float
    bleu_ci: float
    bleu_p: float
    chrf: float
    chrf_delta: float
    chrf_ci: float
    chrf_p: float
    length_ratio: float
    repetition: float


@dataclass(frozen=True)
class Size:
    """What a system occupies: experts by layer, in all, and parameters; bytes are those of float32 in memory."""

    system: str
    experts_by_layer: dict[str, int]
    experts: int
    parameters: int
    bytes: int


@dataclass(frozen=True)
class Report:
    """Rows and sizes of the parent, which comes first, and of the networks made from it."""

    parent: str
    testset: str
    sentences: int
    rows: tuple[Row, ...]
    sizes: tuple[Size, ...]

    def to_frame(self) -> pd.DataFrame:
        """A row a system and direction, a column for each field of `Row`."""
        return pd.DataFrame(self.rows, columns=[field.name for field in fields(Row)])

    def to_json(self) -> dict[str, Any]:
        """As plain objects; NaN as null."""
        plain = lambda value: (  # noqa: E731
            None if isinstance(value, float) and math.isnan(value) else value
        )
        return {
            "parent": self.parent,
            "testset": self.testset,
            "sentences": self.sentences,
            "repetition": f"an n-gram of up to {LONGEST} words, {TIMES} times in a row",
            "rows": [{k: plain(v) for k, v in asdict(row).items()} for row in self.rows],
            "sizes": [asdict(size) for size in self.sizes],
        }

    def __str__(self) -> str:
        header = ("system", "task", "BLEU", "delta", "chrF++", "delta", "length", "repetition")
        rows = [
            (
                row.system,
                row.task,
                f"{row.bleu:.1f}",
                self._delta(row, row.bleu_delta, row.bleu_ci, row.bleu_p),
                f"{row.chrf:.1f}",
                self._delta(row, row.chrf_delta, row.chrf_ci, row.chrf_p),
                f"{row.length_ratio:.3f}",
                f"{row.repetition:.1%}",
            )
            for row in self.rows
        ]
        sizes = [
            (
                size.system,
                ", ".join(f"{layer}: {n}" for layer, n in size.experts_by_layer.items()),
                f"{size.experts}",
                f"{size.parameters:,}",
                f"{size.bytes / 2**20:.1f}",
            )
            for size in self.sizes
        ]
        return "\n".join(
            [
                text_table(header, rows, 2),
                "",
                text_table(
                    ("system", "experts", "in all", "parameters", "weights, MiB (float32)"),
                    sizes,
                    2,
                ),
                "",
                f"{self.testset}, {counted(self.sentences, 'sentence')} a task, greedy. delta: against"
                f" {self.parent}, ± half the 95 % interval, † p < 0.05 (paired bootstrap, {RESAMPLES} resamples).",
                IN_WORDS,
            ]
        )

    def _delta(self, row: Row, delta: float, ci: float, p: float) -> str:
        if row.system == self.parent:
            return ""
        return f"{delta:+.1f} ± {ci:.1f}" + ("†" if p < 0.05 else "")


def report(
    parent: Translator,
    parts: Translator | Sequence[Translator],
    testsets: TestSet | Sequence[TestSet],
    batch_size: int = 32,
    beam_size: int = 1,
    resamples: int = RESAMPLES,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Translate `testsets` with the parent and all `parts` (one or many), and say what each part lost and saved.

    Raises:
        WorkbenchError: there is no test set, or a model lacks the direction of one.
    """
    models = [parent, *as_list(parts, Translator, "parts", "a loaded model")]
    testsets = as_testsets(testsets)
    systems = name_systems(models)
    scores = evaluate(
        models, testsets, METRICS, batch_size, beam_size, resamples=0, progress=progress
    )
    points: dict[tuple[str, int], list[float]] = {}
    ratios: dict[tuple[str, int], float] = {}
    places = [(name, number) for name in systems for number in range(len(testsets))]
    for place, first in zip(places, range(0, len(scores.scores), len(METRICS)), strict=True):
        own = scores.scores[first : first + len(METRICS)]
        points[place], ratios[place] = [score.score for score in own], own[0].length_ratio
    rows: list[Row] = []
    for name in systems:
        lines, losses = [], []
        for number, testset in enumerate(testsets):
            texts, base = (scores.hypotheses[s][number] for s in (name, parent.name))
            loss = (
                differences(testset, base, texts, METRICS, resamples)
                if name != parent.name and resamples
                else {}
            )
            repeated = share_of_loops([str(t) for t in texts], testset.task.target)
            losses.append(loss)
            values = points[name, number]
            known = points[parent.name, number]
            lines.append(
                _row(
                    name,
                    str(testset.task),
                    values,
                    [a - b for a, b in zip(values, known, strict=True)],
                    [loss.get(metric) for metric in METRICS],
                    ratios[name, number],
                    repeated,
                )
            )
        rows += lines
        if len(lines) > 1:
            rows.append(_mean(name, lines, losses))
    return Report(
        parent.name,
        ", ".join(dict.fromkeys(testset.name for testset in testsets)),
        max(map(len, testsets)),
        tuple(rows),
        tuple(size_of(name, model.config) for name, model in systems.items()),
    )


def attach(found: Report, small: Translator) -> None:
    """Write `found` into the provenance and the card of `small`, which are saved with it."""
    small.provenance = {**small.provenance, "report": found.to_json()}
    small.card += f"\n\n## What was lost\n\n```\n{found}\n```\n"


def size_of(name: str, config: ModelConfig) -> Size:
    """What a network of this shape occupies."""
    experts = {
        f"{stack} {layer}": shape.experts_in(layer)
        for stack, shape in config.stacks
        for layer in shape.expert_layers
    }
    parameters = sum(parameters_by_component(config).values())
    return Size(name, experts, sum(experts.values()), parameters, 4 * parameters)


def _row(
    system: str,
    task: str,
    values: Sequence[float],
    deltas: Sequence[float],
    losses: Sequence[Difference | None],
    ratio: float,
    repeated: float,
) -> Row:
    nan = float("nan")
    fields: dict[str, Any] = {}
    for name, value, delta, loss in zip(("bleu", "chrf"), values, deltas, losses, strict=True):
        fields |= {
            name: value,
            f"{name}_delta": delta,
            f"{name}_ci": loss.ci if loss else nan,
            f"{name}_p": loss.p_value if loss else nan,
        }
    return Row(system, task, **fields, length_ratio=ratio, repetition=repeated)


def _mean(system: str, lines: Sequence[Row], losses: Sequence[dict[str, Difference]]) -> Row:
    mean = lambda name: sum(getattr(row, name) for row in lines) / len(lines)  # noqa: E731
    means = [
        mean_difference([loss[metric] for loss in losses]) if all(losses) else None
        for metric in METRICS
    ]
    return _row(
        system,
        "mean",
        [mean("bleu"), mean("chrf")],
        [mean("bleu_delta"), mean("chrf_delta")],
        means,
        mean("length_ratio"),
        mean("repetition"),
    )
