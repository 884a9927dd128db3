"""Score finished runs on Multi30k's test_2016_flickr, all their directions and two zero-shot ones.

    python -m benchmarks.results.score runs/captions-dense runs/token-pair --data data/multi30k

Each run folder gives a pair of files in benchmarks/results/scores: counts of every sentence and all that the page
says about the run. Translations are greedy.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.results.counts import SCORES, Scored, bleu, sentence_counts
from benchmarks.results.systems import ZERO_SHOT, system_of
from workbench.checkpoint.components import parameters_by_component
from workbench.cli.provenance import hardware
from workbench.config import ConfigError
from workbench.decoding.translator import Translator
from workbench.evaluation.testset import load_testset
from workbench.routing.gathering import gather_statistics
from workbench.tasks import Task, parse_task
from workbench.text.pairs import read_pairs
from workbench.training.metrics import read_metrics, training_seconds
from workbench.training.teacher_text import SPLIT

_BATCH = 64


def main(arguments: Sequence[str] | None = None) -> None:
    """Score each run and write its files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--data", type=Path, default=Path("data/multi30k"))
    parser.add_argument("--split", default="test_2016_flickr")
    parser.add_argument("--limit", type=int, help="sentences of each direction (default: all)")
    parser.add_argument("-o", "--output", type=Path, default=SCORES)
    args = parser.parse_args(arguments)
    for run in args.runs:
        started = time.perf_counter()
        scored = score_run(run, args.data, args.split, args.limit)
        scored.save(args.output)
        mean = scored.average(str(task) for task in scored.about["tasks"])[0]
        print(
            f"{scored.name}, seed {scored.seed}: {mean:.2f} BLEU on average,"
            f" {time.perf_counter() - started:.0f} s",
            file=sys.stderr,
        )


def score_run(run: Path, data: Path, split: str, limit: int | None = None) -> Scored:
    """Translate and count; the run folder is one of `workbench train` or `workbench distill`."""
    model = Translator.load(run / "checkpoint")
    recipe = model.provenance["recipe"]
    trained = model.config.directions
    tasks = [*trained, *zero_shot(model)]
    model.config = dataclasses.replace(model.config, tasks=tuple(tasks))
    counts: dict[str, np.ndarray] = {}
    signatures: dict[str, str] = {}
    corpus = {}
    started = time.perf_counter()
    for task in tasks:
        testset = load_testset(data, task, split, limit)
        output = model.translate(
            testset.sources, task.source, task.target, batch_size=_BATCH, with_scores=False
        )
        counts[str(task)], signatures[str(task)] = sentence_counts(
            output, testset.references, task.target
        )
        if task in trained:
            corpus[task] = (testset.sources, testset.references)
    about: dict[str, Any] = {
        "testset": f"Multi30k {split}",
        "sentences": len(testset),
        "search": "greedy",
        "tasks": [str(task) for task in trained],
        "signatures": signatures,
        "scored_on": hardware(),
        "scoring_seconds": round(time.perf_counter() - started),
        "name": model.name,
        "provenance": model.provenance,
        "parameters": parameters_by_component(model.config),
        **training_of(run),
    }
    if not model.config.is_dense:
        statistics = gather_statistics(model, corpus, _BATCH)
        about["usage"] = {
            "layers": [list(layer) for layer in statistics.layers],
            "experts": list(statistics.experts),
            # [tasks, layers, E], the share of a task's tokens that chose the expert, at any rank
            "chosen": np.round(statistics.top2, 4).tolist(),
        }
    if model.provenance["operation"] == "distill":
        about["teacher_text"] = teacher_text(run, data, trained)
    name = system_of(recipe["name"])
    return Scored(name, recipe["run"]["seed"], counts, json.loads(json.dumps(about)))


def teacher_text(
    run: Path, data: Path, tasks: Sequence[Task], limit: int = 3000
) -> dict[str, dict[str, float]]:
    """How the text that a student learned from stands to the references that it took the place of.

    Task -> BLEU of the teacher's translations of the first `limit` training sentences, and the different words in
    them over those in the references (of Chinese, characters).
    """
    written, given = (read_pairs(place, SPLIT, tasks) for place in (run / "distilled", data))
    found = {}
    for task in tasks:
        reference = dict(zip(*given.direction(task), strict=True))
        pairs = [(t, reference[s]) for s, t in zip(*written.direction(task), strict=True)]
        texts, references = (list(side) for side in zip(*pairs[:limit], strict=True))
        counts = sentence_counts(texts, references, task.target)[0].sum(axis=0)
        cut = list if task.target.startswith("zho") else str.split
        words = [len({word for line in side for word in cut(line)}) for side in (texts, references)]
        found[str(task)] = {
            "bleu": round(float(bleu(counts)), 2),
            "words": round(words[0] / words[1], 3),
        }
    return found


def zero_shot(model: Translator) -> list[Task]:
    """Those of the zero-shot directions that the model's routers can be asked for."""
    config = model.config
    if len(config.directions) < 2:
        return []
    found = []
    for task in map(parse_task, ZERO_SHOT):
        try:
            config.task_ids(task)
        except ConfigError:
            continue
        if {task.source, task.target} <= set(config.languages) and task not in config.directions:
            found.append(task)
    return found


def training_of(run: Path) -> dict[str, Any]:
    """How long the run in this folder trained, on how many target tokens, and its last validation."""
    lines = read_metrics(run / "metrics.jsonl")
    return {
        "training_seconds": round(training_seconds(lines)),
        "training_tokens": int(sum(line.get("tokens", 0) for line in lines)),
        "validation": next((x["valid_bleu"] for x in reversed(lines) if "valid_bleu" in x), {}),
    }


if __name__ == "__main__":
    main()
