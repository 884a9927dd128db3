"""`workbench merge`: a smaller checkpoint whose experts are averaged in groups."""

from __future__ import annotations

import argparse
from typing import Any

from workbench.cli.output import check_file
from workbench.cli.smaller import add_smaller, finish, load_parent, statistics_for


def add_parser(commands: Any) -> None:
    """Add this command."""
    parser = add_smaller(
        commands,
        "merge",
        run,
        "Merge the experts of a checkpoint routed by token or sentence into fewer, without training, and report"
        " what that loses.",
    )
    parser.add_argument(
        "--method",
        choices=("frequency", "aligned", "mc-smoe"),
        default="aligned",
        help="averaged by frequency; hidden units aligned first; or grouped as MC-SMoE does (arXiv 2310.01334),"
        " which needs --corpus (default: aligned)",
    )
    parser.add_argument(
        "--gates",
        choices=("sum", "dominant"),
        default="dominant",
        help="a group's gate: the sum of its experts' probabilities, or the gate of the one used most, which"
        " keeps the layout of NLLB-MoE (default: dominant)",
    )


def run(args: argparse.Namespace) -> None:
    """Group, average, report, save."""
    check_file(args.save_statistics)
    model, tasks = load_parent(args)
    from workbench.subnetworks.merge import merge
    from workbench.subnetworks.prune import prunable_layers

    prunable_layers(model)
    statistics = statistics_for(args, model, tasks, products=args.method == "mc-smoe")
    name = args.output.rstrip("/").rpartition("/")[2]
    finish(
        args,
        model,
        merge(model, statistics, tasks, args.keep, args.method, args.gates, name),
    )
