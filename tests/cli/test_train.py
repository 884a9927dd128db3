"""`workbench train` and `workbench upcycle`: recipes that extend others, values set, dense starts."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

import workbench as wb
from tests.cli.conftest import Run
from tests.models import CAPTIONS, captions, new_translator, translator
from tests.training.test_upcycling import outputs
from workbench.cli.train import _check_same, recipe_of
from workbench.decoding.translator import Translator
from workbench.errors import WorkbenchError
from workbench.training.recipe import Recipe, read_recipe, recipe_from, recipe_table

BASE = """
name = "base"
[data]
directory = "nowhere"
languages = ["en", "de"]
train = "captions"
valid = "captions"
vocabulary = 400
batch_tokens = 256
buckets = [32]
[model]
d_model = 32
heads = 4
feed_forward = 24
experts = 2
top_k = 1
unit_gates = true
max_positions = 64
[objective]
capacity_factor = 0.5
[run]
steps = 2
log_every = 1
valid_every = 2
save_every = 2
valid_sentences = 1
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "base.toml").write_text(BASE, encoding="utf-8")
    path = tmp_path / "it.toml"
    text = 'extends = "base.toml"\nname = "it"\n[model]\nencoder_routing = "token"\n'
    path.write_text(text, encoding="utf-8")
    return path


def test_a_finished_run_of_an_older_version_is_known_again(recipe: Path, tmp_path: Path) -> None:
    wanted = read_recipe(recipe, ["objective.capacity_factor=0"])
    table = json.loads(json.dumps(recipe_table(wanted)))
    del table["objective"]["capacity_factor"], table["data"]["directions"]
    (tmp_path / "provenance.json").write_text(json.dumps({"recipe": table}), encoding="utf-8")
    _check_same(tmp_path, wanted)


def test_options_count_before_a_recipe_is_checked(recipe: Path) -> None:
    base = recipe.parent / "base.toml"
    base.write_text(BASE.replace('directory = "nowhere"\n', ""), encoding="utf-8")
    options = {"recipe": recipe, "settings": ["run.steps=3"], "mesh": "data=2"}
    found = recipe_of(argparse.Namespace(**options, data='a "b" ü=1'))
    assert (found.data.directory, found.run.steps) == ('a "b" ü=1', 3)
    assert found.run.mesh == "data=2"
    with pytest.raises(WorkbenchError, match=r"lacks the key data.directory"):
        recipe_of(argparse.Namespace(**options, data=None))


def test_train_refuses(recipe: Path, checkpoints: dict[str, str], tmp_path: Path, run: Run) -> None:
    common = ("train", recipe, "-o", tmp_path / "run")
    run(*common, "--set", "model.experts=two").says("model.experts must be of type int, got 'two'")
    run(*common, "--set", "model").says("--set model: write a key")
    run(*common, "--set", "data.directions=['en-cs']").says("ces_Latn is not among data.languages")
    run(*common, "--mesh", "expert=3").says("2 experts do not divide over 3 devices")
    run(*common, "--set", "objective.dropout=nan").says("objective.dropout must be a finite number")
    dense = Path(checkpoints["dense"])
    files = set(dense.iterdir())
    run("train", recipe, "-o", dense).says(f"{dense} is a checkpoint: ", "another directory")
    assert set(dense.iterdir()) == files
    assert not (tmp_path / "run").exists()


def test_upcycle_writes_a_checkpoint_that_translates_as_before(
    checkpoints: dict[str, str], tmp_path: Path, run: Run
) -> None:
    output = tmp_path / "upcycled"
    shape = ("--encoder", "token", "--decoder", "target", "--experts", "3")
    result = run("upcycle", checkpoints["dense"], *shape, "-o", output, "--json")
    assert result.code == 0, result.err
    assert result.table["experts"] == 3 and result.table["output"] == str(output)
    dense, model = translator("dense", "dense"), wb.load(output)
    assert model.config.encoder.experts == model.config.decoder.experts == 3
    found, wanted = (
        m.translate(captions()[:4], "en", "de", batch_size=4, max_length=8) for m in (model, dense)
    )
    assert [x.token_ids for x in found] == [x.token_ids for x in wanted]
    np.testing.assert_allclose([x.score for x in found], [x.score for x in wanted], rtol=1e-4)
    record = model.provenance
    assert (record["operation"], record["encoder"], record["top_k"]) == ("upcycle", "token", 2)
    assert record["command"].startswith("workbench upcycle ")
    assert record["parents"][0]["name"] == "dense" and len(record["parents"][0]["sha256"]) == 64
    assert model.card.startswith("# upcycled\n")


@pytest.mark.parametrize(
    ("encoder", "decoder", "top_k"),
    [("sentence", "pair", 1), ("source", "token", 1), ("pair", "sentence", 2)],
)
def test_upcycle_gives_the_dense_logits_for_every_routing(
    encoder: str, decoder: str, top_k: int, checkpoints: dict[str, str], tmp_path: Path, run: Run
) -> None:
    shape = ("--encoder", encoder, "--decoder", decoder, "--experts", "3", "--top-k", top_k)
    result = run("upcycle", checkpoints["dense"], *map(str, shape), "-o", tmp_path / "it")
    assert result.out == f"{tmp_path / 'it'}\n"
    found, wanted = (outputs(wb.load(p).network) for p in (tmp_path / "it", checkpoints["dense"]))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=2e-4)
    assert (found.argmax(axis=-1) == wanted.argmax(axis=-1)).all()


