"""`workbench train` and `workbench upcycle`: recipes that extend others, values set, dense starts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import workbench as wb
from tests.cli.conftest import Run
from tests.models import CAPTIONS, EN_DE, captions, translator
from workbench.cli.train import _check_same
from workbench.subnetworks.proof import prove
from workbench.training.recipe import read_recipe, recipe_table

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


def test_train_refuses(recipe: Path, tmp_path: Path, run: Run) -> None:
    common = ("train", recipe, "-o", tmp_path / "run")
    run(*common, "--set", "model.experts=two").says("model.experts must be of type int, got 'two'")
    run(*common, "--set", "model").says("--set model: write a key")
    run(*common, "--set", "data.directions=['en-cs']").says("ces_Latn is not among data.languages")
    run(*common, "--mesh", "expert=3").says("2 experts do not divide over 3 devices")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("encoder", "decoder", "top_k"),
    [
        ("token", "target", 2),
        ("sentence", "pair", 1),
        ("source", "token", 1),
    ],
)
def test_upcycle_writes_a_checkpoint_that_translates_as_before(
    encoder: str, decoder: str, top_k: int, checkpoints: dict[str, str], tmp_path: Path, run: Run
) -> None:
    output = tmp_path / "upcycled"
    shape = ("--encoder", encoder, "--decoder", decoder, "--experts", "3", "--top-k", str(top_k))
    result = run("upcycle", checkpoints["dense"], *shape, "-o", output, "--json")
    assert result.code == 0, result.err
    dense, model = translator("dense", "dense"), wb.load(output)
    assert model.config.encoder.experts == model.config.decoder.experts == 3
    proof = prove(dense, model, captions()[:4], EN_DE, batch_size=4)
    assert (proof.identical, proof.different) == (4, 0)
    assert proof.largest_logit_difference < 1e-3
    assert result.table["experts"] == 3 and result.table["output"] == str(output)
    record = model.provenance
    assert (record["operation"], record["encoder"], record["top_k"]) == ("upcycle", encoder, top_k)
    assert record["command"].startswith("workbench upcycle ")
    assert record["parents"][0]["name"] == "dense" and len(record["parents"][0]["sha256"]) == 64
    assert model.card.startswith("# upcycled\n")


def test_upcycle_trains_on_as_a_recipe_says(
    recipe: Path,
    checkpoints: dict[str, str],
    tmp_path: Path,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output = tmp_path / "run"
    common = ("upcycle", checkpoints["dense"], "--recipe", recipe, "-o", output, "--data", CAPTIONS)
    settings = ("--set", "objective.learning_rate=0", "--set", "run.fresh_units=0")
    monkeypatch.setattr(
        "workbench.training.loop.Validator.__call__", lambda *_: {"valid_bleu": {"average": 1.0}}
    )
    result = run(*common, *settings)
    assert result.code == 0, result.err
    model, dense = wb.load(output / "checkpoint"), translator("dense", "dense").network
    assert model.provenance["operation"] == "upcycle"
    assert model.provenance["parents"][0]["name"] == "dense"
    assert model.provenance["recipe"]["run"]["start_from"] == checkpoints["dense"]
    # Nothing was learned: it is where the dense network was.
    assert model.config.encoder.router is not None and model.config.decoder.router is None
    kernel = dense.encoder.layers[1].ffn.fc1.kernel[...]
    assert (model.network.encoder.layers[1].ffn.w_in[...] == kernel).all()
    lines = [json.loads(x) for x in (output / "metrics.jsonl").read_text().splitlines()]
    # Two experts with a quarter of a place for each token: at least half of the tokens find none.
    assert all(0.45 < line["dropped.encoder.0"] < 1 for line in lines if "nats" in line)
    assert "finished already" in run(*common, *settings).err
    other = run(*common, *settings, "--set", "model.unit_gates=false")
    assert other.code == 1
    assert "model.unit_gates = true begins where" in other.err and "another recipe" in other.err


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
    assert not (tmp_path / "x").exists()
    (tmp_path / "x").mkdir()
    (tmp_path / "x/file").touch()
    run("upcycle", dense, "--decoder", "target", *where).says("exists and is not empty")
