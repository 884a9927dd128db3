"""`workbench export`: a dense checkpoint for another engine."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from workbench.cli.options import check_free, choose_device, new_command
from workbench.engines.packages import QUANTIZATIONS


def add_parser(commands: Any) -> None:
    """Add this command."""
    parser = new_command(
        commands,
        "export",
        run,
        "Write a dense checkpoint, such as an extracted sub-network, for another engine.",
    )
    parser.add_argument("checkpoint", metavar="CKPT", help="checkpoint directory or hub id")
    parser.add_argument("--to", choices=("ctranslate2",), required=True, help="the engine")
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="a new directory")
    parser.add_argument(
        "--quantization",
        choices=QUANTIZATIONS,
        default="float32",
        help="how weights are stored (default: float32)",
    )


def run(args: argparse.Namespace) -> None:
    """Convert and say what was written."""
    check_free(args.output)
    choose_device(args)
    from workbench.checkpoint.directory import read_config
    from workbench.checkpoint.hub import find_checkpoint
    from workbench.decoding.translator import Translator
    from workbench.engines.export import check_dense, export
    from workbench.engines.packages import need

    # Before weights are read, which may take long.
    directory = find_checkpoint(args.checkpoint)
    check_dense(read_config(directory), args.checkpoint)
    need(args.to)
    export(Translator.load(args.checkpoint), args.output, args.quantization)
    size = sum(file.stat().st_size for file in Path(args.output).iterdir())
    result = {"output": args.output, "quantization": args.quantization, "bytes": size}
    print(json.dumps(result) if args.json else f"{args.output}: {size:,} bytes.")
