"""Metrics: a clock that tells steps from compiling and validation, and what a resumed run keeps of them."""

from pathlib import Path

import pytest

from workbench.errors import WorkbenchError
from workbench.training.metrics import MetricsLog, read_metrics, training_seconds


def test_speed_and_time_left_are_those_of_steps_that_do_not_compile(tmp_path, monkeypatch):
    now, seen = [0.0], []
    monkeypatch.setattr("workbench.training.metrics.time.monotonic", lambda: now[0])
    log = MetricsLog(tmp_path / "metrics.jsonl", 0, 20, seen.append, valid_every=10)

    def step(seconds, compiled=False):
        now[0] += seconds
        log.add({"tokens": 100.0})
        log.stepped(compiled)

    step(60, compiled=True)
    log.log(1)
    assert "tokens_per_second" not in seen[-1].metrics and seen[-1].seconds_left is None
    step(0.5)
    log.log(2)
    assert seen[-1].metrics["tokens_per_second"] == 200
    assert seen[-1].seconds_left is None  # one step is no estimate
    for _ in range(8):
        step(0.5)
    log.log(10)
    assert seen[-1].seconds_left == 5
    now[0] += 7
    log.paused(validated=True)
    log.write(10, {"valid_bleu": {"average": 1.0}})
    assert seen[-1].seconds_left == 5 + 7
    step(40, compiled=True)
    for _ in range(9):
        step(0.5)
    log.log(20)
    assert seen[-1].metrics["tokens_per_second"] == 200
    log.write(20, {"valid_bleu": {"average": 1.0}})
    assert seen[-1].seconds_left == 0
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert training_seconds(lines) == 60 + 9 * 0.5 + 7 + 40 + 9 * 0.5
    assert training_seconds([{"tokens": 30, "tokens_per_second": 10}]) == 3


@pytest.mark.parametrize(("step", "kept"), [(0, []), (2, [0, 2])])
def test_a_run_that_goes_on_takes_out_the_lines_that_it_makes_again(tmp_path, step, kept):
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"step": 0}\n{"step": 2}\n{"step": 3}\n{"st')
    MetricsLog(file, step, 4, print)
    assert [line["step"] for line in read_metrics(file)] == kept


def test_a_validation_that_is_made_again_is_taken_out_too(tmp_path):
    file = tmp_path / "metrics.jsonl"
    file.write_text(
        '{"step": 1, "valid_bleu": {}}\n{"step": 2, "nats": 1}\n{"step": 2, "valid_bleu": {}}\n'
    )
    MetricsLog(file, 2, 4, print, validated=False)
    assert read_metrics(file) == [{"step": 1, "valid_bleu": {}}, {"step": 2, "nats": 1}]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a device that is always full")
def test_a_full_disk_is_named_with_the_file_and_what_to_do(tmp_path):
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    log = MetricsLog(None, 0, 4, print)
    log._path = tmp_path / "metrics.jsonl"
    with pytest.raises(WorkbenchError, match=r"metrics\.jsonl: No space left on device\. States"):
        log.write(1, {"nats": 2.0})
    (tmp_path / "kept.jsonl").write_text('{"step": 1}\n')
    (tmp_path / "kept.jsonl.partial").symlink_to("/dev/full")
    with pytest.raises(WorkbenchError, match=r"kept\.jsonl: No space .* same command again"):
        MetricsLog(tmp_path / "kept.jsonl", 1, 4, print)
    assert read_metrics(tmp_path / "kept.jsonl") == [{"step": 1}]
