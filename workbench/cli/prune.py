"""`workbench prune`: a smaller checkpoint with the experts that matter to some tasks."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from workbench.cli.options import choose_device, load_model
from workbench.cli.output import check_file, whole_file
from workbench.cli.smaller import Plan, add_smaller, finish, plan, read_table, statistics_of, tell
from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    from workbench.subnetworks.cutting import Kept

_METRICS = ("top1", "top2", "load-balance", "vanilla", "importance")
#: What experts are chosen by unless said otherwise. The parser says None, so that it is known what was said.
_DEFAULTS = {"metric": "importance", "granularity": "global", "algorithm": "fixed"}
_BUDGET = ("keep", "algorithm", "encoder_keep", "decoder_keep")


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
    planned = plan(args, listed=bool(args.experts))
    from workbench.subnetworks.interchange import kept_from_json, kept_to_json
    from workbench.subnetworks.prune import (
        budgets_of,
        check_kept_in,
        keep_experts,
        method_of,
        select_experts,
        united,
    )

    how: dict[str, Any] = {
        name: getattr(args, name) or default for name, default in _DEFAULTS.items()
    }
    how |= {"keep": args.keep, "encoder_keep": args.encoder_keep, "decoder_keep": args.decoder_keep}
    if args.experts:
        table = read_table(args.experts)
        by_key = kept_from_json(table, planned.config, planned.tasks, args.experts)
        check_kept_in(planned.config, united(by_key.values()))
    else:
        budgets_of(planned.config, **{name: how[name] for name in _BUDGET})
    # To gather statistics and to report takes the whole network, and nothing else does.
    model = load_model(args) if planned.lines or planned.testsets else None
    method: dict[str, object] = {"experts": args.experts}
    if not args.experts:
        statistics = statistics_of(args, planned, model)
        statistics.warn_unless_of(planned.name)
        by_key = select_experts(planned.config, statistics, planned.tasks, **how)
        method = method_of(statistics, **how)
    if args.save_experts:
        with whole_file(args.save_experts) as place:
            place.write_text(
                json.dumps(kept_to_json(by_key, planned.config)) + "\n", encoding="utf-8"
            )
    kept = united(by_key.values())
    if model is None:
        _prune_on_disk(args, planned, kept, method)
    else:
        name = args.output.rstrip("/").rpartition("/")[2]
        finish(args, planned, model, keep_experts(model, kept, planned.tasks, name, method))


def _prune_on_disk(
    args: argparse.Namespace, planned: Plan, kept: Kept, method: dict[str, object]
) -> None:
    """The same of weights of which only those that stay are read, one tensor at a time."""
    choose_device(args)
    from workbench.checkpoint.selection import Selection
    from workbench.cli.part import whole_part
    from workbench.decoding.opening import open_checkpoint
    from workbench.subnetworks.from_disk import write_pruned
    from workbench.subnetworks.prune import (
        in_order,
        kept_as_json,
        made_by_pruning,
        pruned_config,
    )

    before, tokenizer = open_checkpoint(planned.directory)
    kept = in_order(kept)
    after = pruned_config(before, kept, planned.tasks)
    facts = {"method": method, "kept_experts": kept_as_json(kept)}
    made = made_by_pruning(planned.name, before, after, method)
    with whole_part(
        args, "prune", planned.directory, planned.name, after, tokenizer, made, facts
    ) as place:
        write_pruned(Selection(planned.directory, before), kept, after, place)
    tell(args, before, after)
