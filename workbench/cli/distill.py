"""`workbench distill`: a smaller student learns a teacher's translations."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.cli.options import add_decoding, choose_device, new_command, positive
from workbench.cli.output import ProgressLine, note, whole_file
from workbench.cli.train import add_recipe_options, recipe_of, shown_on
from workbench.errors import WorkbenchError
from workbench.wording import counted

if TYPE_CHECKING:
    from workbench.decoding.translator import Translator
    from workbench.training.distillation import Distillation
    from workbench.training.gain import DistillationReport

_CHECKPOINT, _REPORT = "checkpoint", "distillation.json"
#: What stands for a report with --testset none.
_NOTHING: dict[str, Any] = {"bleu": {}, "gain_preserved": {}, "scored_on": None}
_NOT_COMPARED = "Not compared (--testset none)."


def add_parser(commands: Any) -> None:
    """Add this command."""
    parser = new_command(
        commands,
        "distill",
        run,
        "Translate the training text with a teacher, train a student on it, and say how much of the gain it"
        " keeps. The same command goes on with a run that was interrupted.",
    )
    parser.add_argument("teacher", metavar="TEACHER", help="checkpoint directory")
    parser.add_argument("recipe", metavar="CONFIG", help="recipe of the student, a TOML file")
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="RUN",
        help=f"the run: distilled/, metrics.jsonl, states, {_REPORT} and, at the end, {_CHECKPOINT}/",
    )
    parser.add_argument(
        "--start-from-teacher",
        action="store_true",
        help="the student starts from the teacher's weights, the experts apart",
    )
    parser.add_argument("--baseline", metavar="CKPT", help="dense model to compare with")
    parser.add_argument("--task-moe", metavar="CKPT", help="task-routed model to compare with")
    parser.add_argument(
        "--testset",
        metavar="NAME",
        help="what to compare on: captions, a directory, a .tsv or a sacreBLEU name; none: no comparison (default:"
        " the recipe's validation text, all of it)",
    )
    parser.add_argument(
        "--testset-limit",
        type=positive,
        metavar="N",
        help="compare on its first N sentences of each direction only",
    )
    add_recipe_options(parser)
    parser.add_argument(
        "--limit",
        type=positive,
        metavar="N",
        help="translate the first N training sentences of each direction only",
    )
    add_decoding(parser)


def run(args: argparse.Namespace) -> None:
    """Translate, train, compare; then write the checkpoint with its card and provenance."""
    recipe = recipe_of(args)
    from workbench.training.memory import keep_freed_memory

    keep_freed_memory()  # before JAX is first used
    choose_device(args)
    from workbench.decoding.programs import enable_compilation_cache
    from workbench.training.distillation import Distillation
    from workbench.training.gain import BASELINE, TASK_MOE

    enable_compilation_cache()
    others = {BASELINE: args.baseline, TASK_MOE: args.task_moe}
    compares = args.testset != "none"
    if not compares and (args.testset_limit or any(others.values())):
        raise WorkbenchError(
            "--testset none compares nothing: leave --baseline, --task-moe and --testset-limit out."
        )
    plan = Distillation(
        recipe,
        Path(args.teacher),
        Path(args.output),
        args.start_from_teacher,
        args.beam,
        args.batch_size,
        args.max_length,
        args.limit,
        {role: Path(path) for role, path in others.items() if path},
        args.testset if compares else None,
        args.testset_limit,
    )
    settings = _settings(plan, compares)
    place, stored = plan.output / _CHECKPOINT, plan.output / _REPORT
    if place.exists():
        _print(args, place, _finished(stored, settings))
        return
    taken = plan.check()
    if taken is not None:
        note(
            f"of the teacher the student takes {len(taken.taken)} parts; drawn anew:"
            f" {', '.join(taken.fresh) or 'none'}."
        )
    with ProgressLine("sentences translated") as line:
        counts = plan.translate(line)
    note(f"the teacher wrote {_sums(counts)}.")
    with ProgressLine("steps") as line:
        model = plan.train(shown_on(line), note)
    report = None
    if compares:
        with ProgressLine("sentences compared") as line:
            report = plan.compare(model, line)
    record = {
        **(_NOTHING if report is None else report.to_json()),
        "text": _NOT_COMPARED if report is None else report.render(),
        "translations": counts,
        "start": None if taken is None else dataclasses.asdict(taken),
        "settings": settings,
    }
    with whole_file(stored) as file:
        file.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    _describe(model, plan, args, report, record)
    model.save(place)
    _print(args, place, record)


def _settings(plan: Distillation, compares: bool) -> dict[str, Any]:
    """What a finished run must have in common with the command that would make it; devices do not matter."""
    from workbench.training.recipe import recipe_table

    recipe = recipe_table(plan.student)
    recipe["run"].pop("mesh")
    found = {"teacher": str(plan.teacher), "beam": plan.beam_size, "limit": plan.limit}
    found |= {role: str(path) for role, path in plan.others.items()}
    found |= {"testset": plan.testset if compares else "none", "recipe": recipe}
    given = {"testset_limit": plan.testset_limit, "max_length": plan.max_length}
    found |= {key: value for key, value in given.items() if value is not None}
    return dict(json.loads(json.dumps(found)))


def _finished(stored: Path, settings: dict[str, Any]) -> dict[str, Any]:
    from workbench.training.recipe_changes import differences, in_words

    try:
        record: dict[str, Any] = json.loads(stored.read_text(encoding="utf-8"))
        before = dict(record["settings"])
        recipes = before.pop("recipe"), settings["recipe"]
        others = {key: value for key, value in settings.items() if key != "recipe"}
        found = differences(before, others) | differences(*recipes)
        problem = f": {in_words(found)}" if found else ""
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        found, problem = {"": ("", "")}, ""
    if found:
        raise WorkbenchError(
            f"{stored.parent} was made by another command or recipe{problem}. Give the same to see its report, or"
            " choose another directory with -o."
        )
    note(f"{stored.parent} is finished already: nothing to do.")
    return record


def _describe(
    model: Translator,
    plan: Distillation,
    args: argparse.Namespace,
    report: DistillationReport | None,
    record: dict[str, Any],
) -> None:
    """Give the student its provenance and its card."""
    from workbench.checkpoint import WEIGHTS
    from workbench.checkpoint.model_card import model_card, terms_of
    from workbench.cli.provenance import hardware, made_by, sha256
    from workbench.training.metrics import read_metrics, training_seconds
    from workbench.training.recipe import recipe_table
    from workbench.training.recipe_file import to_toml

    seconds = training_seconds(read_metrics(plan.output / "metrics.jsonl"))
    # The recipe as it was given: with where the student's text lay it would be of this machine alone.
    settings = {key: value for key, value in record["settings"].items() if key != "recipe"}
    kept = {key: value for key, value in record.items() if key != "text"}
    model.provenance = {
        "operation": "distill",
        **made_by(args.command_line, seconds),
        "recipe": json.loads(json.dumps(recipe_table(plan.recipe))),
        "distillation": {**kept, "settings": settings},
        "parents": [{"name": str(plan.teacher), "sha256": sha256(plan.teacher / WEIGHTS)}],
    }
    start = "from its teacher's non-expert weights" if plan.start_from_teacher else "anew"
    start = f"from {plan.recipe.run.start_from}" if plan.recipe.run.start_from else start
    gains = [] if report is None else report.describe_gains()
    scores = {} if report is None else report.with_averages
    model.card = model_card(
        plan.recipe.name,
        summary=f"A student of the Task-MoE workbench for {counted(len(plan.recipe.tasks), 'direction')}, trained on the"
        f" translations of `{plan.teacher.name}` (sequence-level distillation, Kim and Rush 2016), started"
        f" {start}. {' '.join([*gains, plan.recipe.about])}".rstrip(),
        languages=plan.recipe.languages,
        terms=terms_of(plan.recipe.data.directory),
        tasks=plan.recipe.tasks,
        place=str(plan.output / _CHECKPOINT),
        recipe=to_toml(recipe_table(plan.recipe)),
        command=args.command_line,
        hardware=hardware(),
        seconds=seconds,
        scores={f"BLEU, {name}": row for name, row in scores.items()} or None,
        scored_on="" if report is None else report.scored_on,
    )


def _sums(counts: dict[str, dict[str, int]]) -> str:
    from workbench.training.filtering import describe

    names = ("empty", "truncated")
    sums = {name: sum(table[name] for table in counts.values()) for name in ("kept", *names)}
    left_out = describe({name: sums[name] for name in names if sums[name]})
    return f"{counted(sums['kept'], 'translation')} in {counted(len(counts), 'direction')}; left out: {left_out}"


def _print(args: argparse.Namespace, place: Path, record: dict[str, Any]) -> None:
    if args.json:
        shown = {
            key: record[key] for key in ("bleu", "gain_preserved", "scored_on", "translations")
        }
        print(json.dumps({"checkpoint": str(place), **shown}))
    else:
        print(f"{record['text']}\n{place}")
