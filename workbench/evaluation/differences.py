"""Differences: how much better or worse one system is than another on the same sentences, with confidence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from workbench.evaluation.quality import ASKED_AS, RESAMPLES, Scores, make_metrics
from workbench.evaluation.testset import TestSet

#: sacreBLEU's own.
_SEED = 12345
#: The task of a row that is the mean over all test sets.
MEAN = "mean"


@dataclass(frozen=True, eq=False)
class Difference:
    """A metric of a system minus that of the baseline.

    delta: in the metric's points. ci: half the width of its 95 % confidence interval. p_value: of no difference, the one
    that `sacrebleu --paired-bs` gives, from the same paired bootstrap over sentences (Koehn 2004) in the same resamples;
    but equal scores have 1, where sacreBLEU calls them significant. That test takes absolute differences before it
    centres them and so counts one side, whichever that turns out to be: where the interval just ends at 0, p is about
    0.025. Both are NaN for a single sentence, which has no spread. samples: the difference in each resample.
    """

    delta: float
    ci: float
    p_value: float
    samples: np.ndarray = field(repr=False)


def differences(
    testset: TestSet,
    baseline: Sequence[str],
    system: Sequence[str],
    metrics: str | Sequence[str] = ("bleu", "chrf++"),
    resamples: int = RESAMPLES,
) -> dict[str, Difference]:
    """The difference in each metric, by the metric's name as it was asked for."""
    size = len(testset)
    chosen = np.random.default_rng(_SEED).choice(size, size=(resamples, size), replace=True)
    drawn = np.zeros((resamples, size), np.int64)  # how often each sentence is in each resample
    np.add.at(drawn, (np.arange(resamples)[:, None], chosen), 1)
    references = [list(testset.references)]
    found = {}
    for name, metric in make_metrics(metrics, testset.task.target).items():
        scores = []
        for texts in (baseline, system):
            # What a corpus score is computed from, sentence by sentence: counts that add up.
            counts = np.asarray(
                metric._extract_corpus_statistics([str.__str__(t) for t in texts], references)
            )
            sums = np.concatenate([counts.sum(axis=0, keepdims=True), drawn @ counts])
            scores.append(
                np.array([metric._compute_score_from_stats(list(row)).score for row in sums])
            )
        one = difference(scores[1][0] - scores[0][0], scores[1][1:] - scores[0][1:])
        found[name] = one if size > 1 else replace(one, ci=math.nan, p_value=math.nan)
    return found


def difference(delta: float, samples: np.ndarray) -> Difference:
    """A difference with what its resamples say of it."""
    low, high = np.percentile(samples, [2.5, 97.5])
    # As sacreBLEU: absolute differences, shifted so that there is none on average, beyond what was seen.
    sizes = np.abs(samples)
    p = _share(sizes - sizes.mean() > abs(delta)) if delta else 1.0
    return Difference(float(delta), float(high - low) / 2, p, samples)


def two_sided(one: Difference) -> Difference:
    """The same with a p of both sides: differences shifted so that there is none on average, as large as what was seen."""
    extreme = np.abs(one.samples - one.samples.mean()) >= abs(one.delta)
    return replace(one, p_value=_share(extreme) if one.delta else 1.0)


def _share(resamples: np.ndarray) -> float:
    """How many there are of these, with the one that was seen."""
    return (float(resamples.sum()) + 1) / (len(resamples) + 1)


def mean_difference(parts: Sequence[Difference]) -> Difference:
    """The mean over test sets, whose sentences are resampled independently of one another."""
    random = np.random.default_rng(_SEED)
    samples = np.mean([random.permutation(part.samples) for part in parts], axis=0)
    return difference(float(np.mean([part.delta for part in parts])), samples)


def from_baseline(scores: Scores, resamples: int = RESAMPLES) -> pd.DataFrame:
    """What every system but the first gains or loses against the first: system, testset, task, metric, delta, ci,
    p_value, as in `Difference`.

    A row for each system, test set and metric, which is called as in `scores`; with several test sets one more for their
    mean, whose task is `MEAN` and whose testset is empty.
    """
    baseline, *systems = scores.systems
    names = list(dict.fromkeys(score.metric for score in scores.scores))
    rows = []
    for system in systems:
        parts: dict[str, list[Difference]] = {name: [] for name in names}
        for number, testset in enumerate(scores.testsets):
            before, after = (
                [text.text for text in scores.hypotheses[name][number]]
                for name in (baseline, system)
            )
            found = differences(testset, before, after, [ASKED_AS[n] for n in names], resamples)
            for name in names:
                one = found[ASKED_AS[name]]
                parts[name].append(one)
                rows.append((system, testset.name, str(testset.task), name, *_numbers(one)))
        if len(scores.testsets) > 1:
            rows += [
                (system, "", MEAN, name, *_numbers(mean_difference(parts[name]))) for name in names
            ]
    columns = ["system", "testset", "task", "metric", "delta", "ci", "p_value"]
    return pd.DataFrame(rows, columns=columns)


def _numbers(one: Difference) -> tuple[float, float, float]:
    return one.delta, one.ci, one.p_value
