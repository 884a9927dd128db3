"""Runs on disk: what is found, what their lines say, and what is read again while they are written."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from workbench.errors import WorkbenchError
from workbench.training.lock import held
from workbench.training.metrics import MetricsLog
from workbench.training.run_folder import find_runs, read_run

RECIPE = {
    "run": {"steps": 40, "log_every": 10, "valid_every": 20, "patience": 0},
    "model": {"sparse_step": 2},
}
LINE = {
    "nats": 2.0,
    "tokens": 90.0,
    "seconds": 3.0,
    "load.encoder.0": [0.75, 0.25],
    "load.encoder.1": [0.5, 0.5],
    "entropy.encoder.0": 0.6,
    "dropped.encoder.0": 0.1,
}


def scores(bleu):
    return {
        "valid_nats": {"average": 3.0, "eng_Latn-deu_Latn": 3.0},
        "valid_bleu": {"average": bleu, "eng_Latn-deu_Latn": bleu},
    }


def begun(path, step=0, recipe=RECIPE):
    """The writer of a run in `path`, which has written its recipe."""
    path.mkdir(parents=True, exist_ok=True)
    log = MetricsLog(path / "metrics.jsonl", step, 40, lambda progress: None)
    if step == 0:
        log.write(0, {"recipe": recipe, "pairs": {}})
    return log


def test_runs_are_found_in_the_folder_in_those_below_and_as_the_folder_itself(tmp_path):
    for name in ("b", "a/seed-1", "a/seed-2", "too/far/down"):
        begun(tmp_path / name)
    (tmp_path / "no run").mkdir()
    found = [path.relative_to(tmp_path).as_posix() for path in find_runs(tmp_path)]
    assert found == ["a/seed-1", "a/seed-2", "b"]
    assert find_runs(tmp_path / "b") == [tmp_path / "b"]
    with pytest.raises(WorkbenchError, match=r"There is no directory .*nowhere\."):
        find_runs(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkbenchError, match="file is a file: name the directory"):
        find_runs(tmp_path / "file")
    with pytest.raises(WorkbenchError, match=r"no run/metrics\.jsonl cannot be read"):
        read_run(tmp_path / "no run")


def test_lines_become_tidy_tables_and_layers_have_their_own_numbers(tmp_path):
    log = begun(tmp_path / "one")
    assert (read_run(tmp_path / "one").step, read_run(tmp_path / "one").loss) == (0, None)
    log.write(10, LINE)
    log.write(20, LINE | {"tokens_per_second": 30.0})
    log.write(20, scores(7.5))
    run = read_run(tmp_path / "one")
    assert (run.step, run.steps, run.loss, run.tokens_per_second) == (20, 40, 2.0, 30.0)
    assert run.best == (7.5, 20)
    assert run.seconds_left == 20 * 3 / 10
    rows = run.load[run.load["step"] == 10]
    assert list(rows["layer"]) == [1, 1, 3, 3], "of every two layers the second has experts"
    assert list(rows["expert"]) == [0, 1, 0, 1]
    assert list(rows["share"]) == [0.75, 0.25, 0.5, 0.5]
    assert list(run.routing["entropy"].fillna(-1)) == [0.6, -1, 0.6, -1]
    assert list(run.losses["text"]) == ["training", "training", "validation"]
    assert list(run.losses["run"].unique()) == ["one"]
    assert list(run.validation["task"]) == ["average", "eng_Latn-deu_Latn"]


def test_reading_on_reads_what_was_appended_and_gives_what_reading_anew_does(tmp_path):
    log = begun(tmp_path)
    log.write(10, LINE)
    first = read_run(tmp_path)
    assert read_run(tmp_path, first).load is first.load
    file = tmp_path / "metrics.jsonl"
    whole = json.dumps({"step": 20, **LINE, **scores(1.0)}).encode()
    with file.open("ab") as opened:
        opened.write(whole[:30])
    cut = read_run(tmp_path, first)
    assert (cut.step, cut.skipped) == (10, 1)
    with file.open("ab") as opened:
        opened.write(whole[30:])
    without_end = read_run(tmp_path, cut)
    assert (without_end.step, without_end.skipped) == (20, 0)
    with file.open("ab") as opened:
        opened.write(b"\n")
    log.write(30, LINE)
    on, anew = read_run(tmp_path, without_end), read_run(tmp_path)
    for table in ("training", "validation", "routing", "load"):
        assert getattr(on, table).equals(getattr(anew, table))
        assert list(getattr(on, table).dtypes) == list(getattr(anew, table).dtypes)
    assert (on.step, len(on.training), on.skipped) == (30, 3, 0)
    begun(tmp_path, step=20)  # goes on from its state: the line of step 30 will be made again
    assert read_run(tmp_path, on).step == 20


@pytest.mark.parametrize(
    "line",
    [
        b'{"step": 20, "nats": 1',
        b"\xff\xfe\x00",
        b'{"nats": 1.0}',
        b"[1, 2]",
        b'{"step": Infinity, "nats": 1.0}',
        b'{"step": 20, "nats": "high"}',
        b'{"step": 20, "nats": 1.0, "load.encoder.0": [[0.5]]}',
        b'{"step": 20, "nats": 1.0, "load.nowhere.0": [0.5]}',
        b'{"step": 20, "valid_bleu": [3]}',
    ],
)
def test_a_damaged_line_is_counted_and_left_out_whole(tmp_path, line):
    log = begun(tmp_path)
    with (tmp_path / "metrics.jsonl").open("ab") as opened:
        opened.write(line + b"\n\n")
    log.write(10, LINE)
    run = read_run(tmp_path)
    assert (run.skipped, run.step, len(run.training), len(run.load)) == (1, 10, 1, 4)
    assert read_run(tmp_path, run).skipped == 1


def test_whether_a_run_is_at_work_is_told_by_its_last_lines_and_their_age(tmp_path):
    def aged(seconds):
        for path in (tmp_path / "metrics.jsonl", tmp_path / "state"):
            if path.exists():
                os.utime(path, (time.time() - seconds,) * 2)
        return read_run(tmp_path).state

    log = begun(tmp_path)
    assert [aged(500), aged(700)] == ["running", "interrupted"], "the first step compiles"
    log.write(10, LINE | {"seconds": 30.0})
    assert [aged(80), aged(100)] == ["running", "interrupted"]
    log.write(20, LINE)
    assert [aged(500), aged(700)] == ["running", "interrupted"], "it may be validating"
    log.write(20, scores(5.0))
    assert [aged(80), aged(100)] == ["running", "interrupted"]
    assert read_run(tmp_path).seconds_left is None
    (tmp_path / "state").mkdir()
    assert read_run(tmp_path).state == "running", "it has just written a state"
    log.write(40, LINE | scores(6.0))
    assert aged(9999) == "finished"


def test_a_run_that_ended_early_is_finished_and_one_whose_loss_is_no_number_is_not(tmp_path):
    recipe = RECIPE | {"run": {"steps": 100, "valid_every": 20, "patience": 2}}
    log = begun(tmp_path, recipe=recipe)
    for step, bleu in ((20, 5.0), (40, 4.0), (60, 5.0)):
        log.write(step, LINE | scores(bleu))
    run = read_run(tmp_path)
    assert (run.state, run.reason) == ("finished", "no better BLEU in 2 validations")
    log = begun(tmp_path)
    np.savez(tmp_path / "bad-batch-step-7.npz", step=7)
    run = read_run(tmp_path)
    assert (run.state, run.reason) == ("interrupted", "the loss was not a number at step 7")


def test_reading_runs_needs_no_jax():
    code = "import sys, workbench.training.run_folder, workbench.figures.training; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_lock_says_at_once_whether_a_run_is_running(tmp_path):
    begun(tmp_path).write(10, LINE)
    with held(tmp_path):
        old = time.time() - 10_000
        os.utime(tmp_path / "metrics.jsonl", (old, old))
        assert read_run(tmp_path).state == "running", "it takes long, and is there"
    begun(tmp_path).write(10, LINE)
    assert read_run(tmp_path).state == "interrupted", "it has just been killed"
