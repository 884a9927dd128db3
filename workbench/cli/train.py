"""`workbench train`: a checkpoint from a recipe."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.cli.options import choose_device, new_command
from workbench.cli.output import ProgressLine, note
from workbench.errors import WorkbenchError
from workbench.wording import duration

if TYPE_CHECKING:
    from workbench.training.metrics import Progress
    from workbench.training.recipe import Recipe

_CHECKPOINT = "checkpoint"


def add_parser(commands: Any) -> None:
    """Add this command."""
    parser = new_command(
        commands,
        "train",
        run,
        "Train as a recipe says. The same command goes on with a run that was interrupted; with more run.steps, where"
        " objective.schedule is not linear, also with one that is finished.",
    )
    parser.add_argument(
        "recipe", metavar="CONFIG", help="recipe, a TOML file; docs/recipes.md lists its keys"
    )
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="DIR",
        help=f"the run: metrics.jsonl, resumable states and, at the end, {_CHECKPOINT}/",
    )
    add_run_options(parser)


def add_recipe_options(parser: argparse.ArgumentParser) -> None:
    """What may be said beside a recipe: `--set`, `--data` and `--mesh`."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="settings",
        metavar="KEY=VALUE",
        help="a value instead of the recipe's, such as model.encoder_routing=token; as often as wanted",
    )
    parser.add_argument(
        "--data", metavar="DIR", help="where the text lies, instead of the recipe's data.directory"
    )
    parser.add_argument(
        "--mesh",
        metavar="data=4,expert=2",
        help="devices: batches are spread over both axes, experts over the second; instead of run.mesh",
    )


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """`add_recipe_options` and `--distributed`."""
    add_recipe_options(parser)
    parser.add_argument(
        "--distributed",
        nargs="?",
        const="auto",
        metavar="HOST:PORT,COUNT,INDEX",
        help="this is one of several processes: where the first listens, how many, which one; nothing where"
        " JAX finds them by itself (TPU pods, Slurm, Open MPI, Kubernetes)",
    )


def run(args: argparse.Namespace) -> None:
    """Train, then write the checkpoint with its card and provenance."""
    follow(args, recipe_of(args))


def recipe_of(args: argparse.Namespace) -> Recipe:
    """The recipe that the arguments name, with all they say beside it."""
    from workbench.training.recipe import read_recipe

    settings = list(args.settings)
    for key, value in (("data.directory", args.data or None), ("run.mesh", args.mesh)):
        if value is not None:
            settings.append(f"{key}={json.dumps(value)}")  # a text in TOML too
    return read_recipe(args.recipe, settings)


def follow(
    args: argparse.Namespace,
    recipe: Recipe,
    operation: str = "train",
    parents: Sequence[Any] | None = None,
) -> None:
    """Follow the recipe in `args.output`, or go on there, and write the checkpoint.

    operation, parents: what its provenance says of this; by default the checkpoint it starts from, if any.
    """
    from workbench.training.recipe import recipe_table

    if parents is None:
        parents = [recipe.run.start_from] if recipe.run.start_from else []
    output = Path(args.output)
    place = output / _CHECKPOINT
    extends = place.exists() and not _check_same(place, recipe)
    if place.exists() and not extends:
        note(f"{place} is finished already: nothing to do.")
        _print(args, place, _scores_of(place))
        return
    from workbench.training.memory import keep_freed_memory

    keep_freed_memory()  # before JAX is first used
    choose_device(args)
    from workbench.decoding.programs import enable_compilation_cache
    from workbench.training.loop import train
    from workbench.training.mesh import is_first, join, wait_for_all
    from workbench.training.metrics import read_metrics, training_seconds

    if args.distributed:
        join(args.distributed)
    enable_compilation_cache()
    if not is_first():
        train(recipe, output)
        wait_for_all("checkpoint")
        return
    with ProgressLine("steps") as line:
        model = train(recipe, output, shown_on(line), note)
    lines = read_metrics(output / "metrics.jsonl")
    scores: dict[str, float] = next(
        (x["valid_bleu"] for x in reversed(lines) if "valid_bleu" in x), {}
    )
    seconds = training_seconds(lines)
    from workbench.cli.provenance import made_by

    model.provenance = {
        "operation": operation,
        **made_by(args.command_line, seconds),
        "recipe": json.loads(json.dumps(recipe_table(recipe))),
        "valid_bleu": scores,
        "parents": parents,
    }
    model.card = _card(recipe, place, args.command_line, seconds, scores)
    if extends:
        _put_aside(place)
    model.save(place)
    wait_for_all("checkpoint")
    _print(args, place, scores)


