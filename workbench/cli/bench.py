"""`workbench bench`: latency and throughput alone."""

from __future__ import annotations

import argparse

from workbench.cli.options import (
    add_checkpoint,
    add_direction,
    add_run,
    positive,
    print_json,
    progress,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_checkpoint(parser, many=True)
    add_direction(parser, required=False)
    parser.add_argument("--batch-sizes", type=positive, nargs="+", default=[1, 8, 64], metavar="N")
    parser.add_argument(
        "--batches", type=positive, default=20, metavar="N", help="timed for each; default 20"
    )
    parser.add_argument("--beam", type=positive, default=1, metavar="N", help="default 1, greedy")
    add_run(parser)


def run(options: argparse.Namespace) -> None:
    """Measure, systems taking turns, and print the table."""
    import workbench as wb

    models = [wb.load(path) for path in options.checkpoints]
    if bool(options.source) != bool(options.target):
        raise wb.WorkbenchError("-s and -t belong together: give both languages, or neither.")
    task = models[0].task(options.source, options.target) if options.source else None
    frame = wb.benchmark(
        models,
        options.batch_sizes,
        source=task.source if task else None,
        target=task.target if task else None,
        beam_size=options.beam,
        batches=options.batches,
        progress=progress("timed"),
    ).to_frame()
    if options.json:
        print_json(frame.to_dict(orient="records"))
    else:
        print(frame.to_string(index=False, float_format=lambda value: f"{value:.2f}"))
