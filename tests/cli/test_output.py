"""Progress: an estimate that does not begin with what compiling took."""

from __future__ import annotations

import pytest

from workbench.cli.output import Pace, ProgressLine


def test_the_first_item_and_older_ones_do_not_make_the_estimate() -> None:
    pace = Pace()
    pace.add(52.0, 1)
    assert pace.left(79) is None
    pace.add(53.0, 2)
    assert pace.left(78) is None  # too short a look
    for done in range(3, 10):
        pace.add(51.0 + done, done)
    assert pace.left(10) == pytest.approx(10)
    for _ in range(60):
        done += 1
        pace.add(60.0 + 2 * (done - 9), done)
    assert pace.left(10) == pytest.approx(20, rel=0.01)


def test_another_phase_has_its_own_estimate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr("workbench.cli.output.time.monotonic", lambda: now[0])
    line = ProgressLine("sentences")

    def at(seconds: float, done: int, total: int | None, what: str | None = None) -> str:
        now[0] = seconds
        line(done, total, what)
        return capsys.readouterr().err

    assert at(60, 1, 80) == "sentences: 1 of 80\n"
    assert at(80, 21, 80) == "sentences: 21 of 80, 59 s left\n"
    assert at(95, 1, 40, "batches") == "batches: 1 of 40\n"
    assert at(115, 21, 40, "batches") == "batches: 21 of 40, 19 s left\n"
    assert at(130, 26, None) == "sentences: 26, 0.2 a second\n"
