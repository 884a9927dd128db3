"""Many devices: eight virtual ones, and two processes, give what one device gives."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.training import on_many_devices
from tests.training.on_many_devices import RECIPE, run_table
from workbench.errors import WorkbenchError
from workbench.training.loop import train
from workbench.training.mesh import TrainingMesh, join
from workbench.training.metrics import read_metrics
from workbench.training.recipe import recipe_from

ROOT = Path(__file__).parents[2]
#: These runs last a few steps: their time is XLA's.
QUICK_TO_COMPILE = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"


def start(devices, *arguments):
    """A process with so many virtual devices that runs `tests/training/on_many_devices.py`."""
    flags = f"--xla_force_host_platform_device_count={devices} {QUICK_TO_COMPILE}"
    return subprocess.Popen(
        [sys.executable, "-m", on_many_devices.__name__, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(*processes):
    for process in processes:
        text, _ = process.communicate(timeout=250)
        assert process.returncode == 0, text[-4000:]


@pytest.fixture(scope="module")
def on_one_device(tmp_path_factory):
    """Metrics of the run that all meshes must repeat, and its weights."""
    output = tmp_path_factory.mktemp("one")
    model = train(recipe_from(run_table("", steps=8)), output)
    return read_metrics(output / "metrics.jsonl"), on_many_devices.weights(model)


def check_run(output, on_one_device):
    """The run in `output`, on whatever devices, gave the same losses and weights within rounding."""
    lines, weights = on_one_device
    # Goes on where it was stopped; one that is finished only gives its model.
    model = train(recipe_from(run_table("", steps=8)), output)
    found = [line for line in read_metrics(output / "metrics.jsonl") if "nats" in line]
    wanted = [line for line in lines if "nats" in line]
    assert [x["step"] for x in found] == [x["step"] for x in wanted] == [2, 4, 6, 8]
    for a, b in zip(found, wanted, strict=True):
        for name in ("nats", "gradient_norm", "balance.encoder.0", "z.decoder.0", "tokens"):
            assert a[name] == pytest.approx(b[name], rel=2e-4), name
    for a, b in zip(on_many_devices.weights(model), weights, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-3)


@pytest.mark.slow
def test_eight_devices_give_the_gradients_of_one_and_a_run_moves_between_meshes(
    tmp_path, on_one_device
):
    finish(start(8, "eight", tmp_path))
    check_run(tmp_path, on_one_device)


@pytest.mark.slow
def test_two_processes_give_the_gradients_of_one_and_stop_together(tmp_path, on_one_device):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    finish(*(start(1, "process", tmp_path, f"{address},2,{index}") for index in (0, 1)))
    check_run(tmp_path, on_one_device)


def test_a_mesh_that_cannot_be_is_refused_before_any_work(tmp_path):
    table = json.loads(json.dumps(RECIPE)) | {
        "data": {"directory": "nowhere", "languages": ["en", "de"]}
    }
    table["run"] = {"mesh": "data=512"}
    with pytest.raises(WorkbenchError, match=r"data=512 needs 512 devices; JAX finds \d+ \(cpu\)"):
        train(recipe_from(table), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_several_processes_need_a_mesh(tmp_path, monkeypatch):
    table = json.loads(json.dumps(RECIPE)) | {
        "data": {"directory": "nowhere", "languages": ["en", "de"]}
    }
    monkeypatch.setattr("jax.process_count", lambda: 2)
    with pytest.raises(
        WorkbenchError, match=r"2 processes share a run .*: give --mesh, such as da"
    ):
        train(recipe_from(table), tmp_path / "run")


@pytest.mark.parametrize("how", ["host", "host:1", "host:1,2", "host:1,2,2", "host,2,1", "h:1,a,b"])
def test_a_process_that_cannot_join_says_how_it_could(how):
    with pytest.raises(WorkbenchError, match=r"--distributed .*: (give HOST:PORT|the index)"):
        join(how)


def test_a_mesh_of_one_device_is_a_mesh():
    assert TrainingMesh("data=1").size == 1
