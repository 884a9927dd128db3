"""The text of a run: directories, tables and test sets, and what is said where there is none."""

import copy

import pytest

from workbench.errors import WorkbenchError
from workbench.evaluation.testset import UnreachableError
from workbench.tasks import Task
from workbench.training.recipe import recipe_from
from workbench.training.text import located, training_text, validation_text

EN_DE = Task("eng_Latn", "deu_Latn")
TABLE = {"name": "it", "data": {"languages": ["en", "de"]}}


def recipe(directory, **data):
    table = copy.deepcopy(TABLE)
    table["data"] |= {"directory": str(directory), **data}
    return recipe_from(table)


def lines(path, *rows):
    path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")


@pytest.fixture
def place(tmp_path):
    for split, sides in (("train", ("a dog", "ein Hund")), ("val", ("a cat", "eine Katze"))):
        lines(tmp_path / f"{split}.en", sides[0])
        lines(tmp_path / f"{split}.de", sides[1])
    lines(tmp_path / "more.tsv", "en\tde", "a horse\tein Pferd")
    return tmp_path


def first(pairs):
    return tuple(side[0] for side in pairs.direction(EN_DE))


def test_splits_of_a_directory_and_tables_in_it(place):
    made = recipe(place)
    assert first(training_text(made)) == ("a dog", "ein Hund")
    assert first(validation_text(made)) == ("a cat", "eine Katze")
    assert first(training_text(recipe(place, train="more.tsv"))) == ("a horse", "ein Pferd")
    assert first(validation_text(recipe(place, valid="more.tsv"))) == ("a horse", "ein Pferd")


def test_a_split_elsewhere_is_a_path(place, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    lines(other / "dev.en", "a bird")
    lines(other / "dev.de", "ein Vogel")
    made = recipe(place, valid=f"../{other.name}/dev", train=str(other / "dev"))
    assert first(validation_text(made)) == first(training_text(made)) == ("a bird", "ein Vogel")


def test_data_is_the_same_from_elsewhere_once_located(place, tmp_path, monkeypatch):
    monkeypatch.chdir(place)
    for data in ({"directory": "."}, {"directory": "more.tsv", "valid": "val"}):
        made = recipe(**data)
        moved = recipe("/nowhere", train=located(made.data).train, valid=located(made.data).valid)
        assert first(training_text(moved)) == first(training_text(made))
    assert first(validation_text(moved)) == ("a cat", "eine Katze")
    assert located(recipe(".", valid="sacrebleu:wmt19").data).valid == "sacrebleu:wmt19"


def test_a_directory_that_is_a_table(place):
    made = recipe(place / "more.tsv", valid="more.tsv")
    assert first(training_text(made)) == first(validation_text(made)) == ("a horse", "ein Pferd")
    with pytest.raises(WorkbenchError, match=r"more\.tsv, which has no split 'val': let data\.val"):
        validation_text(recipe(place / "more.tsv"))
    with pytest.raises(
        WorkbenchError, match=r"more\.tsv, which has no split 'val': leave data\.tr"
    ):
        training_text(recipe(place / "more.tsv", train="val"))
    lines(place / "french.tsv", "en\tfr", "a horse\tun cheval")
    with pytest.raises(WorkbenchError, match=r"no deu_Latn"):
        training_text(recipe(place / "french.tsv"))


def test_sets_of_sacrebleu_serve_the_directions_that_they_have(place, monkeypatch):
    from workbench.evaluation.testset import TestSet

    monkeypatch.setattr(
        "workbench.training.text.load_testset",
        lambda name, task: TestSet(name, task, (name,), ("x",)),
    )
    made = recipe(place, valid="sacrebleu:multi30k/2016, wmt19", languages=["en", "de", "fi"])
    made = recipe(
        place, valid="sacrebleu:multi30k/2016, wmt19", languages=["en", "de", "fi"], pivot="en"
    )
    pairs = validation_text(made)
    assert {str(task): pairs.direction(task)[0] for task in pairs.tasks} == {
        "eng_Latn-deu_Latn": ("multi30k/2016",),
        "deu_Latn-eng_Latn": ("wmt19",),
        "eng_Latn-fin_Latn": ("wmt19",),
        "fin_Latn-eng_Latn": ("wmt19",),
    }
    with pytest.raises(WorkbenchError, match=r"multi30k/2016 of sacreBLEU have no deu_Latn-eng"):
        validation_text(recipe(place, valid="sacrebleu:multi30k/2016"))
    with pytest.raises(WorkbenchError, match=r"no test set 'wmt91'.*Did you mean"):
        validation_text(recipe(place, valid="sacrebleu:wmt91"))


def test_offline_a_set_of_sacrebleu_is_one_clear_error(place, monkeypatch):
    def fail(name, task):
        raise UnreachableError(f"Cannot download sacreBLEU's {name} (de-en): no route.", "Use -i.")

    monkeypatch.setattr("workbench.training.text.load_testset", fail)
    with pytest.raises(WorkbenchError, match=r"no route\. It needs a network once; .*data\.valid"):
        validation_text(recipe(place, valid="sacrebleu:wmt19"))
