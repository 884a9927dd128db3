import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.text.segmentation import split_sentences

prose = st.text(alphabet="ab .!?\n。，‘’\"'\u3000é👍", max_size=80) | st.text(max_size=80)


def at_most(n):
    return lambda text: len(text) <= n


def test_a_sentence_that_fits_is_left_alone():
    assert split_sentences("One is 3.14, two", at_most(16)) == ["One is 3.14, two"]
    assert split_sentences("", at_most(0)) == []


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("One. Two. Three.", ["One. ", "Two. ", "Three."]),
        ("One is 3.14. Two!", ["One is 3.14. ", "Two!"]),
        ('"Stop!" he said. No.', ['"Stop!" he said. ', "No."]),
        ("Dr. J. R. Smith of the U.S. Army. He", ["Dr. J. R. Smith of the U.S. Army. ", "He"]),
        ("It is 5. We go.", ["It is 5. ", "We go."]),
        ("Das ist z.B. Eis... oder Tee?! Ja.", ["Das ist z.B. Eis... oder Tee?! ", "Ja."]),
        ("one.\ntwo", ["one.\n", "two"]),
        ("你好。世界很大！好", ["你好。", "世界很大！", "好"]),
        ("صباح الخير؟ نعم.", ["صباح الخير؟ ", "نعم."]),
        ("one\ntwo\nthree", ["one\n", "two\n", "three"]),
    ],
)
def test_every_sentence_is_a_part(text, parts):
    assert split_sentences(text, at_most(40)) == parts


def test_a_long_sentence_is_cut_between_words_and_a_long_word_between_characters():
    assert split_sentences("a man walks", at_most(7)) == ["a man ", "walks"]
    assert split_sentences("一个人，一条狗，走路", at_most(5)) == ["一个人，", "一条狗，", "走路"]
    assert split_sentences("abcdefg hi", at_most(3)) == ["abc", "def", "g ", "hi"]
    assert split_sentences("OK. abcdefg", at_most(4)) == ["OK. ", "abcd", "efg"]


@given(prose, st.integers(1, 30))
def test_nothing_is_lost_and_every_part_fits(text, n):
    parts = split_sentences(text, at_most(n))
    assert "".join(parts) == text
    assert all(len(part) <= n for part in parts)


@given(prose)
def test_what_never_fits_is_cut_to_characters(text):
    parts = split_sentences(text, at_most(0))
    assert parts == list(text)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=40), st.integers(6, 30))
def test_a_long_sentence_is_cut_only_where_its_next_word_would_not_fit(lengths, n):
    text = "".join("a" * length + " " for length in lengths)
    parts = split_sentences(text, lambda part: len(part.rstrip()) <= n)
    starts = [text.index(part, sum(map(len, parts[:i]))) for i, part in enumerate(parts)]
    for part, start in zip(parts, starts[1:], strict=False):
        assert len(part + text[start:].split(" ")[0]) > n


def test_a_book_takes_few_questions():
    asked = 0

    def fits(part):
        nonlocal asked
        asked += 1
        return len(part) <= 200

    parts = split_sentences("A man walks. " * 5000, fits)
    assert len(parts) == asked == 5000
    asked = 0
    parts = split_sentences("A man walks, " * 5000, fits)
    assert len(parts) == 334
    assert asked < 14 * len(parts)


@pytest.mark.parametrize("text", ["." * 40_000, "\n" * 100_000])
def test_a_row_of_stops_or_of_empty_lines_is_soon_cut(text):
    """Each of the two took the square of its length: most of a minute."""
    began = time.perf_counter()
    assert "".join(split_sentences(text, at_most(200))) == text
    assert time.perf_counter() - began < 5
