"""Differences of corpus scores, against sacreBLEU's own."""

import numpy as np
import pytest
import sacrebleu

from tests.models import EN_DE, captions
from workbench.evaluation.differences import difference, differences, mean_difference
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
    assert found.p_value == pytest.approx(0.5, abs=0.01)


def test_a_mean_is_surer_than_its_parts():
    random = np.random.default_rng(0)
    parts = [difference(1.0, random.normal(1, 1, 4000)) for _ in range(4)]
    mean = mean_difference(parts)
    assert mean.delta == 1.0
    assert mean.ci == pytest.approx(1.96 / 2, rel=0.05)
