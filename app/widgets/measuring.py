"""Measuring systems in a job: what each one scored, and then how fast they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from app import jobs, session
from workbench.decoding.system import System
from workbench.decoding.translator import Translator
from workbench.engines.loading import Engine, under
from workbench.evaluation.differences import from_baseline
from workbench.evaluation.quality import Scores, evaluate
from workbench.evaluation.speed import benchmark
from workbench.evaluation.systems import size_of
from workbench.evaluation.testset import TestSet
from workbench.subnetworks.extract import extract
from workbench.tasks import Task

SUBNETWORK = " ✂"  # marks the sub-network of a checkpoint, extracted when it is needed


@dataclass(frozen=True)
class Asked:
    """What to compare: systems by name, on directions of the captions in the package, or on a person's own text.

    versions: of the systems' files, so that those that were written anew are measured anew.
    """

    systems: tuple[str, ...]
    tasks: tuple[Task, ...]
    engines: tuple[Engine, ...]
    batch_sizes: tuple[int, ...]
    beam_size: int
    own: tuple[str, str] | None = None
    versions: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True)
class Measured:
    """One system: its scores, its differences from the first one (empty for that one), its size and, once all are
    scored, its speeds.

    memory, disk: bytes of its weights, None where another engine holds them or nothing is stored.
    """

    system: str
    parameters: int
    memory: int | None
    disk: int | None
    scores: Scores
    differences: pd.DataFrame
    speeds: pd.DataFrame | None = None


def system(name: str, tasks: Sequence[Task]) -> Translator:
    """The checkpoint, the network made on a page, or the sub-network of either, that a name in the list means."""
    model = session.network(name.removesuffix(SUBNETWORK))
    return extract(model, tasks, name=name) if name.endswith(SUBNETWORK) else model


def version_of(name: str) -> tuple[float, ...]:
    """When the files of the system of that name were last written; of one that was made here, its own number."""
    name = name.removesuffix(SUBNETWORK)
    made = session.made().get(name)
    if made is not None:
        return (session.number_of(made),)
    return session.version_of(session.checkpoints()[name])


def measure(
    job: jobs.Job, models: Sequence[Translator], testsets: Sequence[TestSet], asked: Asked
) -> None:
    """Score each model, a result as soon as it is done; then time them all, in turns."""
    systems = _under_engines(job, models, asked.engines)
    first: Scores | None = None
    for index, model in enumerate(systems):

        def report(done: int, total: int, index: int = index) -> None:
            share = 0.5 * (index + done / max(1, total)) / len(systems)
            job.report(share, f"{systems[index].name}: translating")

        scores = evaluate(model, testsets, beam_size=asked.beam_size, progress=report)
        first = first or scores
        both = scores if first is scores else first + scores
        job.results.append(
            Measured(
                model.name,
                *size_of(model),
                scores,
                from_baseline(both),
            )
        )
    task = testsets[0].task
    speeds = benchmark(
        systems,
        batch_sizes=asked.batch_sizes,
        batches=10,
        sentences=testsets[0].sources,
        source=task.source,
        target=task.target,
        beam_size=asked.beam_size,
        progress=lambda done, total: job.report(0.5 + 0.5 * done / total, "Timing, in turns"),
    ).to_frame()
    job.results[:] = [
        replace(result, speeds=speeds[speeds["system"] == result.system]) for result in job.results
    ]


def _under_engines(
    job: jobs.Job, models: Sequence[Translator], engines: Sequence[Engine]
) -> list[System]:
    """The models, each dense one followed by itself under other engines."""
    systems: list[System] = []
    for model in models:
        systems.append(model)
        for engine in engines if model.config.is_dense else ():
            job.report(0.0, f"{model.name}: converting for {engine}")
            systems.append(under(model, engine))
    return systems
