"""`workbench compare`: quality, significance and speed of checkpoints in one table."""

from __future__ import annotations

import argparse
import sys

from workbench.cli.options import add_checkpoint, add_direction, add_run, positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_checkpoint(parser, many=True)
    add_direction(parser)
    parser.add_argument("-i", "--input", metavar="FILE", help="source sentences, with -r")
    parser.add_argument("-r", "--references", metavar="FILE", help="their translations")
    parser.add_argument(
        "--testset",
        metavar="NAME",
        help="captions (default, in the package), a directory, a .tsv, or a sacreBLEU name",
    )
    parser.add_argument("--split", help="of a directory, where it has several")
    parser.add_argument("--limit", type=positive, metavar="N", help="the first N sentences only")
    parser.add_argument(
        "--metrics", nargs="+", default=["bleu", "chrf++"], metavar="M", help="bleu, chrf++, ..."
    )
    parser.add_argument("--beam", type=positive, default=1, metavar="N", help="default 1, greedy")
    parser.add_argument("--batch-size", type=positive, default=32, metavar="N", help="default 32")
    parser.add_argument(
        "--batch-sizes",
        type=positive,
        nargs="*",
        default=[1, 64],
        help="for the speed; none: not measured",
    )
    parser.add_argument("-f", "--format", choices=("text", "json", "latex"), default="text")
    add_run(parser)


def run(options: argparse.Namespace) -> None:
    """Compare, and print the table; the first checkpoint is the baseline."""
    import workbench as wb
    from workbench.evaluation.comparison import compare
    from workbench.evaluation.testset import load_testset, read_testset

    if bool(options.input) != bool(options.references):
        raise wb.WorkbenchError(
            "-i and -r belong together: give sources and references, or --testset."
        )
    models = [wb.load(path) for path in options.checkpoints]
    task = models[0].task(options.source, options.target)
    if options.input:
        testset = read_testset(options.input, options.references, task)
    else:
        testset = load_testset(options.testset or "captions", task, options.split, options.limit)
    result = compare(
        models,
        testset,
        options.metrics,
        batch_sizes=options.batch_sizes,
        batch_size=options.batch_size,
        beam_size=options.beam,
        progress=_report,
    )
    print(result.render("json" if options.json else options.format))


def _report(what: str, done: int, total: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{what}: {done} of {total}   ", end="\n" if done == total else "", file=sys.stderr)
