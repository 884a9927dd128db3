"""`workbench prune`: a smaller checkpoint with the experts that matter to some tasks."""

from __future__ import annotations

import argparse
import json
from typing import Any

from workbench.cli.output import check_file, whole_file
from workbench.cli.smaller import add_smaller, finish, load_parent, read_table, statistics_for
from workbench.errors import WorkbenchError

_METRICS = ("top1", "top2", "load-balance", "vanilla", "importance")
#: What experts are chosen by unless said otherwise. The parser says None, so that it is known what was said.
_DEFAULTS = {"metric": "importance", "granularity": "global", "algorithm": "fixed"}


def add_parser(commands: Any) -> None:
    """Add this command."""
    parser = add_smaller(
        commands,
        "prune",
        run,
        "Keep the most important experts of a checkpoint routed by token or sentence (arXiv 2212.09811), without"
        " training, and report what that loses.",
    )
    parser.add_argument("--metric", choices=_METRICS, help=f"default: {_DEFAULTS['metric']}")
    parser.add_argument(
        "--granularity",
        choices=("global", "pair", "language"),
        help="who chooses experts: all tasks together, every direction, or every language (encoder by source,"
        f" decoder by target); several keep the union of theirs (default: {_DEFAULTS['granularity']})",
    )
    parser.add_argument(
        "--algorithm",
        choices=("fixed", "global", "separate"),
        help="as many experts in every layer, one threshold for all layers, or one for each stack (default:"
        f" {_DEFAULTS['algorithm']})",
    )
    for stack in ("encoder", "decoder"):
        parser.add_argument(
            f"--{stack}-keep", type=float, metavar="FRACTION", help=f"of the {stack}'s experts"
        )
    parser.add_argument(
        "--experts",
        metavar="FILE",
        help="instead of statistics: lists of the experts to keep, in JSON",
    )
    parser.add_argument(
        "--save-experts", metavar="FILE", help="write the lists of kept experts, as JSON"
    )


def run(args: argparse.Namespace) -> None:
    """Choose, cut, report, save."""
    if args.experts and (args.corpus or args.statistics):
        raise WorkbenchError("Give --experts or statistics to choose them by, not both.")
    choosing = ("keep", "encoder_keep", "decoder_keep", *_DEFAULTS)
    given = [f"--{name.replace('_', '-')}" for name in choosing if getattr(args, name) is not None]
    if args.experts and given:
        raise WorkbenchError(
            f"--experts says itself which experts are kept: leave {', '.join(given)} out."
        )
    check_file(args.save_experts)
    check_file(args.save_statistics)
    model, tasks = load_parent(args)
    from workbench.subnetworks.interchange import kept_from_json, kept_to_json
    from workbench.subnetworks.prune import (
        chosen_tasks,
        keep_experts,
        prunable_layers,
        prune,
        select_experts,
        united,
    )

    prunable_layers(model)
    name = args.output.rstrip("/").rpartition("/")[2]
    if args.experts:
        chosen = tasks or list(model.config.directions)
        by_key = kept_from_json(read_table(args.experts), model.config, chosen, args.experts)
        small = keep_experts(
            model, united(by_key.values()), chosen, name, method={"experts": args.experts}
        )
    else:
        statistics = statistics_for(args, model, tasks)
        chosen = tasks or chosen_tasks(model.config, statistics.tasks)
        options = {
            "keep": args.keep,
            **{name: getattr(args, name) or default for name, default in _DEFAULTS.items()},
            "encoder_keep": args.encoder_keep,
            "decoder_keep": args.decoder_keep,
        }
        by_key = select_experts(model.config, statistics, chosen, **options)
        small = prune(model, statistics, chosen, **options, name=name)
    if args.save_experts:
        with whole_file(args.save_experts) as place:
            place.write_text(
                json.dumps(kept_to_json(by_key, model.config)) + "\n", encoding="utf-8"
            )
    finish(args, model, small)
