"""Safetensors files: broken shards and indices are refused in one line, tensors are read and written alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.models import translator
from workbench.checkpoint import INDEX, CheckpointError
from workbench.checkpoint.directory import check_weights, read_checkpoint
from workbench.checkpoint.memory import check_memory, free_memory, in_words
from workbench.checkpoint.tensor_files import (
    NewTensor,
    read_header,
    read_tensor,
    stored_tensors,
    write_tensors,
)
from workbench.decoding.translator import Translator


def new(name, array):
    return NewTensor(name, array.dtype, array.shape, lambda: array)


TENSORS = {
    "b": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a": np.array([1, -2], np.int8),
    "empty": np.zeros((0, 4), np.float32),
    "scalar": np.array(7.5, np.float16),
}


def test_what_is_written_is_a_safetensors_file(tmp_path):
    write_tensors(tmp_path, [new(name, array) for name, array in TENSORS.items()])
    there = load_file(tmp_path / "model.safetensors")
    here = {name: read_tensor(stored) for name, stored in stored_tensors(tmp_path).items()}
    assert set(there) == set(here) == set(TENSORS)
    for name, array in TENSORS.items():
        np.testing.assert_array_equal(there[name], array)
        np.testing.assert_array_equal(here[name], array)
        assert here[name].dtype == array.dtype
    assert (tmp_path / "model.safetensors").read_bytes()[8:16].lstrip().startswith(b'{"__meta')


def test_large_weights_are_spread_over_shards(tmp_path):
    arrays = {f"t{i}": np.full((4, 2), i, np.float32) for i in range(5)}
    write_tensors(tmp_path, [new(name, array) for name, array in arrays.items()], shard=70)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "model-00001-of-00003.safetensors",
        "model-00002-of-00003.safetensors",
        "model-00003-of-00003.safetensors",
        INDEX,
    ]
    table = json.loads((tmp_path / INDEX).read_text())
    assert table["metadata"]["total_size"] == 160
    assert table["weight_map"]["t4"] == "model-00003-of-00003.safetensors"
    for name, stored in stored_tensors(tmp_path).items():
        np.testing.assert_array_equal(read_tensor(stored), arrays[name])


def test_a_full_disk_is_noticed_before_anything_is_written(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(
        CheckpointError, match=r"No space left on device: [\d,]+ bytes are needed, 1,000"
    ):
        translator().save(tmp_path / "it")
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def sharded(tmp_path_factory):
    """A sound checkpoint in shards."""
    path = tmp_path_factory.mktemp("sharded") / "sound"
    translator("token", "token").save(path)
    tensors = load_file(path / "model.safetensors")
    (path / "model.safetensors").unlink()
    write_tensors(path, [new(name, array) for name, array in tensors.items()], shard=40_000)
    return path


@pytest.fixture
def broken(sharded, tmp_path):
    return shutil.copytree(sharded, tmp_path / "broken")


def test_a_sharded_checkpoint_is_whole(sharded):
    assert check_weights(sharded, translator("token", "token").config) == ("float32",)


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


def shard(path, number=2):
    return sorted(path.glob("model-*.safetensors"))[number - 1]


def rename_in_index(path, old, new):
    text = (path / INDEX).read_text().replace(old, new)
    (path / INDEX).write_text(text)


def move_a_tensor(path):
    tensors = load_file(shard(path))
    tensors.pop(sorted(tensors)[0])
    save_file(tensors, shard(path))


def add_a_tensor(path):
    save_file(load_file(shard(path)) | {"more": np.zeros(1, np.float32)}, shard(path))


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lambda p: shard(p).unlink(), r"has no model-00002-of-.*, which model\.safetensors\.index"),
        (lambda p: shard(p).write_bytes(shard(p).read_bytes()[:-9]), r"00002-of-.* is cut short"),
        (lambda p: shard(p).write_bytes(b""), r"00002-of-.* is cut short"),
        (lambda p: rename_in_index(p, shard(p).name, "../evil.safetensors"), r"lies in '\.\./evil"),
        (lambda p: rename_in_index(p, shard(p).name, "/evil.safetensors"), r"lies in '/evil"),
        (lambda p: rename_in_index(p, shard(p).name, ".."), r"lies in '\.\.'|has no \.\."),
        (lambda p: (p / INDEX).write_text("{"), "is not valid JSON"),
        (lambda p: (p / INDEX).write_text("[]"), "has no 'weight_map'"),
        (lambda p: (p / INDEX).write_text('{"weight_map": {"a": 3}}'), "a lies in 3"),
        (lambda p: (p / INDEX).unlink(), r"has no model\.safetensors \(nor .* copy the index too"),
        (lambda p: shard(p).write_text(POINTER), r"00002-of-.* is not the weights but Git LFS's"),
        (move_a_tensor, r"says that model-00002-of-.* holds .*, but it does not"),
        (add_a_tensor, r"holds more, but .* does not say so"),
    ],
)
def test_a_broken_checkpoint_in_shards_is_explained(break_it, says, broken):
    break_it(broken)
    with pytest.raises(CheckpointError, match=says) as caught:
        Translator.load(broken)
    assert "\n" not in str(caught.value)


def test_a_file_that_becomes_shorter_while_it_is_read_is_noticed(broken):
    stored = read_header(shard(broken))
    shard(broken).write_bytes(shard(broken).read_bytes()[:200])
    last = max(stored.values(), key=lambda tensor: tensor.start)
    with pytest.raises(CheckpointError, match="cut short"):
        read_tensor(last)


# Memory.


def test_what_cannot_fit_is_refused_before_it_is_read(sharded, monkeypatch):
    monkeypatch.setattr("workbench.checkpoint.memory.free_memory", lambda: 160_000)
    with pytest.raises(
        CheckpointError, match=r"sound needs 0\.2 MB of memory in float32, but 0\.2"
    ) as e:
        read_checkpoint(sharded)
    assert "Load it as bfloat16, which needs 0.1 MB." in str(e.value)
    monkeypatch.setattr("workbench.checkpoint.memory.free_memory", lambda: 1000)
    with pytest.raises(CheckpointError, match="Use a machine with more"):
        read_checkpoint(sharded, "bfloat16")


def test_free_memory_is_known_here():
    free = free_memory()
    assert free is None or 1e6 < free < 1e14
    check_memory("it", {"float32": 1}, "float32")
    assert (in_words(123_400_000), in_words(10**11)) == ("123.4 MB", "100.0 GB")


PEAK = """
import sys
import jax, numpy as np
jax.config.update("jax_platforms", "cpu")
from pathlib import Path
from workbench.checkpoint.directory import read_checkpoint, read_config
from workbench.checkpoint.weights import abstract_network, memory_needed
from workbench.nn.network import TranslationNetwork

