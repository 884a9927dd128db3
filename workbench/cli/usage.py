"""`workbench usage`: how often each task uses each expert, over a corpus."""

from __future__ import annotations

import argparse

from workbench.cli.options import add_checkpoint, add_run, output, positive, progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_checkpoint(parser)
    parser.add_argument(
        "--corpus",
        default="captions",
        metavar="FILE_OR_DIR",
        help="a directory of {split}.{language}[.gz], a .tsv, or `captions`, the set in the package (default)",
    )
    parser.add_argument("--split", help="of the directory, where it has several")
    parser.add_argument("--tasks", nargs="+", metavar="A-B", help="default all the checkpoint has")
    parser.add_argument("--limit", type=positive, metavar="N", help="sentences a task at most")
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="usage.json; default standard output"
    )
    add_run(parser)


def run(options: argparse.Namespace) -> None:
    """Trace the model's own translations of the corpus, and write the usage as JSON."""
    import workbench as wb
    from workbench.evaluation.testset import read_corpus

    model = wb.load(options.checkpoint)
    known = model.config.languages
    tasks = [wb.parse_task(t, known) for t in options.tasks or []] or list(model.config.directions)
    for task in tasks:
        model.config.check_task(task)
    sources = tuple(sorted({task.source for task in tasks}))
    corpus = read_corpus(options.corpus, sources, options.split)
    routes = None
    for task in tasks:
        lines = list(corpus.lines[task.source])[: options.limit]
        one = wb.trace_routes(model, lines, task.source, task.target, progress=progress(str(task)))
        routes = one if routes is None else routes + one
    assert routes is not None
    with output(options.output) as file:
        file.write(wb.expert_usage(routes).to_json().encode() + b"\n")
