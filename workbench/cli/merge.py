"""`workbench merge`: a smaller checkpoint whose experts are averaged in groups."""

from __future__ import annotations

import argparse
from typing import Any

from workbench.cli.options import load_model
from workbench.cli.output import check_file
from workbench.cli.smaller import add_smaller, finish, plan, statistics_of
from workbench.errors import WorkbenchError


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
    if args.method == "mc-smoe" and args.statistics:
        raise WorkbenchError(
            "--method mc-smoe groups experts by their router logits on a corpus, which files of statistics lack: give"
            " --corpus instead of --statistics."
        )
    planned = plan(args)
    from workbench.subnetworks.merge import merge
    from workbench.subnetworks.prune import budgets_of

    budgets_of(planned.config, args.keep)
    model = load_model(args)
    statistics = statistics_of(args, planned, model, products=args.method == "mc-smoe")
    name = args.output.rstrip("/").rpartition("/")[2]
    small = merge(model, statistics, planned.tasks, args.keep, args.method, args.gates, name)
    finish(args, planned, model, small)
