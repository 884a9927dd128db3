"""Loops of words."""

import pytest

from workbench.evaluation.repetition import has_loop, share_of_loops


@pytest.mark.parametrize(
    ("text", "loops"),
    [
        ("", False),
        ("a man a plan", False),
        ("very very good", False),
        ("very very very good", True),
        ("on the on the on the street", True),
        ("On the on the street on the", False),
        ("a b c d a b c d a b c d", True),
        ("a b c d e a b c d e a b c d e", False),  # five words: no n-gram that is looked for
        ("a a b a a", False),
    ],
)
def test_a_loop_is_a_short_n_gram_three_times_in_a_row(text, loops):
    assert has_loop(text) is loops


def test_scripts_without_spaces_are_read_by_character():
    assert share_of_loops(["骑着马骑着马骑着马", "一个男人骑着马"], "zho_Hans") == 0.5
    assert share_of_loops(["no no no", "no"], "eng_Latn") == 0.5
    assert share_of_loops([], "eng_Latn") == 0
