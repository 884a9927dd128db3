"""`workbench bench`: latency and throughput of checkpoints."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from workbench.cli.options import (
    SYSTEM,
    add_batch_sizes,
    add_direction,
    add_early_stopping,
    load_systems,
    new_command,
    positive,
    read_input,
)
from workbench.cli.output import ProgressLine
from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    from workbench.evaluation.speed import Speeds


def add_parser(commands: Any) -> None:
    """Add this command."""
    parser = new_command(
        commands,
        "bench",
        run,
        "Latency and throughput of checkpoints, measured in turn; tokenisation counts, compiling does not.",
    )
    parser.add_argument("checkpoints", metavar="CKPT", nargs="+", help=SYSTEM)
    add_direction(parser, required=False)
    parser.add_argument(
        "-i", "--input", metavar="FILE", help="sentences (default: the captions in the package)"
    )
    add_batch_sizes(parser, [1, 8, 64])
    parser.add_argument(
        "--batches", type=positive, default=20, metavar="N", help="timed for each (default: 20)"
    )
    parser.add_argument("--beam", type=positive, default=1, metavar="N", help="default: 1, greedy")
    add_early_stopping(parser)
    parser.add_argument(
        "--max-length", type=positive, metavar="N", help="tokens of a translation, at most"
    )


def run(args: argparse.Namespace) -> None:
    """Measure and print."""
    if (args.source is None) != (args.target is None):
        raise WorkbenchError("A direction needs both its languages: give -s and -t, or neither.")
    sentences = read_input(args.input) if args.input else None
    models = load_systems(args, args.checkpoints)
    from workbench.evaluation.speed import benchmark

    with ProgressLine("timed batches") as progress:
        speeds = benchmark(
            models,
            args.batch_sizes,
            sentences,
            args.source,
            args.target,
            args.beam,
            args.batches,
            args.max_length,
            progress,
            args.early_stopping,
        )
    if args.json:
        print(json.dumps(json.loads(speeds.to_frame().to_json(orient="records")), indent=2))
    else:
        print(_text(speeds))


def _text(speeds: Speeds) -> str:
    from workbench.evaluation.tables import text_table

    header = ("system", "batch size", "p50 ms", "p95 ms", "sentences/s", "tokens/s", "compile s")
    rows = [
        (
            one.system,
            str(one.batch_size),
            f"{one.p50_ms:.1f}",
            f"{one.p95_ms:.1f}",
            f"{one.sentences_per_second:.1f}",
            f"{one.tokens_per_second:.0f}",
            f"{one.compile_seconds:.1f}",
        )
        for one in speeds.speeds
    ]
    one = speeds.speeds[0]
    conditions = (
        f"{one.task}, {one.device}, {one.dtype}, beam {one.beam}, {one.threads} threads,"
        f" {one.batches} batches each, systems in turn; tokenisation counts, compiling does not."
    )
    return text_table(header, rows) + "\n\n" + conditions
