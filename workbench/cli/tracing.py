"""Routes of a parallel corpus, for the commands that look at how it is routed."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from workbench.cli.options import choose_device, load_model, positive
from workbench.cli.output import ProgressLine, note, whole_file
from workbench.errors import WorkbenchError
from workbench.wording import counted

if TYPE_CHECKING:
    from workbench.config import ModelConfig
    from workbench.decoding.translator import Translator
    from workbench.routing.trace import Routes
    from workbench.tasks import Task
    from workbench.text.corpus import ParallelCorpus


#: How a table of routes may be written.
SUFFIXES = (".parquet", ".csv", ".jsonl")


def add_corpus(parser: argparse.ArgumentParser) -> None:
    """What is traced: the network, `--corpus`, and what of it; or a table of what was traced before."""
    parser.add_argument(
        "checkpoint",
        metavar="CKPT",
        help="checkpoint directory or hub id; or, without --corpus, a table of routes that `routes` or `usage"
        " --save-routes` wrote",
    )
    parser.add_argument(
        "--corpus",
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


def trace_corpus(args: argparse.Namespace) -> tuple[str, Routes]:
    """The routes of the reference translations of every task asked for, task after task, and what they are of: the
    name of the network; or those of a table.
    """
    if args.corpus is None:
        return _read(args)
    from workbench.checkpoint.hub import find_checkpoint, name_of
    from workbench.decoding.opening import open_checkpoint
    from workbench.evaluation.testset import read_corpus

    corpus = read_corpus(args.corpus, None, args.split)
    choose_device(args)
    directory = find_checkpoint(args.checkpoint)
    config, _ = open_checkpoint(directory)
    tasks = _tasks(args, config, name_of(args.checkpoint, directory), corpus)
    model = load_model(args)
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
    return model.name, routes


def _read(args: argparse.Namespace) -> tuple[str, Routes]:
    """The routes of a table, of all its tasks or of some."""
    if not args.checkpoint.endswith(SUFFIXES):
        raise WorkbenchError(
            f"Nothing says what {args.checkpoint} shall read: give --corpus, or a table of routes in place of the"
            f" checkpoint ({', '.join(SUFFIXES)})."
        )
    for name in ("split", "limit"):
        if getattr(args, name) is not None:
            raise WorkbenchError(f"--{name} is of a corpus: leave it out beside a table of routes.")
    choose_device(args)
    from workbench.routing.files import read_routes
    from workbench.tasks import parse_task

    routes = read_routes(args.checkpoint)
    if args.tasks:
        among = list(dict.fromkeys(code for t in routes.tasks for code in (t.source, t.target)))
        parts = [part for text in args.tasks for part in text.split(",") if part]
        tasks = list(dict.fromkeys(parse_task(text, among) for text in parts))
        for task in tasks:
            if task not in routes.tasks:
                raise WorkbenchError(
                    f"{args.checkpoint} has no routes of {task}, only of {', '.join(map(str, routes.tasks))}."
                )
        routes = routes.only(tasks)
    return routes.model or args.checkpoint, routes


def check_suffix(path: str) -> None:
    """Refuse a file for routes whose name does not say how to write them."""
    if not path.endswith(SUFFIXES):
        raise WorkbenchError(f"Cannot write {path}: its name must end in {', '.join(SUFFIXES)}.")


def save_routes(routes: Routes, path: str) -> None:
    """Write them by the ending of the name, as a whole or not at all."""
    from workbench.routing.files import write_routes

    suffix = next(each for each in SUFFIXES if path.endswith(each))
    with whole_file(path) as place:
        write_routes(routes, place, suffix)


def warn_of_cut(model: Translator, routes: Routes) -> None:
    """Say how many sentences of a task were too long to be traced whole."""
    if routes.cut:
        note(
            f"warning: {routes.tasks[0]}: {counted(len(routes.cut), 'sentence')}"
            f" {'was' if len(routes.cut) == 1 else 'were'} traced up to token {model.config.max_positions} alone, the most"
            f" that {model.name} holds."
        )


def _tasks(
    args: argparse.Namespace, config: ModelConfig, name: str, corpus: ParallelCorpus
) -> list[Task]:
    """The tasks that are asked for, or all; of each there must be something to trace."""
    tasks = _named(args.tasks, config, corpus) if args.tasks else list(config.directions)
    there = set(corpus.tasks)
    tasks = [task for task in tasks if task in there]
    if not tasks:
        raise WorkbenchError(
            f"{args.corpus} has {', '.join(corpus.languages)}: no direction that {name} translates."
        )
    for task in tasks:
        sides = [side[: args.limit] for side in corpus.direction(task)]
        if not any(
            source.strip() and target.strip() for source, target in zip(*sides, strict=True)
        ):
            first = f"the first {counted(args.limit, 'line')} of " if args.limit else ""
            raise WorkbenchError(
                f"In {first}{args.corpus} no line has text in both languages of {task}: there is nothing to trace."
            )
    return tasks


def _named(written: list[str], config: ModelConfig, corpus: ParallelCorpus) -> list[Task]:
    from workbench.tasks import parse_task

    parts = [part for text in written for part in text.split(",") if part]
    tasks = list(dict.fromkeys(parse_task(text, config.languages) for text in parts))
    for task in tasks:
        config.check_task(task)
        corpus.direction(task)
    return tasks