def test_upcycle_trains_on_as_a_recipe_says(
    recipe: Path,
    checkpoints: dict[str, str],
    tmp_path: Path,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    followed = []

    def train(recipe: Recipe, output: Path, report: object, tell: object) -> Translator:
        followed.append(recipe)
        output.mkdir()
        (output / "metrics.jsonl").write_text('{"step": 2, "valid_bleu": {"average": 1.5}}\n')
        return new_translator("token", "dense")

    monkeypatch.setattr("workbench.training.loop.train", train)
    output = tmp_path / "run"
    common = ("upcycle", checkpoints["dense"], "--recipe", recipe, "-o", output, "--data", CAPTIONS)
    result = run(*common, "--set", "run.fresh_units=0", "--mesh", "expert=2")
    assert result.code == 0, result.err
    assert result.out == f"{output / 'checkpoint'}\n"
    [made] = followed
    assert made.run.start_from == checkpoints["dense"]
    assert (made.run.fresh_units, made.run.mesh, made.name) == (0.0, "expert=2", "it")
    provenance = wb.load(output / "checkpoint").provenance
    assert provenance["operation"] == "upcycle"
    assert provenance["parents"][0]["name"] == "dense"
    assert recipe_from(provenance["recipe"]) == made
    assert "finished already" in run(*common, "--set", "run.fresh_units=0").err
    again = run(*common, "--set", "run.fresh_units=0", "--json")
    assert again.table == {"checkpoint": str(output / "checkpoint"), "valid_bleu": {"average": 1.5}}
    other = run(*common, "--set", "model.unit_gates=false")
    assert other.code == 1 and len(followed) == 1
    assert "model.unit_gates = true begins where" in other.err and "another recipe" in other.err
    assert "model.unit_gates (true, now false)" in other.err


def test_a_finished_run_says_what_differs_and_goes_on_to_more_steps(
    recipe: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "run/checkpoint"
    common = ("train", recipe, "-o", tmp_path / "run", "--set", "objective.schedule=constant")
    made = read_recipe(recipe, ["objective.schedule=constant"])
    table = json.loads(json.dumps(recipe_table(made)))
    place.mkdir(parents=True)
    (place / "provenance.json").write_text(json.dumps({"recipe": table}), encoding="utf-8")
    longer = ("--set", "run.steps=4")
    run(*common, *longer, "--set", "run.seed=1").says(
        "another recipe: run.seed (0, now 1). Give", f"run.start_from={place} begins"
    )
    run(*common, *longer).says("cannot go on to step 4: there is no state in", "run.start_from")
    assert "finished already" in run(*common, "--set", "run.save_every=1").err
    run(*common, "--data", tmp_path).says("another recipe: data.directory (", "choose another")

    def train(recipe: Recipe, output: Path, report: object, tell: object) -> Translator:
        assert recipe.run.steps == 4
        (output / "metrics.jsonl").write_text('{"step": 4}\n')
        return new_translator("token", "dense")

    monkeypatch.setattr("workbench.training.loop.train", train)
    (tmp_path / "run/state/2").mkdir(parents=True)
    result = run(*common, *longer)
    assert result.code == 0 and f"is now {place}-step-2." in result.err
    assert (tmp_path / "run/checkpoint-step-2/provenance.json").exists()
    assert wb.load(place).provenance["recipe"]["run"]["steps"] == 4


def test_of_several_processes_one_tells_and_writes(
    recipe: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed = []
    monkeypatch.setattr("workbench.training.mesh.is_first", lambda: False)
    monkeypatch.setattr("workbench.training.loop.train", lambda *how: followed.append(how))
    assert run("train", recipe, "-o", tmp_path / "run") == (0, "", "")
    assert followed == [(read_recipe(recipe), tmp_path / "run")]
    assert not (tmp_path / "run").exists()


def test_upcycle_refuses(
    recipe: Path, checkpoints: dict[str, str], tmp_path: Path, run: Run
) -> None:
    where = ("-o", tmp_path / "x")
    dense, token = checkpoints["dense"], checkpoints["token"]
    run("upcycle", dense, *where).says("No layer gets experts: choose a routing")
    run("upcycle", token, "--decoder", "target", *where).says("has experts in its encoder and dec")
    common = ("upcycle", dense, "--decoder", "target", *where)
    run(*common, "--experts", "2", "--top-k", "3").says("top_k is 3, but a layer has 2 experts")
    run(*common, "--every", "3").says("decoder", "No layer gets experts", "this one has 2")
    run(*common, "--fresh-units", "1.5").says("fresh_units is 1.5")
    run(*common, "--mesh", "data=2").says("go with --recipe only")
    run("upcycle", tmp_path / "none", "--decoder", "target", *where).says("There is no checkpoint")
    assert run("upcycle", dense, "--decoder", "words", *where).code == 2
    common = ("upcycle", dense, "--recipe", recipe, *where)
    run(*common, "--top-k", "2").says("--top-k does not go with --recipe")
    run(*common, "--set", "model.encoder_routing=dense").says("No layer gets experts", "dense netw")
    run(*common, "--set", 'data.languages=["en", "is"]').says("trains isl_Latn", "does not know")
    run("upcycle", token, "--recipe", recipe, *where).says("has experts in its encoder and decoder")
    run("upcycle", dense, "--recipe", recipe, "-o", token).says(f"{token} is a checkpoint: ")
    assert not (tmp_path / "x").exists()
    (tmp_path / "x").mkdir()
    (tmp_path / "x/file").touch()
    run("upcycle", dense, "--decoder", "target", *where).says("exists and is not empty")
