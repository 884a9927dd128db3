"""Speed: latency and throughput of systems, measured in turn on the same sentences."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from numbers import Integral

import numpy as np
import pandas as pd

from workbench.arguments import as_count, as_list, as_texts
from workbench.decoding.hardware import processors
from workbench.decoding.system import System
from workbench.errors import WorkbenchError
from workbench.evaluation.systems import common_tasks, name_systems
from workbench.evaluation.testset import CAPTIONS, read_corpus
from workbench.tasks import Task

#: Batches timed for each system and batch size.
BATCHES = 20
#: Seconds between the turns of different engines: the threads of one spin on for a while after their work, on the
#: processors that the next needs.
REST = 0.4
#: Batches of such a turn. One more comes before them, untimed: it finds the threads asleep.
TURN = 5


@dataclass(frozen=True)
class Speed:
    """What one system takes for batches of one size.

    p50_ms, p95_ms: milliseconds a batch, from text to text: tokenisation and detokenisation count,
    compiling and loading do not. tokens_per_second: tokens written, end tokens included. compile_seconds:
    spent on this batch size, none of it measured; short where the compilation cache had the programs.
    dtype: what is computed in. threads: processors this process may use. task: the direction. batches: how
    many were timed.
    """

    system: str
    batch_size: int
    p50_ms: float
    p95_ms: float
    sentences_per_second: float
    tokens_per_second: float
    compile_seconds: float
    device: str
    dtype: str
    beam: int
    threads: int
    task: str
    batches: int


@dataclass(frozen=True)
class Speeds:
    """All measurements of one run."""

    speeds: tuple[Speed, ...]

    def __repr__(self) -> str:
        systems = ", ".join(dict.fromkeys(one.system for one in self.speeds))
        sizes = ", ".join(dict.fromkeys(str(one.batch_size) for one in self.speeds))
        return f"Speeds({systems}; batches of {sizes})"

    def to_frame(self) -> pd.DataFrame:
        """A row a system and batch size, a column for each field of `Speed`."""
        return pd.DataFrame(self.speeds, columns=[field.name for field in fields(Speed)])


def benchmark(
    models: System | Sequence[System],
    batch_sizes: int | Sequence[int] = (1, 8, 64),
    sentences: str | Sequence[str] | None = None,
    source: str | None = None,
    target: str | None = None,
    beam_size: int = 1,
    batches: int = BATCHES,
    max_length: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    early_stopping: bool = False,
) -> Speeds:
    """Measure how fast `models` translate, each through `System.translate`.

    The systems take turns in changing order, so that whatever else the machine does falls on all of them alike;
    every system gets the same batches. Programs are compiled, and one batch is translated, before the clock
    starts; a batch that compiles nevertheless, for a translation much longer than its source, is timed anew. A turn
    is one batch; among different engines it is 5 of them, after a rest of 0.4 seconds and an untimed batch.

    Args:
        models: one or many.
        batch_sizes: sentences in a batch, one size or more.
        sentences: what to translate, one or more, repeated as needed; default the captions in the package.
        source, target: the direction; default the first one that all models translate.
        beam_size, max_length, early_stopping: as in `System.translate`.
        batches: how many are timed for each system and batch size.
        progress: called with (batches done, batches in all).

    Raises:
        WorkbenchError: the models share no direction, or a number is below 1.
    """
    systems = name_systems(models)
    given_sizes = as_list(batch_sizes, Integral, "batch_sizes", "a whole number")
    batch_sizes = [as_count(size, "batch_sizes") for size in given_sizes]
    batches = as_count(batches, "batches")
    if not batch_sizes:
        raise WorkbenchError("There is no batch size to measure: give at least one.")
    task = _task(list(systems.values()), source, target)
    given = _captions(task) if sentences is None else as_texts(sentences, "sentences")
    texts = [text for text in given if text.strip()]
    if not texts:
        raise WorkbenchError("There is no sentence to translate: all of them are blank.")
    engines = len({type(system) for system in systems.values()})
    total, done = len(systems) * len(batch_sizes) * batches, 0
    speeds = []
    for size in batch_sizes:
        work = [[texts[(i * size + j) % len(texts)] for j in range(size)] for i in range(batches)]
        compiled: dict[str, float] = {}
        seconds: dict[str, list[float]] = {name: [] for name in systems}
        tokens = dict.fromkeys(systems, 0)

        def run(model: System, batch: list[str], limit: int | None, size: int = size):  # type: ignore[no-untyped-def]
            return model.translate(
                batch,
                task.source,
                task.target,
                beam_size=beam_size,
                batch_size=size,
                max_length=limit,
                with_scores=False,
                early_stopping=early_stopping,
            )

        for name, model in systems.items():
            # One token each is enough to compile the shape of every batch: without a limit of its own, it follows
            # from the sentences alone. Only a search that finds too little room goes on in another.
            outputs = [run(model, batch, max_length or 1)[0] for batch in work]
            compiled[name] = sum(output.compile_seconds for output in outputs)
            compiled[name] += run(model, work[0], max_length)[0].compile_seconds
        names = list(systems)
        length = TURN if engines > 1 else 1
        for turn, first in enumerate(range(0, batches, length)):
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                if engines > 1:
                    time.sleep(REST)
                    run(systems[name], work[first], max_length)
                for batch in work[first : first + length]:
                    for _ in range(
                        2
                    ):  # once more if a long translation had to compile a shape of its own
                        began = time.perf_counter()
                        written = run(systems[name], batch, max_length)
                        took = time.perf_counter() - began
                        spent = max(output.compile_seconds for output in written)
                        compiled[name] += spent
                        if not spent:
                            break
                    seconds[name].append(took)
                    tokens[name] += sum(len(output.token_ids) for output in written)
                    done += 1
                    if progress:
                        progress(done, total)
        for name, model in systems.items():
            median, tail = np.percentile(seconds[name], (50, 95)) * 1000
            speeds.append(
                Speed(
                    system=name,
                    batch_size=size,
                    p50_ms=float(median),
                    p95_ms=float(tail),
                    sentences_per_second=size * batches / sum(seconds[name]),
                    tokens_per_second=tokens[name] / sum(seconds[name]),
                    compile_seconds=compiled[name],
                    device=model.device,
                    dtype=model.dtype,
                    beam=beam_size,
                    threads=processors(),
                    task=str(task),
                    batches=batches,
                )
            )
    return Speeds(tuple(speeds))


def _task(models: Sequence[System], source: str | None, target: str | None) -> Task:
    if source and target:
        for model in models:  # each may refuse
            task = model.task(source, target)
        return task
    if source or target:
        raise WorkbenchError("A direction needs both its source and its target language.")
    return common_tasks(models)[0]


def _captions(task: Task) -> Sequence[str]:
    """The captions in the package, in the language that `task` starts from."""
    lines = read_corpus(CAPTIONS).lines
    if task.source not in lines:
        raise WorkbenchError(
            f"The captions in the package are in {', '.join(lines)}, not in {task.source}. Give sentences, or"
            " another direction."
        )
    return lines[task.source]
