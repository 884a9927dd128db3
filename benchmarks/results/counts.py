"""Counts: what corpus BLEU is computed from, sentence by sentence, so that any average has its confidence."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from workbench.evaluation.quality import RESAMPLES, make_metrics

#: Where scored systems lie.
SCORES = Path(__file__).parent / "scores"
_ORDER = 4
_SEED = 12345


@dataclass(frozen=True)
class Scored:
    """One trained system with the counts of its translations.

    name: the system's. seed: of its run. counts: task -> int [S, 10], of each sentence: tokens of the
    translation and of the reference, matching n-grams of orders 1 to 4, and all n-grams of orders 1 to 4.
    about: what else is known of it: the checkpoint's provenance, sacreBLEU's signatures, expert usage.
    """

    name: str
    seed: int
    counts: Mapping[str, np.ndarray]
    about: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def resampled(self) -> dict[str, np.ndarray]:
        """Task -> [1 + R] BLEU: of all sentences, then of each resample; the same sentences in every task.

        Sentence n of every direction describes the same picture, so pictures are drawn, not sentences: what
        is easy in one direction is easy in the others.
        """
        return {task: bleu(with_resamples(table)) for task, table in self.counts.items()}

    def average(self, tasks: Iterable[str]) -> np.ndarray:
        """[1 + R] mean BLEU over those of `tasks` that it was scored on; NaN where there is none."""
        found = [self.resampled[task] for task in tasks if task in self.counts]
        return np.mean(found, axis=0) if found else np.full(1 + RESAMPLES, np.nan)

    def save(self, directory: Path) -> None:
        """Write `{name}-{seed}.npz` and `.json`."""
        directory.mkdir(parents=True, exist_ok=True)
        place = directory / f"{self.name}-{self.seed}"
        tables = {task: table.astype(np.uint8) for task, table in self.counts.items()}
        np.savez_compressed(place.with_suffix(".npz"), **tables)  # type: ignore[arg-type]
        text = json.dumps(self.about, indent=1, ensure_ascii=False)
        place.with_suffix(".json").write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Scored:
        """Read what `save` wrote; `path` of the .npz."""
        name, _, seed = path.stem.rpartition("-")
        with np.load(path, allow_pickle=False) as stored:
            counts = {task: stored[task].astype(np.int64) for task in stored.files}
        about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        return cls(name, int(seed), counts, about)


def load_all(directory: Path = SCORES) -> dict[str, list[Scored]]:
    """Every scored system by name, its seeds in order."""
    found: dict[str, list[Scored]] = {}
    for path in sorted(directory.glob("*.npz")):
        one = Scored.load(path)
        found.setdefault(one.name, []).append(one)
    return {name: sorted(runs, key=lambda run: run.seed) for name, runs in found.items()}


def sentence_counts(
    hypotheses: Sequence[str], references: Sequence[str], target: str
) -> tuple[np.ndarray, str]:
    """int [S, 10] counts of each sentence, and sacreBLEU's signature. target: FLORES-200 code."""
    metric = make_metrics(["bleu"], target)["bleu"]
    texts = [str.__str__(text) for text in hypotheses]
    metric.corpus_score(texts, [list(references)])  # the signature needs to know the references
    counts = np.asarray(metric._extract_corpus_statistics(texts, [list(references)]))
    if counts.max(initial=0) > np.iinfo(np.uint8).max:
        raise ValueError("A sentence of over 255 tokens: these are no captions.")
    return counts.astype(np.int64), str(metric.get_signature())


def with_resamples(counts: np.ndarray, resamples: int = RESAMPLES) -> np.ndarray:
    """[1 + R, 10] sums of [S, 10] counts: over all sentences, then over each resample with replacement."""
    size = len(counts)
    drawn = np.random.default_rng(_SEED).multinomial(size, np.full(size, 1 / size), size=resamples)
    return np.concatenate([counts.sum(axis=0, keepdims=True), drawn @ counts])


def bleu(sums: np.ndarray) -> np.ndarray:
    """[...] BLEU of [..., 10] summed counts, as sacreBLEU computes it where every order has a match."""
    hypothesis, reference = sums[..., 0], sums[..., 1]
    matches, totals = sums[..., 2 : 2 + _ORDER], sums[..., 2 + _ORDER :]
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.exp(np.mean(np.log(matches / totals), axis=-1))
        brevity = np.exp(np.minimum(0.0, 1 - reference / hypothesis))
    return np.where((matches > 0).all(axis=-1), 100 * precision * brevity, 0.0)
