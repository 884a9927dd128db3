"""What `prune` and `merge` share: where statistics come from, the report, and saving."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from workbench.arguments import as_json
from workbench.cli.options import check_free, new_command, positive
from workbench.cli.output import ProgressLine, note, whole_file
from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    from workbench.config import ModelConfig
    from workbench.decoding.translator import Translator
    from workbench.evaluation.testset import TestSet
    from workbench.routing.gathering import Lines
    from workbench.routing.statistics import Statistics
    from workbench.subnetworks.report import Report
    from workbench.tasks import Task


#: Fraction of the experts that is kept unless said otherwise, as in the paper.
KEEP = 0.2


def add_smaller(commands: Any, name: str, run: Any, summary: str) -> argparse.ArgumentParser:
    """A parser with the options of both commands."""
    parser = new_command(commands, name, run, summary)
    parser.add_argument("checkpoint", metavar="CKPT", help="checkpoint directory or hub id")
    parser.add_argument(
        "--task",
        action="append",
        metavar="A-B",
        help="e.g. en-de; once for each task (default: all that the statistics are of)",
    )
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="the new checkpoint")
    parser.add_argument(
        "--keep",
        type=float,
        metavar="FRACTION",
        help=f"of the experts, above 0 and up to 1 (default: {KEEP:g}, or as many as the routers choose)",
    )
    parser.add_argument(
        "--corpus",
        metavar="FILE_OR_DIR",
        help="parallel text to gather statistics on: a .tsv, a directory of SPLIT.LANGUAGE[.gz], or 'captions'"
        " (in the package)",
    )
    parser.add_argument("--split", help="of a directory that holds several")
    parser.add_argument(
        "--limit", type=positive, metavar="N", help="the first N sentences of each task only"
    )
    parser.add_argument(
        "--of",
        choices=("references", "translations"),
        help="what the decoder reads while statistics are gathered: the corpus's references, or the model's own"
        " translations (default: references)",
    )
    parser.add_argument(
        "--statistics",
        metavar="FILE",
        help="instead of --corpus: statistics in JSON, or what `workbench usage` wrote",
    )
    parser.add_argument(
        "--save-statistics", metavar="FILE", help="write the statistics that were gathered, as JSON"
    )
    parser.add_argument(
        "--testset",
        default="captions",
        metavar="NAME",
        help="to report on, as in `workbench compare`; none: no report, and pruning that gathers no statistics either"
        " reads only the weights it keeps (default: captions)",
    )
    parser.add_argument("--testset-split", metavar="SPLIT", help="of that directory")
    parser.add_argument(
        "--against",
        action="append",
        default=[],
        metavar="CKPT",
        help="other networks made from this one, for the same report",
    )
    parser.add_argument("--batch-size", type=positive, default=32, metavar="N", help="default: 32")
    return parser


class Plan(NamedTuple):
    """What shall be made smaller, for what and by what; no weight is read for it.

    name: of the checkpoint. tasks: what the result is for. statistics: from a file, or lines: text to gather them on;
    neither where the experts are listed. testsets: to report on.
    """

    directory: Path
    name: str
    config: ModelConfig
    tasks: list[Task]
    statistics: Statistics | None
    lines: dict[Task, Lines] | None
    testsets: list[TestSet]


def plan(args: argparse.Namespace, listed: bool = False) -> Plan:
    """What the options ask for; all complaints come here, before the work. listed: experts are, so nothing is counted."""
    check_free(args.output)
    from workbench.checkpoint.directory import read_config
    from workbench.checkpoint.hub import find_checkpoint, name_of
    from workbench.subnetworks.prune import chosen_tasks, prunable_layers_in
    from workbench.subnetworks.selection import check_fraction

    if args.keep is not None:
        check_fraction(args.keep)
    directory = find_checkpoint(args.checkpoint)
    config, name = read_config(directory), name_of(args.checkpoint, directory)
    if args.keep is None:
        args.keep = default_keep(config)
    prunable_layers_in(config, name)
    tasks = chosen_tasks(config, args.task) if args.task else None
    statistics, lines = None, None
    if not listed:
        _check_one_source(args)
    if args.statistics:
        from workbench.routing.statistics import read_statistics

        statistics = read_statistics(read_table(args.statistics), config, args.statistics)
        tasks = tasks or chosen_tasks(config, statistics.tasks)
        statistics.rows([str(task) for task in tasks])
    elif args.corpus:
        lines = _lines(args, config, name, tasks)
        tasks = list(lines)
    tasks = tasks or list(config.directions)
    for path in args.against:
        other = read_config(find_checkpoint(path))
        for task in tasks:
            other.check_task(task)
    return Plan(directory, name, config, tasks, statistics, lines, _testsets(args, tasks))


def default_keep(config: ModelConfig) -> float:
    """`KEEP`, or the smallest fraction that leaves each router as many experts as it chooses."""
    chosen = [stack.router.top_k / stack.experts for _, stack in config.stacks if stack.router]
    return max([KEEP, *chosen])


def statistics_of(
    args: argparse.Namespace, planned: Plan, model: Translator | None, products: bool = False
) -> Statistics:
    """The statistics that were planned with: those that were read, or gathered now, which takes the model."""
    if planned.statistics:
        return planned.statistics
    from workbench.routing.gathering import gather_statistics

    assert planned.lines is not None and model is not None
    with ProgressLine("statistics gathered, sentences") as progress:
        found = gather_statistics(model, planned.lines, args.batch_size, products, progress)
    if args.save_statistics:
        with whole_file(args.save_statistics) as place:
            place.write_text(json.dumps(found.to_json()) + "\n", encoding="utf-8")
    return found


def _check_one_source(args: argparse.Namespace) -> None:
    """Refuse what does not say where statistics come from, or says it twice."""
    if (args.corpus is None) == (args.statistics is None):
        raise WorkbenchError(
            "Give either --corpus, text to gather statistics on, or --statistics, a file of them."
        )
    if args.statistics:
        of_corpus = {
            "--split": args.split,
            "--limit": args.limit,
            "--of": args.of,
            "--save-statistics": args.save_statistics,
        }
        if given := [option for option, value in of_corpus.items() if value is not None]:
            raise WorkbenchError(f"{given[0]} belongs to --corpus: leave it out with --statistics.")


def _lines(
    args: argparse.Namespace, config: ModelConfig, name: str, tasks: list[Task] | None
) -> dict[Task, Lines]:
    """What statistics are gathered on, by task: default all that both the corpus and the network have."""
    from workbench.evaluation.testset import read_corpus

    corpus = read_corpus(args.corpus, None, args.split)
    chosen = tasks or [task for task in config.directions if task in corpus.tasks]
    if not chosen:
        raise WorkbenchError(
            f"{args.corpus} has {', '.join(corpus.languages)}: no direction that {name} translates."
        )
    lines: dict[Task, Lines] = {}
    for task in chosen:
        sources, references = (side[: args.limit] for side in corpus.direction(task))
        lines[task] = (sources, None if args.of == "translations" else references)
    return lines


def _testsets(args: argparse.Namespace, tasks: list[Task]) -> list[TestSet]:
    """What is reported on: the directions of `tasks` that the test set has."""
    if args.testset == "none":
        return []
    from workbench.evaluation.testset import CAPTIONS, load_testset, tasks_in

    there = tasks_in(args.testset, tasks, args.testset_split)
    if not there and args.testset != CAPTIONS:
        raise WorkbenchError(
            f"{args.testset} has none of the directions to report on: {', '.join(map(str, tasks))}."
        )
    if not there:
        note("no report: the captions in the package have none of these tasks; give --testset.")
    return [load_testset(args.testset, task, args.testset_split) for task in there]


def read_table(path: str) -> Any:
    """What a JSON file holds."""
    return as_json(Path(path).read_bytes(), path)


def finish(args: argparse.Namespace, planned: Plan, model: Translator, small: Translator) -> None:
    """Report, save and print."""
    from workbench.cli.provenance import made_by
    from workbench.subnetworks.report import attach

    found = _report(args, planned, model, small)
    small.provenance = {**small.provenance, **made_by(args.command_line)}
    if found is not None:
        attach(found, small)
    small.save(args.output)
    tell(args, planned.config, small.config, found)


def tell(
    args: argparse.Namespace, before: ModelConfig, after: ModelConfig, found: Report | None = None
) -> None:
    """Print what came of it: the sizes of both shapes, and the report if there is one."""
    from workbench.subnetworks.report import size_of

    old, new = size_of("", before), size_of("", after)
    if args.json:
        table = {
            "output": args.output,
            "parameters_before": old.parameters,
            "parameters_after": new.parameters,
            "experts_by_layer": new.experts_by_layer,
            "report": found.to_json() if found else None,
        }
        print(json.dumps(table, ensure_ascii=False))
        return
    layers = ", ".join(f"{layer}: {n}" for layer, n in new.experts_by_layer.items())
    print(f"{args.output}: experts {layers}; {old.parameters:,} -> {new.parameters:,} parameters")
    if found is not None:
        print(f"\n{found}")


def _report(
    args: argparse.Namespace, planned: Plan, model: Translator, small: Translator
) -> Report | None:
    if not planned.testsets:
        return None
    from workbench.decoding.translator import Translator
    from workbench.subnetworks.report import report

    others = [Translator.load(path) for path in args.against]
    with ProgressLine("report, sentences translated") as progress:
        return report(model, [small, *others], planned.testsets, args.batch_size, progress=progress)
