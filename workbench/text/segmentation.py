"""Text cut into its sentences, and into parts that a network can read whole."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

# A sentence ends after one of these, with the quotes and brackets that close with it. Latin and
# Arabic stops need a space after them (3.14, example.org); those of Chinese, Japanese and of the
# scripts of India and Ethiopia do not. A row of stops is looked at from its first: from each it would take the square
# of its length.
_SENTENCE_END = re.compile(
    r"""(?:(?<![.!?…؟۔])[.!?…؟۔]|؛)[.!?…؟۔]*["'”’»)\]]*(?=\s)|[。！？｡।॥።፧။][。！？｡।॥።፧။]*["'”’»」』）)\]]*|\n"""
)
# What ends like a sentence and is none: initials, and the commonest abbreviations before a name or a number.
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\[\"'“‘«„])(?:(?:[^\W\d_]\.)+[^\W\d_]|[A-Z]|Mrs?|Ms|Dr|Prof|St|vs|Nr|Hr|Mme|Mlle|Sra?)\.\s*$"
)
_WORD_END = re.compile(r"\s+|[，、；：]")  # Chinese and Japanese have clauses for want of spaces


def split_sentences(text: str, fits: Callable[[str], bool]) -> list[str]:
    """Cuts `text` into its sentences, and those that do not fit into as few parts as a greedy reader makes.

    Such a sentence is cut between words, and a word that does not fit between characters. The parts
    keep their spaces, so that ``"".join(parts) == text``.

    Args:
        text: of any length.
        fits: whether a network can read a text whole. What fits must fit shortened, too. It is
            asked about 2 log n times for a part of n words. A single character is taken to fit.
    """
    parts = []
    for sentence in _sentences(text):
        parts += [sentence] if fits(sentence) else _split_sentence(sentence, fits)
    return parts


def _sentences(text: str) -> list[str]:
    sentences: list[str] = []
    for piece in _cut(text, _SENTENCE_END):
        if sentences and _goes_on(sentences[-1], piece):
            sentences[-1] += piece
        else:
            sentences.append(piece)
    return sentences


def _goes_on(before: str, after: str) -> bool:
    """Whether the stop between the two ends no sentence."""
    if "\n" in before[len(before.rstrip()) :]:
        return False
    return after[:1].islower() or _ABBREVIATION.search(before[-16:]) is not None


def _split_sentence(sentence: str, fits: Callable[[str], bool]) -> list[str]:
    return _pack(_cut(sentence, _WORD_END), fits, _split_word)


def _split_word(word: str, fits: Callable[[str], bool]) -> list[str]:
    return _pack(list(word), fits, lambda character, _: [character])


def _cut(text: str, end: re.Pattern[str]) -> list[str]:
    """The pieces of `text`, each with the match of `end` and the space that follow it."""
    pieces, start = [], 0
    for match in end.finditer(text):
        stop = match.end()
        if stop <= start:  # a line end among the spaces that an earlier match took
            continue
        while stop < len(text) and text[stop].isspace():
            stop += 1
        pieces.append(text[start:stop])
        start = stop
    return [*pieces, text[start:]] if start < len(text) else pieces


def _pack(
    pieces: Sequence[str],
    fits: Callable[[str], bool],
    split: Callable[[str, Callable[[str], bool]], list[str]],
) -> list[str]:
    """Joins neighbouring pieces while they fit; a piece that does not fit alone is split."""
    parts: list[str] = []
    start = 0
    while start < len(pieces):
        stop = _longest_fit(pieces, start, fits)
        if stop > start:
            parts.append("".join(pieces[start:stop]))
            start = stop
        else:
            parts.extend(split(pieces[start], fits))
            start += 1
    return parts


def _longest_fit(pieces: Sequence[str], start: int, fits: Callable[[str], bool]) -> int:
    """The end of the longest run of pieces from `start` that fits; `start` where none does."""
    most = 1  # doubled first, so that the cost depends on the part and not on the whole text
    while start + most <= len(pieces) and fits("".join(pieces[start : start + most])):
        most *= 2
    fitting, failing = start + most // 2, min(start + most, len(pieces) + 1)
    while failing - fitting > 1:
        middle = (fitting + failing) // 2
        if fits("".join(pieces[start:middle])):
            fitting = middle
        else:
            failing = middle
    return fitting
