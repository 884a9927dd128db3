"""Sentences: those that systems translate differently, the ones that differ most first."""

from __future__ import annotations

import pandas as pd

from workbench.evaluation.quality import Scores, make_metrics

_METRIC = "chrf++"


def differing_sentences(scores: Scores) -> pd.DataFrame:
    """A row for each sentence and system of those sentences whose translations are not all the same.

    Columns: testset, task, sentence (its number in the test set, from 0), spread, system, source, translation, reference,
    score.
    score: chrF++ of the sentence, in points; spread: the largest of its scores minus the smallest. Sentences with the
    largest spread come first. chrF++ rather than BLEU, which is of no use on single sentences (Popović 2017).
    """
    rows = []
    for number, testset in enumerate(scores.testsets):
        metric = make_metrics(_METRIC, testset.task.target)[_METRIC]
        outputs = {name: found[number] for name, found in scores.hypotheses.items()}
        for sentence, reference in enumerate(testset.references):
            texts = {name: output[sentence].text for name, output in outputs.items()}
            distinct = set(texts.values())
            if len(distinct) < 2:
                continue
            points = {t: float(metric.sentence_score(t, [reference]).score) for t in distinct}
            spread = max(points.values()) - min(points.values())
            source = testset.sources[sentence]
            for name, text in texts.items():
                rows.append(
                    (
                        testset.name,
                        str(testset.task),
                        sentence,
                        spread,
                        name,
                        source,
                        text,
                        reference,
                        points[text],
                    )
                )
    columns = ["testset", "task", "sentence", "spread", "system", "source", "translation"]
    frame = pd.DataFrame(rows, columns=[*columns, "reference", "score"])
    return frame.sort_values("spread", ascending=False, kind="stable", ignore_index=True)
