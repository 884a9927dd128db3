import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.text.segmentation import split_long

prose = st.text(alphabet="ab .!?\n。，‘’\"'\u3000é👍", max_size=80) | st.text(max_size=80)


def at_most(n):
    return lambda text: len(text) <= n


def test_what_fits_is_left_alone():
    assert split_long("One. Two.", at_most(9)) == ["One. Two."]
    assert split_long("", at_most(0)) == [""]


@pytest.mark.parametrize(
    ("text", "n", "parts"),
    [
        ("One. Two. Three.", 10, ["One. Two. ", "Three."]),
        ("One is 3.14. Two!", 13, ["One is 3.14. ", "Two!"]),
        ('"Stop!" he said. No.', 17, ['"Stop!" he said. ', "No."]),
        ("你好。世界很大！好", 6, ["你好。", "世界很大！好"]),
        ("صباح الخير؟ نعم.", 13, ["صباح الخير؟ ", "نعم."]),
        ("one\ntwo\nthree", 8, ["one\ntwo\n", "three"]),
    ],
)
def test_sentences_are_packed_greedily(text, n, parts):
    assert split_long(text, at_most(n)) == parts


def test_a_long_sentence_is_cut_between_words_and_a_long_word_between_characters():
    assert split_long("a man walks", at_most(7)) == ["a man ", "walks"]
    assert split_long("一个人，一条狗，走路", at_most(5)) == ["一个人，", "一条狗，", "走路"]
    assert split_long("abcdefg hi", at_most(3)) == ["abc", "def", "g ", "hi"]
    assert split_long("OK. abcdefg", at_most(4)) == ["OK. ", "abcd", "efg"]


@given(prose, st.integers(1, 30))
def test_nothing_is_lost_and_every_part_fits(text, n):
    parts = split_long(text, at_most(n))
    assert "".join(parts) == text
    assert all(len(part) <= n for part in parts)


@given(prose)
def test_what_never_fits_is_cut_to_characters(text):
    parts = split_long(text, at_most(0))
    assert parts == (list(text) or [""])


@given(st.lists(st.integers(1, 6), min_size=1, max_size=40), st.integers(6, 30))
def test_a_part_ends_only_where_the_next_sentence_would_not_fit(lengths, n):
    sentences = ["a" * length + ". " for length in lengths]
    text = "".join(sentences)
    parts = split_long(text, lambda part: len(part.rstrip()) <= n + 1)
    starts = [text.index(part, sum(map(len, parts[:i]))) for i, part in enumerate(parts)]
    for part, start in zip(parts, starts[1:], strict=False):
        following = text[start:].split(" ")[0]
        assert len(part + following) > n + 1


def test_a_book_takes_few_questions():
    asked = 0

    def fits(part):
        nonlocal asked
        asked += 1
        return len(part) <= 200

    parts = split_long("A man walks. " * 5000, fits)
    assert len(parts) == 334
    assert asked < 12 * len(parts)
