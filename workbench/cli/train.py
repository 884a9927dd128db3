"""`workbench train`: follow a recipe; run the same command again to resume."""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import sys
import time
from pathlib import Path
from typing import Any

from workbench.cli.options import add_run, print_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("recipe", metavar="CONFIG", help="a recipe in TOML, see recipes/")
    parser.add_argument("-o", "--output", metavar="DIR", help="of the run; default runs/NAME")
    parser.add_argument(
        "--data", metavar="DIR", help="parallel text, instead of the recipe's data.directory"
    )
    parser.add_argument(
        "--stored", choices=("float32", "bfloat16"), default="bfloat16", help="weights on disk"
    )
    add_run(parser)


def run(options: argparse.Namespace) -> None:
    """Train, write the checkpoint with its card, and say where it is."""
    import workbench as wb
    from workbench.training.loop import train
    from workbench.training.recipe import read_recipe

    recipe = read_recipe(options.recipe)
    if options.data:
        data = dataclasses.replace(recipe.data, directory=options.data)
        recipe = dataclasses.replace(recipe, data=data)
    output = Path(options.output or f"runs/{recipe.name}")
    if (output / "checkpoint").exists():
        raise wb.WorkbenchError(
            f"{output / 'checkpoint'} exists: this run is finished. Choose another -o."
        )
    model = train(recipe, output, _report)
    publish(
        model,
        output,
        Path(options.recipe),
        options.stored,
        shlex.join(["workbench", *sys.argv[1:]]),
    )
    if options.json:
        print_json(
            {"checkpoint": str(output / "checkpoint"), "metrics": str(output / "metrics.jsonl")}
        )
    else:
        print(output / "checkpoint")


def publish(model: Any, output: Path, recipe: Path, stored: str, command: str) -> None:
    """Write `output/checkpoint` with a card that says how the model was made and what it scored."""
    import hashlib
    from importlib.metadata import version

    from workbench.checkpoint.model_card import model_card, terms_of
    from workbench.evaluation.speed import device_name
    from workbench.training.metrics import read_metrics

    lines = read_metrics(output / "metrics.jsonl")
    table = next(line["recipe"] for line in lines if "recipe" in line)
    seconds = working_seconds([line["time"] for line in lines])
    scores = next((line["valid_bleu"] for line in reversed(lines) if "valid_bleu" in line), {})
    text = recipe.read_text(encoding="utf-8")
    model.card = model_card(
        model.name,
        summary=f"Translates {len(model.config.directions)} directions, trained by the Task-MoE workbench.",
        languages=model.config.languages,
        terms=terms_of(table["data"]["directory"]),
        recipe=text,
        command=command,
        hardware=device_name(),
        seconds=seconds,
        scores={"BLEU": scores} if scores else None,
        scored_on="Greedy search, the first"
        f" {table['run']['valid_sentences']} sentences a direction of the validation split.",
    )
    packages = ("jax", "jaxlib", "flax", "optax", "sentencepiece", "sacrebleu")
    model.provenance = {
        "operation": "train",
        "command": command,
        "recipe": table,
        "recipe_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "steps": lines[-1]["step"],
        "seconds": round(seconds),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "versions": {name: version(name) for name in packages},
        "parents": [table["run"]["start_from"]] if table["run"]["start_from"] else [],
    }
    model.save(output / "checkpoint", stored)


def working_seconds(times: list[float]) -> float:
    """Seconds between reports, without the pauses of a run that was stopped and resumed."""
    gaps = [after - before for before, after in zip(times, times[1:], strict=False)]
    usual = sorted(gaps)[len(gaps) // 2] if gaps else 0.0
    return sum(gap if gap < 10 * usual + 60 else usual for gap in gaps)


def _report(progress: Any) -> None:
    metrics, left = progress.metrics, progress.seconds_left
    time_left = "" if left is None else f", {left / 60:.0f} min left"
    head = f"step {progress.step} of {progress.steps}{time_left}: "
    if "nats" in metrics:
        words = f"{metrics['nats']:.3f} nats a token, {metrics['tokens_per_second']:,.0f} tokens/s"
    elif "valid_bleu" in metrics:
        words = f"validation {metrics['valid_nats']['average']:.3f} nats, BLEU {metrics['valid_bleu']['average']:.1f}"
    else:
        words = f"{metrics.get('dropped_pairs', 0)} pairs left out (empty or too long)"
    print(head + words, file=sys.stderr, flush=True)
