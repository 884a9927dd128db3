"""One process a run: held by a real other process, and free once that is killed."""

import fcntl
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from workbench.errors import WorkbenchError
from workbench.training.lock import LOCK, check_no_checkpoint, held, is_held
from workbench.training.loop import train
from workbench.training.recipe import read_recipe

RECIPE = Path(__file__).parents[2] / "recipes" / "captions-dense.toml"
HOLD = """
import sys, time
from pathlib import Path
from workbench.training.lock import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_run_that_another_process_writes_is_refused_until_that_is_killed(tmp_path):
    assert is_held(tmp_path) is None
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        assert is_held(tmp_path)
        with pytest.raises(WorkbenchError, match=f"is being written by process {other.pid} on "):
            train(read_recipe(RECIPE), tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == [LOCK]
        other.kill()
    assert is_held(tmp_path) is False
    with held(tmp_path):
        assert is_held(tmp_path)
        with pytest.raises(WorkbenchError, match="choose another directory"), held(tmp_path):
            pass
    assert is_held(tmp_path) is False


def test_a_lock_of_another_machine_says_nothing(tmp_path):
    with held(tmp_path):
        (tmp_path / LOCK).write_text(json.dumps({"process": 1, "host": "elsewhere"}))
        assert is_held(tmp_path) is None
        (tmp_path / LOCK).write_text("[")
        assert is_held(tmp_path) is None


def test_a_look_at_a_run_that_begins_does_not_refuse_it(tmp_path):
    with held(tmp_path):
        pass
    with (tmp_path / LOCK).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_SH)  # as `is_held` does
        assert is_held(tmp_path) is False, "nor does another look take it for a run"
        threading.Timer(0.3, file.close).start()
        with held(tmp_path):
            assert is_held(tmp_path)


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model-00001-of-00002.bin"])
def test_no_run_begins_in_a_checkpoint_but_one_that_is_there_goes_on(tmp_path, weights):
    (tmp_path / "config.json").touch()
    check_no_checkpoint(tmp_path)
    (tmp_path / weights).touch()
    with pytest.raises(WorkbenchError, match=r"is a checkpoint: .* another directory with -o"):
        train(read_recipe(RECIPE), tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    for begun in ("metrics.jsonl", "state", "distilled"):
        (tmp_path / begun).mkdir()
        check_no_checkpoint(tmp_path)
        (tmp_path / begun).rmdir()
