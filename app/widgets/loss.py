"""The report on a pruned or merged network: what it lost, direction by direction, and what that saved."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from workbench.evaluation.repetition import LONGEST, TIMES
from workbench.subnetworks.report import Report, Row
from workbench.tasks import parse_task


def delta_in_words(delta: float, ci: float, p: float) -> str:
    """A difference with half of its 95 % interval, and a dagger where it is significant."""
    return f"{delta:+.1f} ± {ci:.1f}" + (" †" if p < 0.05 else "")


def show_loss(report: Report) -> None:
    """The table, how it was measured, and the experts and memory of both networks."""
    parents = {row.task: row for row in report.rows if row.system == report.parent}
    rows = [_line(parents[row.task], row) for row in report.rows if row.system != report.parent]
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        width="stretch",
        column_config={"Direction": st.column_config.TextColumn(pinned=True)},
    )
    st.caption(
        f"{report.testset}, {report.sentences} sentences a direction, greedy: a smoke test, not a benchmark."
        f" Δ: against {report.parent}, ± half of the 95 % interval, † p < 0.05 (paired bootstrap). Length: tokens"
        f" over the reference's. Repetition: translations with an n-gram of up to {LONGEST} words {TIMES} times in"
        " a row. →: before and after."
    )
    before, after = report.sizes
    layers = ", ".join(
        f"{layer}: {count} of {before.experts_by_layer[layer]}"
        for layer, count in after.experts_by_layer.items()
    )
    st.markdown(
        f"**Experts** {after.experts} of {before.experts} ({layers}) · **memory**"
        f" {after.bytes / 2**20:.1f} of {before.bytes / 2**20:.1f} MiB"
    )


def _line(parent: Row, row: Row) -> dict[str, str]:
    return {
        "Direction": "Mean" if row.task == "mean" else parse_task(row.task).label,
        "BLEU": f"{parent.bleu:.1f} → {row.bleu:.1f}",
        "Δ BLEU": delta_in_words(row.bleu_delta, row.bleu_ci, row.bleu_p),
        "chrF++": f"{parent.chrf:.1f} → {row.chrf:.1f}",
        "Δ chrF++": delta_in_words(row.chrf_delta, row.chrf_ci, row.chrf_p),
        "Length": f"{parent.length_ratio:.2f} → {row.length_ratio:.2f}",
        "Repetition": f"{parent.repetition:.1%} → {row.repetition:.1%}",
    }
