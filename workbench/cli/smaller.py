"""What `prune` and `merge` share: where statistics come from, the report, and saving."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.cli.options import check_free, load_model, new_command, positive
from workbench.cli.output import ProgressLine, note, whole_file
from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    from workbench.config import ModelConfig
    from workbench.decoding.translator import Translator
    from workbench.routing.statistics import Statistics
    from workbench.tasks import Task


#: Fraction of the experts that is kept unless said otherwise, as in the paper.
KEEP = 0.2


def add_smaller(commands: Any, name: str, run: Any, summary: str) -> argparse.ArgumentParser:
    """A parser with the options of both commands."""
    parser = new_command(commands, name, run, summary)
    parser.add_argument("checkpoint", metavar="CKPT", help="checkpoint directory")
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
        help="to report on, as in `workbench compare`; none: no report (default: captions)",
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


def load_parent(args: argparse.Namespace) -> tuple[Translator, list[Task] | None]:
    """The checkpoint, and the tasks that were asked for, if any; complaints first."""
    check_free(args.output)
    from workbench.checkpoint.directory import read_config
    from workbench.subnetworks.prune import chosen_tasks
    from workbench.subnetworks.selection import check_fraction

    if args.keep is not None:
        check_fraction(args.keep)
    config = read_config(Path(args.checkpoint))
    if args.keep is None:
        args.keep = default_keep(config)
    tasks = chosen_tasks(config, args.task) if args.task else None
    return load_model(args), tasks


def default_keep(config: ModelConfig) -> float:
    """`KEEP`, or the smallest fraction that leaves each router as many experts as it chooses."""
    chosen = [stack.router.top_k / stack.experts for _, stack in config.stacks if stack.router]
    return max([KEEP, *chosen])


def statistics_for(
    args: argparse.Namespace, model: Translator, tasks: list[Task] | None, products: bool = False
) -> Statistics:
    """The statistics that the options name: read from a file, or gathered on a corpus."""
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
        from workbench.routing.statistics import read_statistics

        return read_statistics(read_table(args.statistics), model.config, args.statistics)
    from workbench.evaluation.testset import read_corpus
    from workbench.routing.gathering import gather_statistics

    corpus = read_corpus(args.corpus, None, args.split)
    chosen = tasks or [task for task in model.config.directions if task in corpus.tasks]
    if not chosen:
        raise WorkbenchError(
            f"{args.corpus} has {', '.join(corpus.languages)}: no direction that {model.name} translates."
        )
    lines = {}
    for task in chosen:
        sources, references = (side[: args.limit] for side in corpus.direction(task))
        lines[task] = (sources, None if args.of == "translations" else references)
    with ProgressLine("statistics gathered, sentences") as progress:
        found = gather_statistics(model, lines, args.batch_size, products, progress)
    if args.save_statistics:
        with whole_file(args.save_statistics) as place:
            place.write_text(json.dumps(found.to_json()) + "\n", encoding="utf-8")
    return found


def read_table(path: str) -> Any:
    """What a JSON file holds."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (UnicodeDecodeError, ValueError) as error:
        raise WorkbenchError(f"{path} is not valid JSON: {error}.") from error


def finish(args: argparse.Namespace, model: Translator, small: Translator) -> None:
    """Report, save and print."""
    from workbench.cli.provenance import made_by
    from workbench.subnetworks.report import attach, size_of

    found = _report(args, model, small)
    small.provenance = {**small.provenance, **made_by(args.command_line)}
    if found is not None:
        attach(found, small)
    small.save(args.output)
    sizes = {
        "parameters_before": size_of(model.name, model.config).parameters,
        "parameters_after": size_of(small.name, small.config).parameters,
        "experts_by_layer": size_of(small.name, small.config).experts_by_layer,
    }
    if args.json:
        table = {"output": args.output, **sizes, "report": found.to_json() if found else None}
        print(json.dumps(table, ensure_ascii=False))
        return
    layers = ", ".join(f"{layer}: {n}" for layer, n in sizes["experts_by_layer"].items())  # type: ignore[attr-defined]
    print(
        f"{args.output}: experts {layers}; {sizes['parameters_before']:,} -> {sizes['parameters_after']:,}"
        " parameters"
    )
    if found is not None:
        print(f"\n{found}")


def _report(args: argparse.Namespace, model: Translator, small: Translator) -> Any:
    if args.testset == "none":
        return None
    from workbench.decoding.translator import Translator
    from workbench.evaluation.testset import load_testset, read_corpus
    from workbench.subnetworks.report import report

    tasks = list(small.config.directions)
    if args.testset == "captions":
        there = read_corpus(args.testset).tasks
        tasks = [task for task in tasks if task in there]
        if not tasks:
            note("no report: the captions in the package have none of these tasks; give --testset.")
            return None
    sets = [load_testset(args.testset, task, args.testset_split) for task in tasks]
    others = [Translator.load(path) for path in args.against]
    with ProgressLine("report, sentences translated") as progress:
        return report(model, [small, *others], sets, args.batch_size, progress=progress)
