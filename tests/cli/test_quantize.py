"""`workbench quantize` on bundled checkpoints."""

from __future__ import annotations

from pathlib import Path

import jax
from flax import nnx

from tests.cli.conftest import Run
from workbench.checkpoint.directory import read_checkpoint, read_config

CHECKPOINTS = Path(__file__).parents[2] / "checkpoints"


def test_quantising_prints_size_and_bleu_before_and_after(tmp_path: Path, run: Run):
    source = CHECKPOINTS / "captions-dense"
    result = run("quantize", source, "-o", tmp_path / "int8", "--limit", "32", "--json").table
    before, after = result["bytes"]["before"], result["bytes"]["after"]
    assert before == (source / "model.safetensors").stat().st_size
    assert after == (tmp_path / "int8" / "model.safetensors").stat().st_size < 0.6 * before
    assert set(result["bleu"]) == {str(task) for task in read_config(source).tasks}
    changes = [scores["after"] - scores["before"] for scores in result["bleu"].values()]
    assert all(scores["before"] > 5 for scores in result["bleu"].values())
    assert any(changes)
    assert abs(sum(changes)) / len(changes) < 1
    table = run("info", tmp_path / "int8", "--json").table
    assert "int8" in table["stored_as"]
    assert table["bytes"]["weights"] == after
    assert read_checkpoint(tmp_path / "int8").provenance["operation"] == "quantize"
    run("quantize", tmp_path / "int8", "-o", tmp_path / "twice").says("is stored as int8 already")
    assert not (tmp_path / "twice").exists()


def test_a_bundled_checkpoint_is_widened_to_float32(tmp_path: Path, run: Run):
    source = CHECKPOINTS / "captions-dense"
    out = run("quantize", source, "-o", tmp_path / "int8", "--no-bleu").out
    assert "bytes of weights" in out
    assert "BLEU" not in out
    network = read_checkpoint(tmp_path / "int8").network
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(nnx.state(network))} == {"float32"}
