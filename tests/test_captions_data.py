"""The bundled captions set is aligned, large enough, free of duplicates and clean text."""

import unicodedata
from importlib.resources import files

import pytest

CODES = ("eng_Latn", "deu_Latn", "fra_Latn", "ces_Latn")
FOLDER = files("workbench.data") / "captions"


def caption_lines(code: str) -> list[str]:
    """The captions in one language; the newline that ends the file is not a line."""
    text = (FOLDER / f"captions.{code}.txt").read_bytes().decode("utf-8")
    assert text.endswith("\n") and "\r" not in text
    return text.removesuffix("\n").split("\n")


def test_folder_holds_these_languages_and_a_readme() -> None:
    names = {entry.name for entry in FOLDER.iterdir()}
    assert names == {f"captions.{code}.txt" for code in CODES} | {"README.md"}


def test_files_are_aligned_and_large_enough() -> None:
    counts = {code: len(caption_lines(code)) for code in CODES}
    assert len(set(counts.values())) == 1, counts
    assert counts["eng_Latn"] >= 200
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert f"{counts['eng_Latn']} image captions" in readme


def test_translations_are_of_like_length() -> None:
    # A shifted or truncated file has the right count and the wrong partners.
    english = caption_lines("eng_Latn")
    for code in CODES[1:]:
        for number, (source, target) in enumerate(
            zip(english, caption_lines(code), strict=True), start=1
        ):
            assert 0.6 < len(target) / len(source) < 1.75, (code, number, source, target)


def test_english_captions_have_six_to_twenty_words() -> None:
    for caption in caption_lines("eng_Latn"):
        assert 6 <= len(caption.split()) <= 20, caption


@pytest.mark.parametrize("code", CODES)
def test_no_caption_occurs_twice(code: str) -> None:
    captions = [caption.casefold() for caption in caption_lines(code)]
    assert len(set(captions)) == len(captions)


@pytest.mark.parametrize("code", CODES)
def test_captions_are_clean_text(code: str) -> None:
    for caption in caption_lines(code):
        assert caption and " ".join(caption.split()) == caption, repr(caption)
        assert unicodedata.is_normalized("NFC", caption), repr(caption)
        assert caption.isprintable() and caption[0].isupper() and caption.endswith("."), caption
