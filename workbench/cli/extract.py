"""`workbench extract`: the sub-network of tasks, with the proof that it does the same."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.cli.options import check_free, choose_device, new_command, positive, read_input
from workbench.cli.output import ProgressLine, note
from workbench.cli.part import whole_part, write_json
from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    from workbench.config import ModelConfig
    from workbench.subnetworks.proof import Proof
    from workbench.tasks import Task


def add_parser(commands: Any) -> None:
    """Add this command."""
    parser = new_command(
        commands,
        "extract",
        run,
        "Cut out the sub-network of a task, prove that it does the same, and save it.",
    )
    parser.add_argument("checkpoint", metavar="CKPT", help="checkpoint directory or hub id")
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


class _NotProvedError(Exception):
    """What was written is not to stay."""


def run(args: argparse.Namespace) -> int:
    """Extract, prove, save; without a proof nothing is saved."""
    choose_device(args)
    check_free(args.output)
    from workbench.checkpoint.hub import find_checkpoint, name_of
    from workbench.checkpoint.selection import Selection
    from workbench.decoding.opening import open_checkpoint
    from workbench.decoding.programs import enable_compilation_cache
    from workbench.decoding.translator import Translator
    from workbench.subnetworks.extract import checked_tasks, made_for
    from workbench.subnetworks.from_disk import DiskExtraction
    from workbench.subnetworks.proof import prove

    enable_compilation_cache()
    directory = find_checkpoint(args.checkpoint)
    config, tokenizer = open_checkpoint(directory)
    name = name_of(args.checkpoint, directory)
    tasks = checked_tasks(config, args.task, name) if args.layout != "m2m100" else None
    if tasks is None:
        tasks = _dense_tasks(config, args.task, name)
    sources = {task: read_input(args.proof) if args.proof else _captions(task) for task in tasks}
    extraction = DiskExtraction(Selection(directory, config), tasks, name)
    if args.layout == "m2m100" and not extraction.config.is_dense:
        raise WorkbenchError(
            "The result would not be dense: these tasks share no router key, so something is left to choose."
            " Extract them one by one, or leave --layout m2m100 out."
        )
    kept = extraction.kept
    facts = {"kept_experts": next(iter(kept.values())) if len(kept) == 1 else kept}
    made = made_for(name, extraction.tasks)
    proofs: list[Proof] = []
    try:
        with whole_part(
            args, "extract", directory, name, extraction.config, tokenizer, made, facts
        ) as place:
            extraction.write(place)
            small = Translator.load(place)
            parent = Translator(name, config, tokenizer, extraction.parent_network())
            for task in tasks:
                with ProgressLine(f"{task}: sentences compared") as progress:
                    proofs.append(
                        prove(parent, small, sources[task], task, args.batch_size, progress)
                    )
            if not all(proof.holds for proof in proofs):
                raise _NotProvedError
            _write_proofs(args, place, proofs)
    except _NotProvedError:
        pass
    held = all(proof.holds for proof in proofs)
    tables = [proof.to_json() for proof in proofs]
    if args.json:
        result = {"output": args.output if held else None, "proofs": tables}
        print(json.dumps((tables[0] if len(tables) == 1 else {}) | result))
    else:
        print("\n".join(map(str, proofs)))
    for proof in proofs:
        if not proof.holds:
            problem = proof.objection.removesuffix(".")
            note(f"error: {problem}: nothing was written to {args.output}.")
    return 0 if held else 1


def _write_proofs(args: argparse.Namespace, place: Path, proofs: list[Proof]) -> None:
    """`proof.json`, and the same in the provenance and, in words, in the card."""
    from workbench.checkpoint import CARD, PROVENANCE

    tables = [proof.to_json() | {"text": args.proof or "captions"} for proof in proofs]
    write_json(place / "proof.json", tables)
    record = json.loads((place / PROVENANCE).read_text(encoding="utf-8"))
    write_json(place / PROVENANCE, record | {"proof": tables[0] if len(tables) == 1 else tables})
    with (place / CARD).open("a", encoding="utf-8") as card:
        card.write("\n\n## Proof\n\n" + "\n".join(f"* {proof}" for proof in proofs) + "\n")


def _dense_tasks(config: ModelConfig, written: Sequence[str], name: str) -> list[Task]:
    """The tasks, where extracting them can give a wholly dense network."""
    from workbench.subnetworks.extract import checked_tasks
    from workbench.tasks import parse_task

    _check_dense(config, [parse_task(text, config.languages) for text in written])
    return checked_tasks(config, written, name)


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
