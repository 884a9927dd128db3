"""`workbench extract`: the sub-network of a task, proved before it is written."""

from __future__ import annotations

import argparse
import shlex
import sys

from workbench.cli.options import add_checkpoint, add_run, print_json, progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_checkpoint(parser)
    parser.add_argument(
        "--task", action="append", required=True, metavar="A-B", help="e.g. en-de; one, for now"
    )
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="new directory")
    parser.add_argument(
        "--layout",
        choices=("auto", "m2m100"),
        default="auto",
        help="m2m100: refuse unless the result is wholly dense, as M2M100 is; auto (default): m2m100 if so",
    )
    parser.add_argument(
        "--stored", choices=("float32", "bfloat16"), default="float32", help="weights on disk"
    )
    add_run(parser)


def run(options: argparse.Namespace) -> int:
    """Extract, prove on the captions in the package, write, and print the proof."""
    from pathlib import Path

    import workbench as wb
    from workbench.evaluation.testset import read_corpus

    place = Path(options.output)
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise wb.WorkbenchError(f"{place} exists and is not empty: choose another place.")
    model = wb.load(options.checkpoint)
    small = wb.extract(model, options.task, name=place.name)
    if options.layout == "m2m100" and not small.config.is_dense:
        raise wb.WorkbenchError(
            f"The sub-network of {options.task[0]} keeps the experts of a stack that is not routed by task, and M2M100"
            " has none: leave out --layout m2m100."
        )
    (task,) = small.config.tasks
    sources = read_corpus("captions", (task.source,)).lines[task.source]
    proof = wb.prove(model, small, sources, task, progress=progress("proving"))
    if not proof.holds:
        raise wb.WorkbenchError(f"Nothing was written: {proof}.")
    small.provenance |= {
        "command": shlex.join(["workbench", *sys.argv[1:]]),
        "proof": proof.to_json() | {"on": "the captions in the package, greedy search"},
    }
    small.save(place, options.stored)
    if options.json:
        print_json({"output": str(place), "proof": proof.to_json()})
    else:
        print(proof)
        print(f"written to {place}")
    return 0
