"""Differences of corpus scores, against sacreBLEU's own."""

import numpy as np
import pytest
import sacrebleu
from sacrebleu.significance import PairedTest

from tests.models import EN_DE, captions
from workbench.errors import WorkbenchError
from workbench.evaluation.differences import (
    MEAN,
    difference,
    differences,
    from_baseline,
    mean_difference,
    two_sided,
)
from workbench.evaluation.quality import Scores, make_metrics, score
from workbench.evaluation.sentences import differing_sentences
from workbench.evaluation.testset import TestSet

REFERENCES = captions("deu_Latn")[:30]
SET = TestSet("captions", EN_DE, captions()[:30], REFERENCES)
WORSE = [text.replace("ein", "der").replace("Ein", "Der") for text in REFERENCES]
WORST = [" ".join(text.split()[:-2]) for text in WORSE]


def test_the_difference_is_that_of_sacrebleus_scores():
    found = differences(SET, WORSE, WORST, ("bleu", "chrf++"), resamples=200)
    metrics = {"bleu": sacrebleu.BLEU(), "chrf++": sacrebleu.CHRF(word_order=2)}
    for name, metric in metrics.items():
        a, b = (metric.corpus_score(texts, [list(REFERENCES)]).score for texts in (WORSE, WORST))
        assert found[name].delta == pytest.approx(b - a, abs=1e-6)
        assert found[name].delta < 0 < found[name].ci
        assert found[name].p_value < 0.05
        assert found[name].samples.shape == (200,)
        assert abs(found[name].samples.mean() - found[name].delta) < found[name].ci


def test_equal_translations_do_not_differ():
    found = differences(SET, WORSE, WORSE, ("bleu",), resamples=50)["bleu"]
    assert (found.delta, found.ci, found.p_value) == (0, 0, 1)


def test_the_interval_holds_19_of_20_resamples():
    samples = np.linspace(-1, 1, 2001) + 0.5
    found = difference(0.5, samples)
    assert found.ci == pytest.approx(0.95)
    assert two_sided(found).p_value == pytest.approx(0.5, abs=0.01)


def test_p_values_are_those_of_sacrebleus_paired_bootstrap():
    closer = [*WORSE[:-4], *WORST[-4:]]
    texts = {"base": WORSE, "closer": closer, "worst": WORST}
    for name in ("bleu", "chrf++"):
        metric = make_metrics([name], EN_DE.target)
        test = PairedTest(list(texts.items()), metric, [list(REFERENCES)], test_type="bs")
        (table,) = [rows for key, rows in test()[1].items() if key != "System"]
        for system, result in zip(("closer", "worst"), table[1:], strict=True):
            found = differences(SET, WORSE, texts[system], [name])[name]
            assert found.p_value == pytest.approx(result.p_value, abs=1e-12)
            assert system == "worst" or 0.01 < found.p_value < 0.5  # one that tells the two apart


def test_a_mean_is_surer_than_its_parts():
    random = np.random.default_rng(0)
    parts = [difference(1.0, random.normal(1, 1, 4000)) for _ in range(4)]
    mean = mean_difference(parts)
    assert mean.delta == 1.0
    assert mean.ci == pytest.approx(1.96 / 2, rel=0.05)


def scored(name: str, texts: list[str], *testsets: TestSet) -> Scores:
    """The scores of the same translations of every test set."""
    made = [each for testset in testsets for each in score(name, testset, texts, resamples=0)]
    return Scores(tuple(made), testsets, {name: tuple(tuple(map(Text, texts)) for _ in testsets)})


class Text(str):
    """What `translate` gives, as far as scores go."""

    @property
    def text(self) -> str:
        return str.__str__(self)


def test_differences_from_the_baseline_by_test_set_and_on_average():
    half = TestSet("half", EN_DE, SET.sources[:30], [*REFERENCES[:29], "x"])
    both = scored("a", WORSE, SET, half) + scored("b", WORST, SET, half)
    table = from_baseline(both, resamples=50)
    assert list(table["system"].unique()) == ["b"]
    assert list(table["task"]) == [str(EN_DE)] * 4 + [MEAN] * 2
    assert list(table["metric"]) == ["BLEU", "chrF2++"] * 3
    expected = differences(SET, WORSE, WORST, ("bleu", "chrf++"), resamples=50)
    assert table["delta"][0] == expected["bleu"].delta
    assert table["ci"][1] == expected["chrf++"].ci
    assert table["delta"][4] == pytest.approx((table["delta"][0] + table["delta"][2]) / 2)
    points = {one.system: one.score for one in both.scores if one.metric == "BLEU"}
    assert set(points) == {"a", "b"}
    assert from_baseline(scored("a", WORSE, SET)).empty


def test_one_sentence_has_a_difference_and_no_confidence():
    one = TestSet("one", EN_DE, SET.sources[:1], REFERENCES[:1])
    found = from_baseline(scored("a", WORSE[:1], one) + scored("b", WORST[:1], one))
    assert (found["delta"] < 0).all()
    assert found["ci"].isna().all() and found["p_value"].isna().all()


def test_scores_of_other_test_sets_or_of_the_same_system_are_not_put_together():
    other = TestSet("other", EN_DE, SET.sources, WORSE)
    with pytest.raises(WorkbenchError, match="different test sets"):
        scored("a", WORSE, SET) + scored("b", WORSE, other)
    with pytest.raises(WorkbenchError, match="a system named a"):
        scored("a", WORSE, SET) + scored("a", WORST, SET)


def test_the_sentences_that_differ_most_come_first():
    mixed = [REFERENCES[0], WORST[1], *WORSE[2:]]
    frame = differing_sentences(scored("a", WORSE, SET) + scored("b", mixed, SET))
    assert set(frame["sentence"]) <= {0, 1}
    assert list(frame["system"]) == ["a", "b"] * (len(frame) // 2)
    assert frame["spread"].is_monotonic_decreasing
    metric = sacrebleu.CHRF(word_order=2)
    for row in frame.itertuples():
        expected = metric.sentence_score(row.translation, [row.reference]).score
        assert row.score == pytest.approx(expected)
        assert row.source == SET.sources[row.sentence]
    assert differing_sentences(scored("a", WORSE, SET) + scored("b", WORSE, SET)).empty
