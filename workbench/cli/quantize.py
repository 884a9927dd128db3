"""`workbench quantize`: a checkpoint with int8 weights, and what that costs in BLEU."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.cli.options import check_free, choose_device, new_command, positive
from workbench.cli.output import ProgressLine, note
from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    from workbench.decoding.translator import Translator


def add_parser(commands: Any) -> None:
    """Add this command."""
    parser = new_command(
        commands,
        "quantize",
        run,
        "Store weights as int8, one scale an output channel; prints size and BLEU before and after.",
        description="Store weights as int8 with one float32 scale an output channel (routers, norms and biases stay"
        " float32). This saves disk and transfer: a load widens them to float32 again, so it computes as before,"
        " in as much memory.",
    )
    parser.add_argument("checkpoint", metavar="CKPT", help="checkpoint directory or hub id")
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="the new checkpoint")
    parser.add_argument(
        "--limit", type=positive, metavar="N", help="score on the first N captions (default: all)"
    )
    parser.add_argument("--no-bleu", action="store_true", help="do not translate before and after")
    parser.add_argument("--batch-size", type=positive, default=32, metavar="N", help="default: 32")


def run(args: argparse.Namespace) -> None:
    """Quantise, save, load again and compare."""
    check_free(args.output)
    choose_device(args)
    from workbench.checkpoint.directory import check_weights, read_config
    from workbench.checkpoint.hub import find_checkpoint, name_of
    from workbench.checkpoint.tensor_files import weight_files
    from workbench.cli.provenance import made_by, sha256
    from workbench.decoding.translator import Translator
    from workbench.subnetworks.lineage import card_with_parent

    source, target = find_checkpoint(args.checkpoint), Path(args.output)
    if "int8" in check_weights(source, read_config(source)):
        raise WorkbenchError(
            f"{args.checkpoint} is stored as int8 already: quantise the checkpoint that it was made from."
        )
    model = Translator.load(args.checkpoint)
    parent = {"name": name_of(args.checkpoint, source), "sha256": sha256(*weight_files(source))}
    model.provenance = made_by(args.command_line) | {
        "operation": "quantize",
        "parents": [{**parent, "provenance": model.provenance}],
    }
    name = target.resolve().name
    made = f"`{parent['name']}` with its weights stored as int8 by the Task-MoE workbench."
    model.card = card_with_parent(name, made, model.card, model.config.directions)
    model.save(target, dtype="int8")
    sizes = [sum(file.stat().st_size for file in weight_files(place)) for place in (source, target)]
    scores = (
        {}
        if args.no_bleu
        else _scores([model, Translator.load(target)], args.limit, args.batch_size)
    )
    result = {
        "output": args.output,
        "bytes": {"before": sizes[0], "after": sizes[1]},
        "bleu": {
            task: {"before": before, "after": after} for task, (before, after) in scores.items()
        },
    }
    print(json.dumps(result) if args.json else _text(result))


def _scores(
    models: list[Translator], limit: int | None, batch_size: int
) -> dict[str, tuple[float, float]]:
    """BLEU of both models on the packaged captions, by task; nothing where those have none of the tasks."""
    from workbench.evaluation.quality import evaluate
    from workbench.evaluation.testset import CAPTIONS, load_testset, read_corpus

    known = set(models[0].config.languages)
    tasks = [
        task
        for task in read_corpus(CAPTIONS).tasks
        if {task.source, task.target} <= known
        and (not models[0].config.tasks or task in models[0].config.tasks)
    ]
    if not tasks:
        note("the captions in the package are in none of its directions: there is no BLEU.")
        return {}
    found: dict[str, tuple[float, float]] = {}
    with ProgressLine("translated") as progress:
        for task in tasks:
            testset = load_testset(CAPTIONS, task, limit=limit)
            one, other = (
                evaluate(
                    model,
                    testset,
                    metrics=("bleu",),
                    batch_size=batch_size,
                    resamples=0,
                    progress=lambda done, total, task=task: progress(done, total, str(task)),  # type: ignore[misc]
                ).scores[0]
                for model in models
            )
            found[str(task)] = (one.score, other.score)
    return found


def _text(result: dict[str, Any]) -> str:
    from workbench.evaluation.tables import text_table

    before, after = result["bytes"]["before"], result["bytes"]["after"]
    scores = {
        task: (round(b["before"], 1), round(b["after"], 1)) for task, b in result["bleu"].items()
    }
    rows = [("bytes of weights", f"{before:,}", f"{after:,}", f"{after / before - 1:+.1%}")]
    rows += [
        # Of the scores as they are shown; in a format z makes -0.0 zero.
        (f"BLEU {task}", f"{one:.1f}", f"{other:.1f}", f"{other - one:+z.1f}")
        for task, (one, other) in scores.items()
    ]
    return text_table(("", "before", "int8", "difference"), rows)