def peak():
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024

place, dtype = Path(sys.argv[1]), sys.argv[2]
config = read_config(place)
abstract_network(config)
jax.block_until_ready(jax.numpy.zeros(3))
before = peak()
checkpoint = read_checkpoint(place, dtype)
print(peak() - before, memory_needed(config, dtype))
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="Linux tells the peak")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_load_holds_the_result_and_one_tensor(dtype, large):
    """300 MB in 8 experts a layer, of which one tensor has 4 MB and a parameter 34 MB."""
    path, largest = large
    out = subprocess.run(
        [sys.executable, "-c", PEAK, str(path), dtype], capture_output=True, text=True, check=True
    )
    grown, result = map(int, out.stdout.split())
    assert result > (250e6 if dtype == "float32" else 125e6)
    assert grown < result + largest


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A checkpoint of some 300 MB, written tensor by tensor, and the bytes of its largest tensor."""
    from tests.models import LANGUAGES, TASKS
    from workbench.checkpoint.hub_config import to_json
    from workbench.checkpoint.tensor_names import tensors
    from workbench.config import ModelConfig, RouterConfig, StackConfig

    stack = StackConfig(8, (2048,) * 2, (0, 1), 8, RouterConfig("token", 2))
    config = ModelConfig(512, 8000, stack, stack, LANGUAGES, TASKS)
    path = tmp_path_factory.mktemp("large")
    (path / "config.json").write_text(json.dumps(to_json(config)))
    wanted = tensors(config, "nllb-moe")
    write_tensors(
        path,
        [
            NewTensor(
                t.name, np.dtype(np.float32), t.shape, lambda t=t: np.ones(t.shape, np.float32)
            )
            for t in wanted
        ],
    )
    return path, max(4 * int(np.prod(t.shape)) for t in wanted)
