"""`workbench usage`: how often each task uses each expert."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from workbench.cli.options import new_command
from workbench.cli.output import check_file, whole_file
from workbench.cli.tracing import SUFFIXES, add_corpus, check_suffix, save_routes, trace_corpus

if TYPE_CHECKING:
    import pandas as pd

    from workbench.routing.usage import Usage


def add_parser(commands: Any) -> None:
    """Add this command."""
    parser = new_command(
        commands,
        "usage",
        run,
        "How often each task uses each expert, on the reference translations of a parallel corpus.",
    )
    add_corpus(parser)
    parser.add_argument("-o", "--output", metavar="FILE", help="a file for the numbers, as JSON")
    parser.add_argument(
        "--save-routes",
        metavar="FILE",
        help=f"the routes of all tasks too ({', '.join(SUFFIXES)}), for `figures`, the app or `wb.read_routes`",
    )


def run(args: argparse.Namespace) -> None:
    """Trace every task and count."""
    check_file(args.output)
    if args.save_routes is not None:
        check_suffix(args.save_routes)
        check_file(args.save_routes)
    _, routes = trace_corpus(args)
    if args.save_routes is not None:
        save_routes(routes, args.save_routes)
    from workbench.routing.specialization import specialization
    from workbench.routing.usage import expert_usage

    usage = expert_usage(routes)
    layers = specialization(routes)
    # A table without NaN, which JSON does not have.
    rows = json.loads(layers.to_json(orient="records"))
    text = json.dumps({**json.loads(usage.to_json()), "specialization": rows})
    if args.output:
        with whole_file(args.output) as place:
            place.write_text(text + "\n", encoding="utf-8")
    if args.json:
        print(text)
    else:
        print(_text(usage), _layers(layers), sep="\n")


def _layers(table: pd.DataFrame) -> str:
    """What the experts of each layer know of the task."""
    from workbench.evaluation.tables import text_table

    def bits(value: float) -> str:
        return "-" if value != value else f"{value:.3f}"

    rows = [
        (
            f"{row['stack']} {row['layer']}",
            f"{row['load_entropy']:.3f}",
            f"{row['max_violation']:.2f}",
            f"{bits(row['information'])} ({bits(row['information_chance'])})",
            f"{bits(row['divergence'])} ({bits(row['divergence_chance'])})",
        )
        for row in table.to_dict("records")
    ]
    return text_table(
        (
            "layer",
            "evenness of load",
            "busiest above mean",
            "bits about the task (by chance)",
            "divergence of tasks, bits (by chance)",
        ),
        rows,
        left=1,
    )


def _text(usage: Usage) -> str:
    from workbench.evaluation.tables import text_table

    rows = []
    for t, task in enumerate(usage.tasks):
        for i, (stack, layer) in enumerate(usage.layers):
            total = float(usage.tokens[t, i])
            best = sorted(range(usage.experts[i]), key=lambda e: -usage.counts[t, i, e])[:4]
            shown = ", ".join(
                f"{e} ({usage.counts[t, i, e] / total:.0%})" for e in best if usage.counts[t, i, e]
            )
            rows.append((task, f"{stack} {layer}", shown, f"{int(total):,}"))
    return text_table(
        ("task", "layer", "most used experts (share of tokens)", "tokens"), rows, left=3
    )
