"""`workbench compare`: quality, significance and speed of checkpoints in one table."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from workbench.cli.options import (
    SYSTEM,
    add_batch_sizes,
    add_decoding,
    add_direction,
    add_early_stopping,
    load_systems,
    new_command,
    positive,
)
from workbench.cli.output import ProgressLine, check_file, note, whole_file
from workbench.errors import WorkbenchError
from workbench.wording import counted

if TYPE_CHECKING:
    from workbench.decoding.system import System
    from workbench.evaluation.comparison import Comparison
    from workbench.evaluation.testset import TestSet
    from workbench.tasks import Task


def add_parser(commands: Any) -> None:
    """Add this command."""
    parser = new_command(
        commands,
        "compare",
        run,
        "Quality, significance and speed of checkpoints in one table; the first is the baseline.",
    )
    parser.add_argument("checkpoints", metavar="CKPT", nargs="+", help=SYSTEM)
    add_direction(parser, required=False)
    parser.add_argument("-i", "--input", metavar="SOURCES", help="source sentences")
    parser.add_argument(
        "-r", "--reference", metavar="REFERENCES", help="their reference translations"
    )
    parser.add_argument(
        "--testset",
        metavar="NAME",
        help="instead of -i and -r: captions (in the package, the default), a directory, a .tsv,"
        " or a sacreBLEU name",
    )
    parser.add_argument("--split", help="of a directory that holds several")
    parser.add_argument(
        "--limit", type=positive, metavar="N", help="the first N sentences of each task only"
    )
    parser.add_argument(
        "-f", "--format", choices=("text", "json", "latex"), default="text", help="default: text"
    )
    parser.add_argument(
        "--metrics",
        default="bleu,chrf++",
        metavar="LIST",
        help="of bleu, chrf, chrf++, ter (default: bleu,chrf++)",
    )
    add_batch_sizes(parser, [1, 64])
    parser.add_argument(
        "--batches", type=positive, default=20, metavar="N", help="timed for each (default: 20)"
    )
    parser.add_argument("--no-speed", action="store_true", help="quality only")
    parser.add_argument("-o", "--output", metavar="FILE", help="default: standard output")
    add_decoding(parser)
    add_early_stopping(parser)


def run(args: argparse.Namespace) -> None:
    """Compare and print."""
    if (args.input is None) != (args.reference is None):
        raise WorkbenchError(
            "Sources and references belong together: give both -i and -r, or --testset."
        )
    if args.input and args.testset:
        raise WorkbenchError("Give either -i and -r or --testset, not both.")
    if (args.source is None) != (args.target is None):
        raise WorkbenchError("A direction needs both its languages: give -s and -t, or neither.")
    if args.input and not args.source:
        raise WorkbenchError("Say from which language into which with -s and -t.")
    check_file(args.output)
    metrics = [metric.strip().lower() for metric in args.metrics.split(",") if metric.strip()]
    models = load_systems(args, args.checkpoints)
    testsets = _testsets(args, models)
    from workbench.evaluation.comparison import compare

    with ProgressLine("compared") as line:
        comparison = compare(
            models,
            testsets,
            metrics,
            () if args.no_speed else args.batch_sizes,
            args.batches,
            args.batch_size,
            args.beam,
            args.max_length,
            early_stopping=args.early_stopping,
            progress=lambda what, done, total: line(done, total, what),
            interrupted=lambda found: _write_part(args, found, len(models), line),
        )
    _write(args, comparison)


def _write_part(
    args: argparse.Namespace, comparison: Comparison, systems: int, line: ProgressLine
) -> None:
    """What is done of an interrupted comparison."""
    line.close()
    _write(args, comparison)
    note(
        f"{len(comparison.scores.systems)} of {counted(systems, 'system')} scored, and none timed."
    )


def _write(args: argparse.Namespace, comparison: Comparison) -> None:
    text = comparison.render("json" if args.json else args.format)
    if args.output:
        with whole_file(args.output) as place:
            place.write_text(text + "\n", encoding="utf-8")
    else:
        print(text)


def _testsets(args: argparse.Namespace, models: list[System]) -> list[TestSet]:
    from workbench.evaluation.systems import common_tasks
    from workbench.evaluation.testset import (
        CAPTIONS,
        TestSet,
        load_testset,
        read_testset,
        tasks_in,
    )

    if args.source:
        task = _task(args, models)
        if args.input:
            found = read_testset(args.input, args.reference, task)
            limit = args.limit
            return [TestSet(found.name, task, found.sources[:limit], found.references[:limit])]
        return [load_testset(args.testset or CAPTIONS, task, args.split, args.limit)]
    name = args.testset or CAPTIONS
    tasks = tasks_in(name, common_tasks(models), args.split)
    if not tasks:
        raise WorkbenchError(f"{name} has no direction that all of these checkpoints translate.")
    return [load_testset(name, task, args.split, args.limit) for task in tasks]


def _task(args: argparse.Namespace, models: list[System]) -> Task:
    """The direction that was asked for, which every checkpoint must translate."""
    tasks = []
    for path, model in zip(args.checkpoints, models, strict=True):
        try:
            tasks.append(model.task(args.source, args.target))
        except WorkbenchError as error:
            raise WorkbenchError(f"{path}: {error}") from error
    return tasks[0]
