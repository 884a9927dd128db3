"""Gain preserved: the paper's numbers, and where there is none to preserve."""

import pytest

from workbench.training.gain import DistillationReport, Gain


def test_the_papers_32_and_43_percent():
    dense, token, task, distilled = (
        25.9,
        28.2,
        29.0,
        26.9,
    )  # Kudugunta et al. 2021, four pairs both ways
    assert Gain(distilled, dense, task).preserved == pytest.approx(0.32, abs=0.005)
    assert Gain(distilled, dense, token).preserved == pytest.approx(0.43, abs=0.005)
    report = DistillationReport(
        {
            name: {"a-b": bleu - 1, "b-a": bleu + 1}
            for name, bleu in (
                *(("student", distilled), ("teacher", token)),
                *(("baseline", dense), ("task-MoE", task)),
            )
        },
        "BLEU on four pairs.",
    )
    assert report.averages["student"] == pytest.approx(26.9)
    assert report.describe_gains() == [
        "Gain preserved against the task-MoE: 32 %, (26.9 - 25.9) / (29.0 - 25.9).",
        "Gain preserved against the teacher: 43 %, (26.9 - 25.9) / (28.2 - 25.9).",
    ]
    table = report.render().splitlines()
    assert table[0].split() == ["BLEU", "student", "teacher", "baseline", "task-MoE"]
    assert table[1].split() == ["a-b", "25.9", "27.2", "24.9", "28.0"]
    assert table[3].split() == ["average", "26.9", "28.2", "25.9", "29.0"]


def test_a_loss_is_negative_and_no_gain_is_undefined():
    assert Gain(24.0, 25.0, 27.0).preserved == pytest.approx(-0.5)
    for reference in (25.0, 24.0):
        gain = Gain(26.0, 25.0, reference)
        assert gain.preserved is None
        assert (
            f"undefined, since it does not beat the baseline ({reference}, 25.0)"
            in gain.describe("teacher")
        )
    report = DistillationReport(
        {"student": {"a-b": 2.0}, "teacher": {"a-b": 1.0}, "baseline": {"a-b": 1.0}}, "x"
    )
    assert report.to_json()["gain_preserved"] == {"teacher": None}


def test_without_a_baseline_there_is_nothing_to_preserve():
    report = DistillationReport({"student": {"a-b": 2.0}, "teacher": {"a-b": 3.0}}, "x")
    assert report.to_json()["gain_preserved"] == {}
    assert "give a dense baseline (--baseline)" in report.render()
