"""Quality: scores equal sacreBLEU's own, with its signatures."""

from __future__ import annotations

import math
from importlib.util import find_spec

import pytest
import sacrebleu

from tests.models import translator
from workbench.errors import WorkbenchError
from workbench.evaluation.quality import bleu_tokenizer, evaluate, make_metrics, score
from workbench.evaluation.testset import TestSet, load_testset
from workbench.tasks import Task

REFERENCES = ("ein Hund läuft über das Gras .", "eine Frau liest ein Buch .", "zwei Männer reden .")
HYPOTHESES = ("ein Hund läuft über Gras .", "eine Frau liest das Buch .", "zwei Männer reden .")
SMALL = TestSet("small", Task("eng_Latn", "deu_Latn"), ("a", "b", "c"), REFERENCES)


def test_scores_are_those_of_sacrebleu() -> None:
    bleu, chrf = score("x", SMALL, HYPOTHESES, resamples=0)
    expected = sacrebleu.corpus_bleu(HYPOTHESES, [REFERENCES])
    assert bleu.metric == "BLEU"
    assert bleu.score == expected.score > 0
    assert bleu.length_ratio == expected.ratio == pytest.approx(16 / 17)
    assert math.isnan(bleu.ci)
    assert chrf.metric == "chrF2++"
    assert chrf.score == sacrebleu.corpus_chrf(HYPOTHESES, [REFERENCES], word_order=2).score
    metric = sacrebleu.BLEU()
    metric.corpus_score(HYPOTHESES, [REFERENCES])
    assert bleu.signature == str(metric.get_signature())


def test_confidence_intervals_are_those_of_sacrebleu() -> None:
    bleu = score("x", SMALL, HYPOTHESES, ["bleu"], resamples=50)[0]
    expected = sacrebleu.BLEU().corpus_score(HYPOTHESES, [REFERENCES], n_bootstrap=50)
    assert bleu.ci == expected._ci > 0
    assert "bs:50|seed:12345" in bleu.signature


def test_translations_that_run_in_a_loop_are_counted() -> None:
    looped = ("ein Hund ein Hund ein Hund", *HYPOTHESES[1:])
    assert [one.loops for one in score("x", SMALL, looped, resamples=0)] == [1 / 3] * 2
    assert score("x", SMALL, HYPOTHESES, resamples=0)[0].loops == 0


def test_an_interval_of_resamples_that_partly_score_zero() -> None:
    testset = TestSet("two", SMALL.task, ("a", "b"), REFERENCES[:2])
    assert score("x", testset, (REFERENCES[0], "nichts"), resamples=50)[0].ci > 0


def test_chinese_and_japanese_have_their_own_tokens() -> None:
    assert bleu_tokenizer("zho_Hans") == bleu_tokenizer("yue_Hant") == "zh"
    assert bleu_tokenizer("deu_Latn") == "13a"
    assert bleu_tokenizer("jpn_Jpan") == ("ja-mecab" if find_spec("ipadic") else "char")
    testset = TestSet(
        "zh", Task("eng_Latn", "zho_Hans"), ("a", "b"), ("一个小男孩跳进水坑。", "两只狗。")
    )
    [bleu] = score("x", testset, ("一个小男孩跳进水坑。", "两只狗。"), ["bleu"], resamples=0)
    assert bleu.score == pytest.approx(100)
    assert "tok:zh" in bleu.signature


def test_unknown_metrics_are_refused() -> None:
    with pytest.raises(WorkbenchError, match=r"Unknown metric 'comet'. Accepted: bleu, chrf, chrf"):
        make_metrics(["bleu", "comet"], "deu_Latn")


def test_many_models_and_many_sets() -> None:
    models = [translator(), translator("target", "target")]
    sets = [load_testset("captions", task, limit=6) for task in ("en-de", "en-fr")]
    seen: list[tuple[int, int]] = []
    scores = evaluate(models, sets, max_length=8, progress=lambda *at: seen.append(at))
    frame = scores.to_frame()
    assert list(frame["system"].unique()) == ["dense-dense", "target-target"]
    assert len(frame) == 2 * 2 * 2
    assert seen[-1] == (24, 24)
    assert seen == sorted(seen)
    outputs = models[1].translate(sets[1].sources, "en", "fr", max_length=8)
    assert list(scores.hypotheses["target-target"][1]) == outputs
    row = frame[(frame["system"] == "target-target") & (frame["task"] == "eng_Latn-fra_Latn")].iloc[
        0
    ]
    assert row["score"] == sacrebleu.corpus_bleu(outputs, [sets[1].references]).score
    assert row["sentences"] == 6


def test_systems_of_the_same_name_are_told_apart() -> None:
    sets = load_testset("captions", "en-de", limit=6)
    scores = evaluate([translator(), translator()], sets, ["bleu"], max_length=8, resamples=0)
    assert scores.systems == ("dense-dense", "dense-dense (2)")


def test_a_direction_that_a_model_lacks_is_refused() -> None:
    with pytest.raises(WorkbenchError, match="does not translate deu_Latn-fra_Latn"):
        evaluate(translator(), load_testset("captions", "de-fr"))
