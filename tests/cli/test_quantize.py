"""`workbench quantize` on bundled checkpoints."""

from __future__ import annotations

from pathlib import Path

import jax
from flax import nnx

from tests.cli.conftest import Run
from workbench.checkpoint.directory import read_checkpoint, read_config
from workbench.checkpoint.model_card import licence_of
from workbench.cli.quantize import _text

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


def test_the_table_shows_differences_of_what_it_shows():
    scores = {
        "a": {"before": 26.24, "after": 26.16},
        "b": {"before": 26.04, "after": 26.06},
        "c": {"before": 30.0, "after": 29.98},
    }
    lines = _text({"bytes": {"before": 4, "after": 1}, "bleu": scores}).splitlines()[2:]
    assert [line.split()[2:] for line in lines] == [
        ["26.2", "26.2", "+0.0"],
        ["26.0", "26.1", "+0.1"],
        ["30.0", "30.0", "+0.0"],
    ]


def test_the_card_states_the_parents_terms_under_its_own_name(tmp_path: Path, run: Run):
    run("quantize", CHECKPOINTS / "captions-dense", "-o", tmp_path / "small", "--no-bleu")
    card = (tmp_path / "small/README.md").read_text(encoding="utf-8")
    assert licence_of(card) == "other (multi30k-non-commercial)"
    assert "\n# small\n" in card and "workbench translate small -s eng_Latn -t" in card


def test_a_bundled_checkpoint_is_widened_to_float32(tmp_path: Path, run: Run):
    source = CHECKPOINTS / "captions-dense"
    out = run("quantize", source, "-o", tmp_path / "int8", "--no-bleu").out
    assert "bytes of weights" in out
    assert "BLEU" not in out
    network = read_checkpoint(tmp_path / "int8").network
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(nnx.state(network))} == {"float32"}
