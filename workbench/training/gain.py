"""Gain preserved: how much of what a larger model gained over a baseline its distilled student keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workbench.evaluation.tables import text_table

#: What a report calls its systems, in the order of its columns.
STUDENT, TEACHER, BASELINE, TASK_MOE = "student", "teacher", "baseline", "task-MoE"
_AVERAGE = "average"


@dataclass(frozen=True)
class Gain:
    """BLEU of a student, of the baseline, and of the model whose gain over it the student should keep."""

    student: float
    baseline: float
    reference: float

    @property
    def preserved(self) -> float | None:
        """(student - baseline) / (reference - baseline), the paper's 32 %; 1 is all of it, below 0 is a loss.

        None where the reference does not beat the baseline: then there is no gain to preserve.
        """
        gain = self.reference - self.baseline
        return (self.student - self.baseline) / gain if gain > 0 else None

    def describe(self, name: str) -> str:
        """A line for a person; `name`: of the reference."""
        if self.preserved is None:
            return (
                f"Gain preserved against the {name}: undefined, since it does not beat the baseline"
                f" ({self.reference:.1f}, {self.baseline:.1f})."
            )
        return (
            f"Gain preserved against the {name}: {100 * self.preserved:.0f} %, ({self.student:.1f} -"
            f" {self.baseline:.1f}) / ({self.reference:.1f} - {self.baseline:.1f})."
        )


@dataclass(frozen=True)
class DistillationReport:
    """BLEU of a distilled student and of those it is compared with.

    bleu: system (`STUDENT` and others) -> task -> BLEU. scored_on: which sentences, with which search.
    """

    bleu: Mapping[str, Mapping[str, float]]
    scored_on: str

    @property
    def averages(self) -> dict[str, float]:
        """System -> mean BLEU over the directions."""
        return {name: sum(s.values()) / len(s) for name, s in self.bleu.items()}

    @property
    def gains(self) -> dict[str, Gain]:
        """Against the task-MoE and against the own teacher, of the averages; empty without a baseline."""
        averages = self.averages
        if BASELINE not in averages:
            return {}
        return {
            name: Gain(averages[STUDENT], averages[BASELINE], averages[name])
            for name in (TASK_MOE, TEACHER)
            if name in averages
        }

    @property
    def with_averages(self) -> dict[str, dict[str, float]]:
        """`bleu` with a row for the average, the first."""
        averages = self.averages
        return {name: {_AVERAGE: averages[name], **scores} for name, scores in self.bleu.items()}

    def describe_gains(self) -> list[str]:
        """A line for each gain, or one that says what is missing."""
        if not self.gains:
            return ["Gain preserved: give a dense baseline (--baseline) to compare with."]
        return [gain.describe(name) for name, gain in self.gains.items()]

    def to_json(self) -> dict[str, Any]:
        """As plain objects; an undefined gain is null."""
        return {
            "bleu": self.with_averages,
            "gain_preserved": {name: gain.preserved for name, gain in self.gains.items()},
            "scored_on": self.scored_on,
        }

    def render(self) -> str:
        """As a text for a terminal."""
        table = self.with_averages
        tasks = list(table[STUDENT])
        rows = [[task, *(f"{scores[task]:.1f}" for scores in table.values())] for task in tasks]
        lines = [text_table(["BLEU", *table], [*rows[1:], rows[0]]), "", *self.describe_gains()]
        return "\n".join([*lines, self.scored_on])
