"""Routes of a parallel corpus, for the commands that look at how it is routed."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from workbench.cli.options import load_model, positive
from workbench.cli.output import ProgressLine, note
from workbench.errors import WorkbenchError
from workbench.wording import counted

if TYPE_CHECKING:
    from workbench.decoding.translator import Translator
    from workbench.routing.trace import Routes
    from workbench.tasks import Task
    from workbench.text.corpus import ParallelCorpus


def add_corpus(parser: argparse.ArgumentParser) -> None:
    """`--corpus`, and what of it is traced."""
    parser.add_argument(
        "--corpus",
        required=True,
        metavar="FILE_OR_DIR",
        help="a .tsv with a column a language, a directory of SPLIT.LANGUAGE[.gz], or 'captions' (in"
        " the package)",
    )
    parser.add_argument("--split", help="of a directory that holds several")
    parser.add_argument(
        "--tasks",
        nargs="+",
        metavar="A-B",
        help="default: all that both the corpus and the model have",
    )
    parser.add_argument(
        "--limit", type=positive, metavar="N", help="the first N sentences of each task only"
    )
    parser.add_argument("--batch-size", type=positive, default=32, metavar="N", help="default: 32")


def trace_corpus(args: argparse.Namespace) -> tuple[Translator, Routes]:
    """The checkpoint, and its routes of the reference translations of every task asked for, task after task."""
    from workbench.evaluation.testset import read_corpus

    corpus = read_corpus(args.corpus, None, args.split)
    model = load_model(args)
    tasks = _tasks(args, model, corpus)
    from workbench.routing.trace import trace_routes

    routes = None
    for task in tasks:
        sources, references = (side[: args.limit] for side in corpus.direction(task))
        with ProgressLine(f"{task}: sentences traced") as progress:
            found = trace_routes(
                model, sources, task.source, task.target, references, args.batch_size, progress
            )
        warn_of_cut(model, found)
        routes = found if routes is None else routes + found
    assert routes is not None
    return model, routes


def warn_of_cut(model: Translator, routes: Routes) -> None:
    """Say how many sentences of a task were too long to be traced whole."""
    if routes.cut:
        note(
            f"warning: {routes.tasks[0]}: {counted(len(routes.cut), 'sentence')}"
            f" {'was' if len(routes.cut) == 1 else 'were'} traced up to token {model.config.max_positions} alone, the most"
            f" that {model.name} holds."
        )


def _tasks(args: argparse.Namespace, model: Translator, corpus: ParallelCorpus) -> list[Task]:
    from workbench.tasks import parse_task

    if args.tasks:
        written = [part for text in args.tasks for part in text.split(",") if part]
        tasks = list(dict.fromkeys(parse_task(text, model.config.languages) for text in written))
        for task in tasks:
            model.config.check_task(task)
            corpus.direction(task)
        return tasks
    tasks = [task for task in model.config.directions if task in corpus.tasks]
    if not tasks:
        raise WorkbenchError(
            f"{args.corpus} has {', '.join(corpus.languages)}: no direction that {model.name} translates."
        )
    return tasks
