"""The results page: its averages are sacreBLEU's, its intervals are what they say, and it shows what was scored."""

from __future__ import annotations

import math

import numpy as np
import pytest
import sacrebleu

from benchmarks.results.counts import Scored, bleu, load_all, sentence_counts, with_resamples
from benchmarks.results.page import PAGE, page
from benchmarks.results.proofs import load_proofs, prove_all
from benchmarks.results.tables import average, contrast, half_width, main_table
from tests.models import captions, long_captions, translator

TASKS = ("eng_Latn-deu_Latn", "deu_Latn-eng_Latn")


def system(name: str, seed: int, spoiled: int) -> Scored:
    """References of which every `spoiled`-th lost its first word, as translations."""
    counts = {}
    for task in TASKS:
        references = captions(task[-8:])
        texts = [
            line if i % spoiled else line.partition(" ")[2] for i, line in enumerate(references)
        ]
        counts[task], _ = sentence_counts(texts, references, task[-8:])
    return Scored(name, seed, counts)


def test_counts_add_up_to_sacrebleus_score_and_signature() -> None:
    references = captions("deu_Latn")
    texts = [line.replace("ein", "der") for line in references]
    counts, signature = sentence_counts(texts, references, "deu_Latn")
    metric = sacrebleu.metrics.BLEU()
    assert bleu(counts.sum(axis=0)) == pytest.approx(metric.corpus_score(texts, [references]).score)
    assert signature == str(metric.get_signature())
    assert bleu(np.zeros(10)) == 0
    assert "tok:zh" in sentence_counts(["两只狗"], ["两只狗。"], "zho_Hans")[1]


def test_resamples_are_of_whole_sentences_and_the_same_in_every_direction() -> None:
    counts = np.arange(40).reshape(4, 10)
    sums = with_resamples(counts, 50)
    assert sums.shape == (51, 10)
    np.testing.assert_array_equal(sums[0], counts.sum(axis=0))
    assert (np.diff(sums, axis=1) == 4).all()  # four sentences, whole, in each
    assert len(np.unique(sums[1:, 0])) > 5  # not the same four
    np.testing.assert_array_equal(sums, with_resamples(counts, 50))


def test_a_contrast_keeps_to_common_seeds_and_pairs_the_sentences() -> None:
    worse, better = ([system(n, s, k + s) for s in (0, 1)] for n, k in (("a", 3), ("b", 8)))
    found = contrast(better, [*worse, system("a", 7, 2)], TASKS)
    assert len(found.by_seed) == 2 and found.delta == pytest.approx(np.mean(found.by_seed))
    assert found.delta > found.ci > 0 and found.p_value < 0.01
    assert found.width == pytest.approx(math.hypot(found.ci, found.seeds_ci))
    assert found.smallest == pytest.approx(found.width * 1.43, rel=0.01)
    # by hand: Student's t with one degree of freedom, 12.706 at 97.5 %
    spread = abs(found.by_seed[0] - found.by_seed[1]) / math.sqrt(2)
    assert found.seeds_ci == pytest.approx(12.706 * spread / math.sqrt(2), rel=1e-3)
    same = contrast(better, better, TASKS)
    assert same.delta == 0 and same.p_value == 1
    alone = half_width(average(better, TASKS))
    assert found.ci < alone + half_width(average(worse, TASKS))
    assert math.isnan(contrast(better[:1], worse[:1], TASKS).seeds_ci)


def test_what_was_scored_can_be_stored(tmp_path) -> None:  # type: ignore[no-untyped-def]
    made = Scored("a-b", 3, system("a", 0, 3).counts, {"tasks": list(TASKS)})
    made.save(tmp_path)
    (read,) = load_all(tmp_path)["a-b"]
    assert (read.name, read.seed, read.about) == ("a-b", 3, made.about)
    for task in TASKS:
        np.testing.assert_array_equal(read.counts[task], made.counts[task])


def test_the_page_is_what_the_scores_say() -> None:
    runs = load_all()
    assert page(runs, load_proofs()) == PAGE.read_text(encoding="utf-8")
    table = main_table(runs).set_index("system")
    assert table.loc["dense", "delta"] == 0


def test_every_direction_is_proved(tmp_path) -> None:  # type: ignore[no-untyped-def]
    model = translator("target", "target")
    model.save(tmp_path / "model")
    for language in model.config.languages:
        lines = "".join(f"{line}\n" for line in long_captions(language)[:4])
        (tmp_path / f"few.{language}").write_text(lines, encoding="utf-8")
    found = prove_all(tmp_path / "model", tmp_path, "few", limit=2)
    assert [proof["task"] for proof in found] == [str(task) for task in model.config.directions]
    assert all(proof["holds"] and proof["dense"] and proof["sentences"] == 2 for proof in found)
