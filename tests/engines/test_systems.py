"""Other engines as systems: the same translations as here, wherever systems are compared."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

import workbench as wb
from tests.models import EN_DE, captions
from workbench.cli.main import main
from workbench.decoding.system import System
from workbench.decoding.translator import Translator
from workbench.engines import packages
from workbench.engines.loading import ENGINES, load, split_engine, under
from workbench.engines.packages import EngineError
from workbench.evaluation import speed
from workbench.evaluation.comparison import compare
from workbench.evaluation.quality import evaluate
from workbench.evaluation.testset import CAPTIONS, load_testset
from workbench.subnetworks.extract import extract

CHECKPOINTS = Path(__file__).parents[2] / "checkpoints"
TASK_MOE = CHECKPOINTS / "captions-task-moe"


@pytest.fixture(scope="module")
def small() -> Translator:
    return extract(Translator.load(TASK_MOE), [EN_DE], "en-de")


@pytest.fixture(scope="module")
def systems(small) -> dict[str, System]:
    return {engine: under(small, engine) for engine in ENGINES}


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["ctranslate2", "transformers"])
@pytest.mark.parametrize("beam_size", [1, 4])
def test_all_engines_translate_the_evaluation_set_alike(small, systems, engine, beam_size):
    sentences = captions()
    assert len(sentences) >= 200
    # When a beam search ends is the one thing in which the engines' defaults differ.
    options = {"beam_size": beam_size, "early_stopping": True, "batch_size": 110}
    ours = small.translate(sentences, "en", "de", **options)
    theirs = systems[engine].translate(sentences, "en", "de", **options)
    assert [t.token_ids for t in theirs] == [t.token_ids for t in ours]
    assert list(theirs) == list(ours)
    assert max(abs(a.score - b.score) for a, b in zip(ours, theirs, strict=True)) < 1e-4
    assert [t.truncated for t in theirs] == [t.truncated for t in ours]


@pytest.mark.slow
def test_transformers_own_stopping_rule_is_ours(small, systems):
    ours, theirs = (
        model.translate(captions()[:40], "en", "de", beam_size=4)
        for model in (small, systems["transformers"])
    )
    assert [t.token_ids for t in theirs] == [t.token_ids for t in ours]


def test_what_an_engine_is_given_does_not_get_lost(systems, small):
    texts = ["", "A dog.", "  ", "A man rides a horse on the beach. " * 40, "\U0001f40e"]
    expected = small.translate(texts, "en", "de", batch_size=3)
    for engine in ("ctranslate2", "transformers"):
        found = systems[engine].translate(texts, "en", "de", batch_size=3)
        assert [t.token_ids for t in found] == [t.token_ids for t in expected]
    short = small.translate(captions()[:9], "en", "de", max_length=4)
    for engine in ("ctranslate2", "transformers"):
        found = systems[engine].translate(captions()[:9], "en", "de", max_length=4)
        assert [t.token_ids for t in found] == [t.token_ids for t in short]
        assert [t.truncated for t in found] == [t.truncated for t in short]
    [unscored] = systems["ctranslate2"].translate("A dog.", "en", "de", with_scores=False)
    assert math.isnan(unscored.score)
    with pytest.raises(wb.WorkbenchError, match="not a language of this checkpoint"):
        systems["ctranslate2"].translate("A dog.", "en", "fr")


def test_they_stand_beside_each_other_in_tables(small, systems, monkeypatch):
    monkeypatch.setattr(speed, "REST", 0.01)
    testset = load_testset(CAPTIONS, EN_DE, limit=20)
    models = [small, *systems.values()]
    found = compare(models, testset, ["bleu"], batch_sizes=(4,), batches=2)
    frame, speeds = found.to_frame(), found.speeds.to_frame()
    names = ["en-de", *(f"en-de@{engine}" for engine in ENGINES)]
    assert list(frame["system"]) == list(speeds["system"]) == names
    scores = dict(zip(frame["system"], frame["score"], strict=True))
    assert scores["en-de"] == scores["en-de@ctranslate2"] == scores["en-de@transformers"]
    assert abs(scores["en-de@ctranslate2-int8"] - scores["en-de"]) < 8
    dtypes = dict(zip(speeds["system"], speeds["dtype"], strict=True))
    assert dtypes["en-de"] == dtypes["en-de@ctranslate2"] == dtypes["en-de@transformers"]
    assert dtypes["en-de@ctranslate2-int8"].startswith("int8")
    assert (speeds["p50_ms"] > 0).all() and (speeds["device"] == "cpu").all()
    assert frame["parameters"].nunique() == 1


@pytest.mark.slow
def test_an_engine_is_named_after_an_at_sign(small, tmp_path, capsys):
    place = tmp_path / "en-de"
    small.save(place)
    command = ["bench", f"{place}@ctranslate2-int8", str(place), "--batch-sizes", "2", "--batches"]
    assert main([*command, "1", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["system"] for row in rows] == ["en-de@ctranslate2-int8", "en-de"]
    source = tmp_path / "source.txt"
    source.write_text("A dog runs.\n")
    written = []
    for name in (str(place), f"{place}@transformers"):
        assert main(["translate", name, "-s", "en", "-t", "de", "-i", str(source)]) == 0
        written.append(capsys.readouterr().out)
    assert written[0] == written[1] != ""
    assert wb.load(place, engine="ctranslate2").name == "en-de@ctranslate2"


def test_what_no_engine_can_do_is_refused_in_one_line(small, tmp_path, capsys, monkeypatch):
    place = tmp_path / "en-de"
    small.save(place)
    assert split_engine("owner/name@ctranslate2") == ("owner/name", "ctranslate2")
    assert split_engine("owner/name@0123abc") == ("owner/name@0123abc", None)
    assert split_engine("some@ctranslate2/en-de") == ("some@ctranslate2/en-de", None)
    odd = tmp_path / "b@ctranslate2"
    odd.mkdir()
    assert split_engine(str(odd)) == (str(odd), None)
    for name, said in (
        (f"{place}@ctranslate", "Unknown engine 'ctranslate'. Accepted: ctranslate2, "),
        (f"{TASK_MOE}@ctranslate2", "has experts"),
        (f"{tmp_path}/none@ctranslate2", "none"),
    ):
        assert main(["bench", name]) == 1
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1
    with pytest.raises(EngineError, match="leave dtype and mesh out"):
        load(place, "bfloat16", engine="ctranslate2")
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    assert main(["compare", f"{place}@transformers", str(place)]) == 1
    assert "task-moe-workbench[engines]" in capsys.readouterr().err


def test_evaluate_takes_a_single_system(systems):
    testset = load_testset(CAPTIONS, EN_DE, limit=3)
    assert evaluate(systems["ctranslate2"], testset, ["bleu"]).systems == ("en-de@ctranslate2",)
