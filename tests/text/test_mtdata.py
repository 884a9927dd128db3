"""Recipes of mtdata: the paper's pairs, and files where training finds them."""

from pathlib import Path

import pytest

from workbench.errors import WorkbenchError
from workbench.languages import find_language
from workbench.text.mtdata import chosen_recipes, fetch, read_mtdata_recipes
from workbench.text.pairs import read_pairs
from workbench.training.recipe import read_recipe

WMT = Path(__file__).parents[2] / "recipes" / "wmt"
FILE = WMT / "mtdata.recipes.wmt-paper.yml"
PROGRAM = """#!/bin/sh
test "$1 $2 $3 $4" = "get-recipe -ri wmt-paper-ces-eng -o" || exit 3
ls "$MTDATA_RECIPES" | grep -q mtdata.recipes || exit 4
mkdir -p "$5"
echo jeden > "$5/train.ces"; echo one > "$5/train.eng"
echo dva > "$5/dev.ces"; echo two > "$5/dev.eng"
"""


def test_the_papers_pairs_are_those_of_its_table_and_its_recipes():
    rows = [line.split("\t") for line in (WMT / "languages.tsv").read_text().splitlines()[1:]]
    assert [find_language(code).code for code, _, _ in rows] == [code for _, code, _ in rows]
    assert [size for _, _, size in rows].count("over 1M") == 8
    recipes = read_mtdata_recipes(FILE)
    assert [recipe.task.source for recipe in recipes] == [code for _, code, _ in rows]
    assert {recipe.task.target for recipe in recipes} == {"eng_Latn"}
    for routing in ("token-target", "target-target"):
        recipe = read_recipe(WMT / f"wmt-{routing}.toml")
        assert len(recipe.tasks) == 30
        assert {task.source for task in recipe.tasks} == {
            *(code for _, code, _ in rows),
            "eng_Latn",
        }
        shape = recipe.model_config(recipe.data.vocabulary)
        assert shape.encoder.expert_layers == shape.decoder.expert_layers == (1, 3, 5)
        assert (shape.encoder.router.task_key is None) == (routing == "token-target")


def test_every_dataset_is_of_its_pair_and_none_comes_twice():
    for recipe in read_mtdata_recipes(FILE):
        ids = recipe.train + recipe.dev
        assert recipe.train and len(recipe.dev) == 1 and len(set(ids)) == len(ids)
        for dataset in ids:
            assert set(dataset.rsplit("-", 2)[1:]) == set(recipe.languages)


def test_pairs_are_chosen_in_either_order():
    recipes = read_mtdata_recipes(FILE)
    assert [r.name for r in chosen_recipes(recipes, ["en-cs", "Hindi-English"])] == [
        *("wmt-paper-ces-eng", "wmt-paper-hin-eng")
    ]
    assert chosen_recipes(recipes, []) == recipes
    with pytest.raises(WorkbenchError, match=r"no recipe for fra_Latn-deu_Latn\. .* ces-eng, fra-"):
        chosen_recipes(recipes, ["fr-de"])


def test_what_mtdata_writes_is_what_training_reads(tmp_path, monkeypatch):
    program = tmp_path / "bin" / "mtdata"
    program.parent.mkdir()
    program.write_text(PROGRAM)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    recipes = read_mtdata_recipes(FILE)
    place = tmp_path / "wmt"
    fetch(recipes[0], place)
    assert recipes[0].is_fetched(place)
    train = read_pairs(place, "train", [recipes[0].task])
    assert train.direction(recipes[0].task) == (["jeden"], ["one"])
    assert read_pairs(place, "val", [recipes[0].task]).direction(recipes[0].task)[0] == ["dva"]
    program.write_text("#!/bin/sh\nexit 1\n")
    fetch(recipes[0], place)  # it is there
    with pytest.raises(WorkbenchError, match="mtdata ended with 1 for wmt-paper-fra-eng"):
        fetch(recipes[1], place)
    program.write_text("#!/bin/sh\n")
    with pytest.raises(WorkbenchError, match=r"mtdata wrote no .*fra-eng/train\.fra for wmt-"):
        fetch(recipes[1], place)


def test_a_file_that_is_no_recipe_is_named(tmp_path):
    with pytest.raises(WorkbenchError, match="only in files named"):
        read_mtdata_recipes(tmp_path / "x.yml")
    file = tmp_path / "mtdata.recipes.x.yml"
    with pytest.raises(WorkbenchError, match="Cannot read"):
        read_mtdata_recipes(file)
    for text, says in (
        ("- id: [", "is not YAML"),
        ("a: b", "not a list of recipes"),
        ("- id: x", "not a list of recipes"),
        ("3", "not a list of recipes"),
    ):
        file.write_text(text)
        with pytest.raises(WorkbenchError, match=says) as error:
            read_mtdata_recipes(file)
        assert "\n" not in str(error.value)
