"""`workbench routes`: the tidy routing table of sentences."""

from __future__ import annotations

import argparse
import json
from typing import Any

from workbench.cli.options import add_direction, load_model, new_command, positive, read_input
from workbench.cli.output import ProgressLine, check_file
from workbench.cli.tracing import SUFFIXES, check_suffix, save_routes, warn_of_cut
from workbench.errors import WorkbenchError
from workbench.wording import counted


def add_parser(commands: Any) -> None:
    """Add this command."""
    parser = new_command(
        commands,
        "routes",
        run,
        "Write the tidy routing table: a row a sentence, layer, token and chosen expert.",
    )
    parser.add_argument("checkpoint", metavar="CKPT", help="checkpoint directory")
    add_direction(parser)
    parser.add_argument(
        "-i", "--input", required=True, metavar="FILE", help="source sentences, or - for stdin"
    )
    parser.add_argument(
        "-r",
        "--reference",
        metavar="FILE",
        help="trace these translations instead of the model's own",
    )
    parser.add_argument(
        "-o", "--output", required=True, metavar="FILE", help=f"a table: {', '.join(SUFFIXES)}"
    )
    parser.add_argument("--batch-size", type=positive, default=32, metavar="N", help="default: 32")


def run(args: argparse.Namespace) -> None:
    """Trace and write."""
    check_suffix(args.output)
    check_file(args.output)
    sources = read_input(args.input)
    references = read_input(args.reference) if args.reference else None
    if references is not None and len(references) != len(sources):
        raise WorkbenchError(
            f"{args.input} has {counted(len(sources), 'line')} but {args.reference} has {len(references)}. Line n of the"
            " one must be the translation of line n of the other."
        )
    model = load_model(args)
    from workbench.routing.trace import trace_routes

    done = "sentences traced" if references else "sentences translated and traced"
    with ProgressLine(done) as progress:
        routes = trace_routes(
            model, sources, args.source, args.target, references, args.batch_size, progress
        )
    warn_of_cut(model, routes)
    save_routes(routes, args.output)
    result = {
        "output": args.output,
        "rows": len(routes.frame),
        "sentences": len(sources),
        "layers": {stack: list(layers) for stack, layers in routes.layers.items()},
        "experts": routes.experts,
    }
    if args.json:
        print(json.dumps(result, ensure_ascii=False))
    else:
        print(
            f"{args.output}: {counted(len(routes.frame), 'row')}, of {counted(len(sources), 'sentence')}"
        )
