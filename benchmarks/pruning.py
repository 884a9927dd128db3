"""Experts pruned and merged at the same budget: what each way loses, direction by direction.

    python benchmarks/pruning.py checkpoints/captions-token-moe --corpus DIR --split val \
        --testset DIR --testset-split test_2016_flickr
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence

from workbench.decoding.translator import Translator
from workbench.evaluation.differences import differences, mean_difference
from workbench.evaluation.quality import score
from workbench.evaluation.repetition import share_of_loops
from workbench.evaluation.testset import TestSet, load_testset, read_corpus
from workbench.routing.gathering import gather_statistics
from workbench.routing.statistics import Statistics
from workbench.subnetworks.merge import merge
from workbench.subnetworks.prune import prune
from workbench.subnetworks.report import size_of
from workbench.tasks import Task

#: One network for all tasks, or one for each.
System = Callable[[Task | None], Translator]


def systems(
    model: Translator, statistics: Statistics, keep: float
) -> dict[str, tuple[bool, System]]:
    """Name -> (whether every task has its own network, what makes a network)."""

    def pruned(metric: str) -> System:
        return lambda task: prune(
            model,
            statistics,
            [task] if task else None,
            keep,
            metric,
            "language" if task else "global",
        )

    def merged(method: str, gates: str) -> System:
        return lambda task: merge(model, statistics, None, keep, method, gates)  # type: ignore[arg-type]

    return {
        "pruned, importance": (False, pruned("importance")),
        "pruned, top1": (False, pruned("top1")),
        "merged, aligned, dominant gate": (False, merged("aligned", "dominant")),
        "merged, aligned, summed gates": (False, merged("aligned", "sum")),
        "merged, MC-SMoE, dominant gate": (False, merged("mc-smoe", "dominant")),
        "pruned for each direction, importance": (True, pruned("importance")),
        "pruned for each direction, top1": (True, pruned("top1")),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print a Markdown table, and JSON after it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--split")
    parser.add_argument("--testset", required=True)
    parser.add_argument("--testset-split")
    parser.add_argument("--keep", type=float, default=0.25)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--batch-size", type=int, default=64)
    options = parser.parse_args(arguments)
    model = Translator.load(options.checkpoint)
    corpus = read_corpus(options.corpus, model.config.languages, options.split)
    statistics = gather_statistics(
        model,
        {task: corpus.direction(task) for task in model.config.directions},
        options.batch_size,
        products=True,
    )
    sets = [
        load_testset(options.testset, task, options.testset_split, options.limit)
        for task in model.config.directions
    ]

    def translated(one: Translator, testset: TestSet) -> list[str]:
        task = testset.task
        found = one.translate(
            testset.sources,
            task.source,
            task.target,
            batch_size=options.batch_size,
            with_scores=False,
        )
        return [text.text for text in found]

    base = [translated(model, testset) for testset in sets]
    table = [_row("full", model, sets, base, base)]
    print(_markdown(table[0]), flush=True)
    for name, (own, make) in systems(model, statistics, options.keep).items():
        began = time.perf_counter()
        network = make(None if not own else sets[0].task)
        texts = []
        for testset in sets:
            network = make(testset.task) if own and testset is not sets[0] else network
            texts.append(translated(network, testset))
        row = _row(name, network, sets, base, texts)
        table.append(row)
        print(_markdown(row), f"<!-- {time.perf_counter() - began:.0f} s -->", flush=True)
    print(json.dumps(table))


def _row(
    name: str,
    network: Translator,
    sets: Sequence[TestSet],
    base: Sequence[list[str]],
    texts: Sequence[list[str]],
) -> dict[str, object]:
    found = [differences(s, b, t) for s, b, t in zip(sets, base, texts, strict=True)]
    means = {m: mean_difference([each[m] for each in found]) for m in found[0]}
    scores = [
        {one.metric: one for one in score(name, s, t, resamples=0)}
        for s, t in zip(sets, texts, strict=True)
    ]
    size = size_of(name, network.config)
    return {
        "system": name,
        "experts": size.experts,
        "parameters": size.parameters,
        "tasks": [str(s.task) for s in sets],
        "bleu": [round(each["BLEU"].score, 2) for each in scores],
        "delta": [(round(each["bleu"].delta, 2), round(each["bleu"].ci, 2)) for each in found],
        "mean_bleu": round(sum(each["BLEU"].score for each in scores) / len(sets), 2),
        "mean_delta": (round(means["bleu"].delta, 2), round(means["bleu"].ci, 2)),
        "mean_chrf_delta": (round(means["chrf++"].delta, 2), round(means["chrf++"].ci, 2)),
        "length": round(sum(each["BLEU"].length_ratio for each in scores) / len(sets), 3),
        "repetition": round(
            sum(share_of_loops(t, s.task.target) for s, t in zip(sets, texts, strict=True))
            / len(sets),
            4,
        ),
    }


def _markdown(row: dict[str, object]) -> str:
    delta = lambda pair: f"{pair[0]:+.2f} ± {pair[1]:.2f}"  # noqa: E731
    cells = [
        row["system"],
        row["experts"],
        f"{row['parameters']:,}",
        row["mean_bleu"],
        delta(row["mean_delta"]),
        delta(row["mean_chrf_delta"]),
        *map(delta, row["delta"]),  # type: ignore[call-overload]
        row["length"],
        f"{row['repetition']:.2%}",
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


if __name__ == "__main__":
    main()
