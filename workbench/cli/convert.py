"""`workbench convert`: `.bin` weights made into safetensors, once, on demand."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from workbench.cli.options import check_free, choose_device, new_command


def add_parser(commands: Any) -> None:
    """Add this command."""
    parser = new_command(
        commands,
        "convert",
        run,
        "Make a checkpoint with safetensors of one whose weights are pytorch_model*.bin.",
    )
    parser.add_argument("checkpoint", metavar="SRC", help="directory or hub id")
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="the new checkpoint")


def run(args: argparse.Namespace) -> None:
    """Convert, and check that the result can be loaded before it takes its name."""
    check_free(args.output)
    choose_device(args)
    from workbench.checkpoint.directory import check_weights
    from workbench.checkpoint.hub import PICKLED_FILES, find_checkpoint
    from workbench.checkpoint.pickled_weights import convert
    from workbench.cli.provenance import made_by
    from workbench.decoding.opening import open_checkpoint

    source = find_checkpoint(args.checkpoint, PICKLED_FILES)
    stored: tuple[str, ...] = ()

    def check(directory: Path) -> None:
        nonlocal stored
        config, _ = open_checkpoint(directory)
        stored = check_weights(directory, config)

    record = made_by(args.command_line) | {
        "operation": "convert",
        "parents": [{"name": args.checkpoint}],
    }
    convert(source, Path(args.output), check, record)
    result = {"output": args.output, "stored_as": list(stored)}
    print(
        json.dumps(result)
        if args.json
        else f"{args.output}: safetensors, {', '.join(stored)}, ready to load."
    )