def _print(args: argparse.Namespace, place: Path, scores: dict[str, float]) -> None:
    if args.json:
        print(json.dumps({"checkpoint": str(place), "valid_bleu": scores}))
    else:
        print(place)


def _check_same(place: Path, recipe: Recipe) -> bool:
    """Refuse to pass off the finished run of another recipe as this one's; False where it has more steps to go."""
    from workbench.training.recipe_changes import changes, in_words, refused, way_on
    from workbench.training.state import latest_step

    kept = _recipe_of(place)
    if kept is None:
        raise WorkbenchError(
            f"{place} was made by another recipe: choose another directory with -o."
        )
    different = changes(kept, recipe)
    found = refused(kept, recipe, kept.run.steps)
    # Free while a run goes on; but this one is finished, and would be passed off as the run of another text or name.
    own = ("name", "about") if "run.steps" in different else ("name", "about", "data.directory")
    found |= {key: pair for key, pair in different.items() if key in own}
    if found:
        raise WorkbenchError(
            f"{place} was made by another recipe: {in_words(found)}. {way_on(place.parent, found)}"
        )
    if "run.steps" not in different:
        return True
    if latest_step(place.parent / "state") is None:
        raise WorkbenchError(
            f"{place} cannot go on to step {recipe.run.steps:,}: there is no state in {place.parent / 'state'}."
            f" {way_on(place.parent, ())}"
        )
    return False


def _recipe_of(place: Path) -> Recipe | None:
    from workbench.training.recipe import recipe_from

    try:
        return recipe_from(_provenance(place)["recipe"])
    except (OSError, ValueError, KeyError, TypeError, WorkbenchError):
        return None


def _scores_of(place: Path) -> dict[str, float]:
    """The validation BLEU of a finished run."""
    try:
        return dict(_provenance(place).get("valid_bleu", {}))
    except (OSError, ValueError, AttributeError):
        return {}


def _provenance(place: Path) -> Any:
    return json.loads((place / "provenance.json").read_text(encoding="utf-8"))


def _put_aside(place: Path) -> None:
    """Keep the checkpoint of a run that went on beside the new one."""
    kept = _recipe_of(place)
    aside = place.with_name(f"{place.name}-step-{kept.run.steps if kept else 'before'}")
    place.rename(aside)
    note(f"the checkpoint from before is now {aside}.")


def shown_on(line: ProgressLine) -> Callable[[Progress], None]:
    """Shows the reports of a run; what became of its text stays on the screen."""

    def show(progress: Progress) -> None:
        if "pairs" in progress.metrics:
            from workbench.training.filtering import summary

            note(f"training on {summary(progress.metrics['pairs'])}")
        else:
            line.show(_progress(progress))

    return show


def _progress(progress: Progress) -> str:
    text = f"step {progress.step:,} of {progress.steps:,}"
    if progress.seconds_left is not None:
        text += f", {duration(progress.seconds_left)} left"
    metrics = progress.metrics
    if "nats" in metrics:
        text += f", {metrics['nats']:.3f} nats a token"
    if "tokens_per_second" in metrics:
        text += f", {metrics['tokens_per_second']:,.0f} tokens/s"
    if "valid_bleu" in metrics:
        text += f", validation BLEU {metrics['valid_bleu']['average']:.1f}"
    return text


def _card(
    recipe: Recipe, place: Path, command: str, seconds: float, scores: dict[str, float]
) -> str:
    from workbench.checkpoint.model_card import model_card, terms_of
    from workbench.cli.provenance import hardware
    from workbench.training.recipe import recipe_table
    from workbench.training.recipe_file import to_toml
    from workbench.wording import counted

    model, data = recipe.model, recipe.data
    routing = f"encoder {model.encoder_routing}, decoder {model.decoder_routing}"
    return model_card(
        recipe.name,
        summary=f"A translation model of the Task-MoE workbench (routing: {routing}), trained from"
        f" {recipe.run.start_from or 'a random start'}, for {counted(len(recipe.tasks), 'direction')}."
        f" {recipe.about}".rstrip(),
        languages=recipe.languages,
        terms=terms_of(data.directory),
        tasks=recipe.tasks,
        place=str(place),
        recipe=to_toml(recipe_table(recipe)),
        command=command,
        hardware=hardware(),
        seconds=seconds,
        scores={"BLEU": scores} if scores else None,
        scored_on=f"sacreBLEU on the first {counted(recipe.run.valid_sentences, 'sentence')} of `{data.valid}`, greedy.",
    )
