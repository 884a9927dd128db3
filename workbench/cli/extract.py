"""`workbench extract`: the sub-network of tasks, with the proof that it does the same."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.cli.options import check_free, load_models, new_command, positive, read_input
from workbench.cli.output import ProgressLine, note
from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    from workbench.config import ModelConfig
    from workbench.tasks import Task


def add_parser(commands: Any) -> None:
    """Add this command."""
    parser = new_command(
        commands,
        "extract",
        run,
        "Cut out the sub-network of a task, prove that it does the same, and save it.",
    )
    parser.add_argument("checkpoint", metavar="CKPT", help="checkpoint directory")
    parser.add_argument(
        "--task",
        action="append",
        required=True,
        metavar="A-B",
        help="e.g. en-de; once for each task",
    )
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="the new checkpoint")
    parser.add_argument(
        "--layout",
        choices=("auto", "m2m100"),
        default="auto",
        help="m2m100: insist on a wholly dense result, which other tools read as an M2M100 model",
    )
    parser.add_argument(
        "--proof",
        metavar="FILE",
        help="sentences to prove it on (default: the captions in the package)",
    )
    parser.add_argument("--batch-size", type=positive, default=32, metavar="N", help="default: 32")


def run(args: argparse.Namespace) -> int:
    """Extract, prove, save; without a proof nothing is saved."""
    check_free(args.output)
    from workbench.checkpoint.hub import find_checkpoint
    from workbench.decoding.opening import open_checkpoint
    from workbench.tasks import parse_task

    directory = find_checkpoint(args.checkpoint)
    config, _ = open_checkpoint(directory)
    tasks = list(dict.fromkeys(parse_task(text, config.languages) for text in args.task))
    for task in tasks:
        config.check_task(task)
    if args.layout == "m2m100":
        _check_dense(config, tasks)
    [model] = load_models(args, [args.checkpoint], ("float32",))
    from workbench.checkpoint.tensor_files import weight_files
    from workbench.cli.provenance import made_by, sha256
    from workbench.subnetworks.extract import extract
    from workbench.subnetworks.proof import prove

    small = extract(model, tasks, name=Path(args.output).resolve().name)
    [task] = tasks
    sources = read_input(args.proof) if args.proof else _captions(task)
    with ProgressLine("sentences compared") as progress:
        proof = prove(model, small, sources, task, args.batch_size, progress)
    parent = {"name": model.name, "sha256": sha256(*weight_files(directory))}
    small.provenance = {
        **small.provenance,
        **made_by(args.command_line),
        "parents": [{**parent, "provenance": model.provenance}],
        "proof": proof.to_json() | {"text": args.proof or "captions"},
    }
    if proof.holds:
        small.save(args.output)
    if args.json:
        print(
            json.dumps(small.provenance["proof"] | {"output": args.output if proof.holds else None})
        )
    else:
        print(proof)
    if not proof.holds:
        note(
            f"error: {proof.different} sentences differ from {model.name}'s, e.g. number"
            f" {proof.differing[0]}: nothing was written to {args.output}."
        )
    return 0 if proof.holds else 1


def _check_dense(config: ModelConfig, tasks: list[Task]) -> None:
    from workbench.subnetworks.extract import folded_config

    for task in tasks:
        for name, stack in folded_config(config, task).stacks:
            if stack.router is not None:
                raise WorkbenchError(
                    f"The result would not be dense: the {name} is routed by {stack.router.granularity},"
                    " so any of its experts may be needed. Leave --layout m2m100 out to keep them."
                )


def _captions(task: Task) -> list[str]:
    from workbench.evaluation.testset import CAPTIONS, read_corpus

    lines = read_corpus(CAPTIONS).lines
    if task.source not in lines:
        raise WorkbenchError(
            f"The captions in the package are in {', '.join(lines)}, not in {task.source}. Give sentences to"
            " prove it on with --proof FILE."
        )
    return list(lines[task.source])
