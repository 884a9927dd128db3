"""The bundled captions set is aligned, large enough, free of duplicates and clean text."""

import re
import unicodedata
from importlib.resources import files

import pytest

#: How long a caption may be beside the English one, in characters.
RATIOS = {
    "deu_Latn": (0.6, 1.75),
    "fra_Latn": (0.6, 1.75),
    "ces_Latn": (0.6, 1.75),
    "spa_Latn": (0.6, 1.75),
    "ukr_Cyrl": (0.6, 1.75),
    "arb_Arab": (0.45, 1.3),
    "zho_Hans": (0.2, 0.55),
}
CODES = ("eng_Latn", *RATIOS)
#: Words of a script, with what may stand between them.
SCRIPTS = {
    "Latn": r"[^\W\d_]+",
    "Cyrl": r"[а-яіїєґА-ЯІЇЄҐ']+",
    "Arab": r"[\u0620-\u064a]+",
    "Hans": r"[\u4e00-\u9fff，、“”《》]+",
}
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
    for code, (shortest, longest) in RATIOS.items():
        for number, (source, target) in enumerate(
            zip(english, caption_lines(code), strict=True), start=1
        ):
            assert shortest < len(target) / len(source) < longest, (code, number, source, target)


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
        assert caption.isprintable() and caption.endswith("。" if code == "zho_Hans" else "."), (
            caption
        )
        assert caption[0].isupper() or code in ("arb_Arab", "zho_Hans"), caption


@pytest.mark.parametrize("code", CODES)
def test_words_are_in_the_languages_script(code: str) -> None:
    word = re.compile(SCRIPTS[code[-4:]])
    for caption in caption_lines(code):
        for part in re.split(r"[ ,.。\-–'’]+", caption):
            assert not part or word.fullmatch(part), (part, caption)
