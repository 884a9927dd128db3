"""The tokenizer's text: shares by temperature, every line before any twice, the same for the same seed."""

from collections import Counter

from tests.models import EN_DE
from workbench.tasks import Task
from workbench.text.pairs import Pairs
from workbench.training.vocabulary import line_counts, lines_by_language, sampled_lines

EN_FR = Task("eng_Latn", "fra_Latn")


def test_shares_follow_the_temperature():
    sizes = {"en": 3200, "gu": 100}  # the fifth root of 32 is 2
    assert line_counts(sizes, 1.0) == sizes
    assert line_counts(sizes, 5.0) == {"en": 2200, "gu": 1100}
    assert line_counts(sizes, 5.0, limit=300) == {"en": 200, "gu": 100}
    assert line_counts(sizes, 1.0, limit=330) == {"en": 320, "gu": 10}
    assert line_counts(sizes, 1.0, limit=9999) == sizes
    assert line_counts({"en": 5, "gu": 0}, 2.0) == {"en": 5, "gu": 0}


def test_texts_come_language_by_language_and_none_twice():
    english, german, french, more = ["one"], ["eins"], ["un"], ["uno"]
    shared = {EN_DE: (english, german), Task("deu_Latn", "eng_Latn"): (german, english)}
    texts = lines_by_language(
        Pairs(shared | {EN_FR: (more, french)}), ["fra_Latn", "eng_Latn", "deu_Latn"]
    )
    assert list(texts.items()) == [
        ("fra_Latn", [["un"]]),
        ("eng_Latn", [["one"], ["uno"]]),
        ("deu_Latn", [["eins"]]),
    ]
    assert list(sampled_lines(texts, {"fra_Latn": 1, "eng_Latn": 2, "deu_Latn": 1}, 0)) == [
        *("un", "one", "uno", "eins")
    ]


def test_lines_are_drawn_by_the_seed_and_again_only_after_all_others():
    texts = {"en": [[f"a{i}" for i in range(30)], [f"b{i}" for i in range(20)]], "gu": [["x", "y"]]}
    counts = {"en": 10, "gu": 5}
    drawn = list(sampled_lines(texts, counts, seed=1))
    assert drawn == list(sampled_lines(texts, counts, seed=1))
    assert drawn != list(sampled_lines(texts, counts, seed=2))
    assert len(set(drawn[:10])) == 10 and {line[0] for line in drawn[:10]} == {"a", "b"}
    assert sorted(Counter(drawn[10:]).values()) == [2, 3]
