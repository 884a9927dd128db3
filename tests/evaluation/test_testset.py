"""Test sets: where they are read from, and what is said when they cannot be."""

from __future__ import annotations

import gzip
from pathlib import Path
from urllib.error import URLError

import pytest

from tests.models import captions
from workbench.errors import WorkbenchError
from workbench.evaluation.testset import TestSet, load_testset, read_testset
from workbench.tasks import Task

EN_DE = Task("eng_Latn", "deu_Latn")


def test_the_bundled_captions() -> None:
    testset = load_testset("captions", "en-de")
    assert testset.task == EN_DE
    assert testset.sources == captions()
    assert testset.references == captions("deu_Latn")
    assert len(load_testset("captions", EN_DE, limit=7)) == 7


def test_a_directory_and_its_splits(tmp_path: Path) -> None:
    (tmp_path / "test.en").write_text("a dog\na cat\n", encoding="utf-8")
    with gzip.open(tmp_path / "test.de.gz", "wt", encoding="utf-8") as file:
        file.write("ein Hund\neine Katze\n")
    assert load_testset(tmp_path, "en-de").references == ("ein Hund", "eine Katze")
    (tmp_path / "val.en").write_text("a horse\n", encoding="utf-8")
    with pytest.raises(WorkbenchError, match=r"--split: it has test, val"):
        load_testset(tmp_path, "en-de")
    assert len(load_testset(tmp_path, "de-en", split="test")) == 2


def test_a_table(tmp_path: Path) -> None:
    path = tmp_path / "set.tsv"
    path.write_text("en\tde\na dog\tein Hund\n", encoding="utf-8")
    assert load_testset(path, "de-en").sources == ("ein Hund",)
    with pytest.raises(
        WorkbenchError, match=r"no column for fra_Latn; its first line names: eng_Latn, deu"
    ):
        load_testset(path, "en-fr")


def test_files_of_different_length_are_named_with_their_counts(tmp_path: Path) -> None:
    sources, references = tmp_path / "a", tmp_path / "b"
    sources.write_text("1\n2\n3\n", encoding="utf-8")
    references.write_text("1\n2\n", encoding="utf-8")
    with pytest.raises(WorkbenchError, match=rf"{sources} has 3 lines but {references} has 2"):
        read_testset(sources, references, "en-de")


def test_an_empty_test_set_is_refused() -> None:
    with pytest.raises(WorkbenchError, match="empty"):
        TestSet("none", EN_DE, (), ())


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(WorkbenchError, match="Did you mean captions"):
        load_testset("caption", "en-de")


def test_sacrebleu_says_which_pairs_it_has() -> None:
    with pytest.raises(WorkbenchError, match=r"has no de-en. It has: en-cs, en-de, en-fr"):
        load_testset("multi30k/2016", "de-en")


def test_offline_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr("sacrebleu.get_source_file", fail)
    with pytest.raises(
        WorkbenchError, match=r"Cannot download .*wmt19 \(en-de\): no network.*-i and -r"
    ):
        load_testset("wmt19", "en-de")


@pytest.mark.parametrize("limit", [0, -5, 2.5, "3"])
def test_a_limit_that_is_no_number_of_sentences_is_named(limit: object) -> None:
    with pytest.raises(WorkbenchError, match=r"limit is .*whole number, at least 1"):
        load_testset("captions", "en-de", limit=limit)  # type: ignore[arg-type]


def test_a_language_without_captions_is_told_which_there_are() -> None:
    with pytest.raises(
        WorkbenchError, match=r"are in arb_Arab, ces_Latn.*zho_Hans, not in jpn_Jpan"
    ):
        load_testset("captions", "en-ja")


def test_the_task_of_a_test_set_is_text_too_and_one_sentence_a_set() -> None:
    testset = TestSet("mine", "en-de", "a", ["b"])  # type: ignore[arg-type]
    assert testset == TestSet("mine", EN_DE, ("a",), ("b",))
    with pytest.raises(WorkbenchError, match=r"references\[1\] is None: it must be a text"):
        TestSet("mine", EN_DE, ("a", "b"), ("c", None))  # type: ignore[arg-type]
    with pytest.raises(WorkbenchError, match="5 is not a task"):
        load_testset("captions", 5)  # type: ignore[arg-type]
