"""Make the bundled checkpoints from finished runs: small on disk, with a card that says how well they translate.

    python -m benchmarks.results.bundle runs/captions-* --data data/multi30k

What is scored is what is shipped: the weights as they are stored, read back. The trunk, from which the others start,
goes beside the recipes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.results.score import training_of
from workbench.checkpoint.model_card import model_card, terms_of
from workbench.decoding.translator import Translator
from workbench.evaluation.quality import evaluate, metric_in_words
from workbench.evaluation.testset import load_testset
from workbench.training.recipe import recipe_from
from workbench.training.recipe_file import to_toml

ROOT = Path(__file__).parents[2]


def main(arguments: Sequence[str] | None = None) -> None:
    """Bundle each run under the name of its recipe, in place of what has that name."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--data", type=Path, default=Path("data/multi30k"))
    parser.add_argument("--split", default="test_2016_flickr")
    parser.add_argument("-o", "--output", type=Path, default=ROOT, help="has checkpoints, recipes")
    args = parser.parse_args(arguments)
    for run in args.runs:
        place = bundle(run, args.data, args.split, args.output)
        size = sum(file.stat().st_size for file in place.iterdir())
        print(f"{place}: {size / 2**20:.1f} MiB", file=sys.stderr)


def bundle(run: Path, data: Path, split: str, root: Path) -> Path:
    """Store, read back, score, write the card, and only then take the old checkpoint's place."""
    model = Translator.load(run / "checkpoint")
    output = root / ("recipes" if _is_trunk(model.provenance["recipe"]) else "checkpoints")
    # What other tools shall open as it is stays in a format that they read.
    stored = "bfloat16" if model.config.is_dense else "int8"
    with tempfile.TemporaryDirectory(dir=output, prefix=".new-") as temporary:
        first = Path(temporary) / "scored"
        model.save(first, stored)
        scores, signatures = scores_of(Translator.load(first), data, split)
        model.card = card(
            model, stored, training_of(run)["training_seconds"], scores, signatures, split
        )
        made = Path(temporary) / "made"
        model.save(made, stored)
        place = output / model.provenance["recipe"]["name"]
        if place.exists():
            place.rename(Path(temporary) / "replaced")
        made.rename(place)
    return place


def scores_of(
    model: Translator, data: Path, split: str
) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Metric -> task, with "average" first -> score; and sacreBLEU's signatures."""
    testsets = [load_testset(data, task, split) for task in model.config.directions]
    found = evaluate(model, testsets, batch_size=64, resamples=0).to_frame()
    scores = {}
    for metric, rows in found.groupby("metric", sort=False):
        by_task = dict(zip(rows["task"], rows["score"], strict=True))
        scores[metric_in_words(str(metric))] = {
            "average": sum(by_task.values()) / len(by_task),
            **by_task,
        }
    return scores, sorted(set(found["signature"]))


def card(
    model: Translator,
    stored: str,
    seconds: float,
    scores: dict[str, dict[str, float]],
    signatures: Sequence[str],
    split: str,
) -> str:
    """The card of a bundled checkpoint."""
    made = model.provenance
    recipe = recipe_from(made["recipe"])
    routing = recipe.model
    is_trunk = _is_trunk(made["recipe"])
    what = (
        "Dense, trained at a constant learning rate: not to translate with, but to start others from."
        if is_trunk
        else "A dense baseline without experts."
        if model.config.is_dense
        else f"Experts in every {_nth(routing.sparse_step)} layer of both stacks, {routing.experts} a layer,"
        f" {routing.top_k} of them chosen by {routing.encoder_routing} in the encoder and by"
        f" {routing.decoder_routing} in the decoder."
    )
    if made["operation"] == "distill":
        what = f"A dense student. {_teacher(made)}"
    return model_card(
        recipe.name,
        summary=f"{what} For {len(recipe.tasks)} directions, to and from English; it translates captions of"
        f" photographs, and little else. Weights stored as {stored}.",
        languages=recipe.languages,
        terms=terms_of(recipe.data.directory),
        tasks=recipe.tasks,
        place=f"{'recipes' if is_trunk else 'checkpoints'}/{recipe.name}",
        recipe=to_toml(made["recipe"]),
        command=made["command"],
        hardware=made["hardware"]
        + ("" if is_trunk else "; without the trunk that all start from, `recipes/captions-trunk`"),
        seconds=seconds,
        scores=scores,
        scored_on=f"Multi30k {split}, 1,000 sentences a direction, greedy search, of the weights as stored here."
        f" sacreBLEU: {', '.join(f'`{one}`' for one in signatures)}.",
    )


def _is_trunk(recipe: dict[str, Any]) -> bool:
    return not recipe["run"].get("start_from")


def _nth(step: int) -> str:
    return {1: "", 2: "second"}.get(step, f"{step}th")


def _teacher(made: dict[str, Any]) -> str:
    averages = {
        name: sum(scores.values()) / len(scores)
        for name, scores in made["distillation"]["bleu"].items()
    }
    shown = ", ".join(f"{name} {value:.1f}" for name, value in averages.items())
    return (
        f"It learned the translations of `{made['parents'][0]['name']}` instead of the references"
        f" (sequence-level distillation, Kim and Rush 2016). BLEU on validation sentences: {shown}."
    )


if __name__ == "__main__":
    main()
