"""`workbench usage`: how often each task uses each expert."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from workbench.cli.options import load_model, new_command, positive
from workbench.cli.output import ProgressLine, whole_file
from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    from workbench.decoding.translator import Translator
    from workbench.routing.usage import Usage
    from workbench.tasks import Task
    from workbench.text.corpus import ParallelCorpus


def add_parser(commands: Any) -> None:
    """Add this command."""
    parser = new_command(
        commands,
        "usage",
        run,
        "How often each task uses each expert, on the reference translations of a parallel corpus.",
    )
    parser.add_argument("checkpoint", metavar="CKPT", help="checkpoint directory")
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
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="JSON (default: a table on standard output)"
    )


def run(args: argparse.Namespace) -> None:
    """Trace every task and count."""
    from workbench.evaluation.testset import read_corpus

    corpus = read_corpus(args.corpus, None, args.split)
    model = load_model(args)
    tasks = _tasks(args, model, corpus)
    from workbench.routing.trace import trace_routes
    from workbench.routing.usage import expert_usage

    routes = None
    for task in tasks:
        sources, references = (side[: args.limit] for side in corpus.direction(task))
        with ProgressLine(f"{task}: sentences traced") as progress:
            found = trace_routes(
                model, sources, task.source, task.target, references, args.batch_size, progress
            )
        routes = found if routes is None else routes + found
    assert routes is not None
    usage = expert_usage(routes)
    if args.output:
        with whole_file(args.output) as place:
            place.write_text(usage.to_json() + "\n", encoding="utf-8")
    if args.json:
        print(usage.to_json())
    else:
        print(_text(usage))


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


def _text(usage: Usage) -> str:
    from workbench.evaluation.tables import text_table

    rows = []
    for t, task in enumerate(usage.tasks):
        for i, (stack, layer) in enumerate(usage.layers):
            total = max(1.0, float(usage.tokens[t, i]))
            best = sorted(range(usage.experts[i]), key=lambda e: -usage.counts[t, i, e])[:4]
            shown = ", ".join(f"{e} ({usage.counts[t, i, e] / total:.0%})" for e in best)
            rows.append((task, f"{stack} {layer}", shown, f"{int(total):,}"))
    return text_table(
        ("task", "layer", "most used experts (share of tokens)", "tokens"), rows, left=3
    )
