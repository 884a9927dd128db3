"""`workbench info`, on sound and on broken checkpoints."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import jax
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from tests.cli.conftest import Run
from tests.models import TASKS, config, new_translator, stack, translator
from workbench.checkpoint.components import COMPONENTS, parameters_by_component
from workbench.checkpoint.directory import read_config
from workbench.checkpoint.model_card import MULTI30K, front_matter, licence_of, model_card, terms_of
from workbench.cli.info import _text, describe
from workbench.tasks import Task

ROOT = Path(__file__).parents[2]
CARDS = sorted(ROOT.glob("checkpoints/*/README.md"))


def test_info_says_what_a_checkpoint_is(checkpoints: dict[str, str], run: Run) -> None:
    table = run("info", checkpoints["target"], "--json").table
    assert table["model_type"] == "task-moe"
    assert table["stacks"]["decoder"]["experts"] == 4
    assert table["stacks"]["decoder"]["task_key"] == "target"
    assert table["tasks"] == [str(task) for task in TASKS]
    assert table["languages"]["deu_Latn"] == "German"
    assert sum(table["parameters"][name] for name in COMPONENTS) == table["parameters"]["total"]
    files = [path.stat().st_size for path in Path(checkpoints["target"]).iterdir()]
    assert table["bytes"]["all"] == sum(files)
    text = run("info", checkpoints["target"]).out
    assert "4 experts in layer 1, 2 chosen by target language (layers counted from 0)" in text
    assert "German (deu_Latn)" in text
    assert "not stated" in text


def test_info_says_how_each_stack_is_routed(
    checkpoints: dict[str, str], tmp_path: Path, run: Run
) -> None:
    translator("token", "target").save(tmp_path / "hybrid")
    words = "encoder routed by token, decoder routed by target language"
    assert f"kind       {words} (task-moe), encoder-" in run("info", tmp_path / "hybrid").out
    assert run("info", tmp_path / "hybrid", "--json").table["routing"] == words
    assert "kind       routed by target language (task" in run("info", checkpoints["target"]).out
    assert "kind       dense (m2m_100), encoder-" in run("info", checkpoints["dense"]).out


def test_info_says_how_many_heads_each_stack_has(
    checkpoints: dict[str, str], tmp_path: Path, run: Run
) -> None:
    decoder = dataclasses.replace(stack("dense"), heads=2)
    new_translator("dense", decoder).save(tmp_path / "it")
    assert ", width 32, 4 + 2 heads, up to " in run("info", tmp_path / "it").out
    stacks = run("info", tmp_path / "it", "--json").table["stacks"]
    assert [stacks[name]["heads"] for name in ("encoder", "decoder")] == [4, 2]
    assert ", width 32, 4 heads, up to " in run("info", checkpoints["dense"]).out


def test_info_says_who_was_assigned_by_hand(tmp_path: Path, run: Run) -> None:
    translator("static-target", "dense").save(tmp_path / "static")
    text = run("info", tmp_path / "static").out
    assert "2 assigned by hand to each target language" in text
    stacks = run("info", tmp_path / "static", "--json").table["stacks"]
    assert stacks["encoder"]["assignment"]["deu_Latn"] == [2, 3]
    assert stacks["decoder"]["assignment"] is None


@pytest.mark.parametrize("kind", ["dense", "token", "target", "static-pair"])
def test_components_add_up_to_the_network(kind: str) -> None:
    leaves = jax.tree.leaves(nnx.state(translator(kind, kind).network))
    counts = parameters_by_component(config(kind, kind))
    assert sum(counts.values()) == sum(leaf.size for leaf in leaves)
    assert (counts["experts"] == 0) == (kind == "dense")
    assert (counts["routers"] == 0) == (kind in ("dense", "static-pair"))


def _truncate(place: Path) -> None:
    weights = place / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def _reshape(place: Path) -> None:
    tensors = load_file(place / "model.safetensors")
    tensors["model.shared.weight"] = tensors["model.shared.weight"][:-1].copy()
    save_file(tensors, place / "model.safetensors")


def _without_tokenizer(place: Path) -> None:
    for name in ("sentencepiece.bpe.model", "tokenizer.json"):
        (place / name).unlink()


def _as_file(place: Path) -> None:
    shutil.rmtree(place)
    place.touch()


def _one_deeper(place: Path) -> None:
    place.rename(place.with_name("inner"))
    place.mkdir()
    place.with_name("inner").rename(place / "inner")


def _foreign(place: Path) -> None:
    (place / "config.json").write_text(json.dumps({"model_type": "bert"}), encoding="utf-8")


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (_truncate, "cut short or damaged"),
        (_reshape, "model.shared.weight has shape [499, 32], expected [500, 32]"),
        (_foreign, "model_type is 'bert'"),
        (lambda place: (place / "model.safetensors").unlink(), "has no model.safetensors"),
        (lambda place: (place / "config.json").unlink(), "has no config.json"),
        (_without_tokenizer, "sentencepiece.bpe.model"),
        (shutil.rmtree, "There is no checkpoint directory"),
        (_as_file, "broken is a file, and a checkpoint is a directory"),
        (_one_deeper, "broken is no checkpoint, but has one in it: "),
    ],
)
def test_info_says_in_a_line_what_is_wrong(
    break_it: Callable[[Path], None],
    says: str,
    checkpoints: dict[str, str],
    tmp_path: Path,
    run: Run,
) -> None:
    place = tmp_path / "broken"
    shutil.copytree(checkpoints["dense"], place)
    break_it(place)
    run("info", place).says(says)


def test_info_says_that_a_path_is_empty(run: Run) -> None:
    run("info", "").says("The name of the checkpoint is empty")


def test_many_languages_and_tasks_are_wrapped(
    checkpoints: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    table = describe(checkpoints["dense"])
    text = _text(table)
    at = text.index("\nlanguages ")
    listed = text[at : text.index("\nvocabulary")].strip().splitlines()
    assert len(listed) > 2 and max(map(len, listed)) <= 60
    assert all(line.startswith(("languages ", "tasks ", " " * 11)) for line in listed)
    table["tasks"] = [f"a-{number}" for number in range(1234)]
    assert "a-7,\n           ... (1,234 in all; --json names them)\n" in _text(table)


def test_a_card_states_its_terms_where_the_hub_looks() -> None:
    card = model_card(
        "tiny",
        summary="A model.",
        languages=("eng_Latn", "deu_Latn"),
        terms=terms_of("data/multi30k"),
        tasks=(Task("deu_Latn", "eng_Latn"), Task("eng_Latn", "deu_Latn")),
        place="runs/my tiny",
        command="workbench train x.toml",
        seconds=3720,
        scores={"BLEU": {"eng_Latn-deu_Latn": 31.25}},
    )
    found = front_matter(card)
    assert found["language"] == ["en", "de"]
    assert found["datasets"] == ["multi30k"]
    assert licence_of(card) == "other (multi30k-non-commercial)"
    assert MULTI30K.text in card
    assert "non-commercial research and education" in card
    assert "| eng_Latn-deu_Latn | 31.2 |" in card
    assert "Time: 1 h 2 min" in card
    assert "translate 'runs/my tiny' -s eng_Latn -t deu_Latn\n" in card


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.parent.name)
def test_the_example_on_a_bundled_card_can_be_followed(card: Path) -> None:
    [line] = [x for x in card.read_text(encoding="utf-8").splitlines() if x.startswith("echo ")]
    _, _, command = line.partition(" | workbench translate ")
    place, _, source, _, target = command.split()
    assert ROOT / place == card.parent
    assert Task(source, target) in read_config(ROOT / place).directions


@pytest.mark.parametrize("card", ["", "# no front matter", "---\n: : [\n---\n", "---\n- a\n---\n"])
def test_a_card_without_terms(card: str) -> None:
    assert licence_of(card) == ""
