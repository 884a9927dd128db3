"""`workbench upcycle`: a dense checkpoint becomes one with experts, at once or trained on as a recipe says."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.cli.options import check_free, load_model, new_command, positive
from workbench.cli.output import note
from workbench.cli.train import add_run_options, follow, recipe_of
from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    from workbench.config import ModelConfig
    from workbench.training.recipe import Recipe

#: `workbench.training.stacks.RoutingName`, without the import of what trains.
_ROUTINGS = (
    *("dense", "token", "sentence", "source", "target", "pair"),
    *("static-source", "static-target", "static-pair"),
)
_DEFAULTS: dict[str, Any] = {
    "encoder": "dense",
    "decoder": "dense",
    "experts": 8,
    "top_k": 2,
    "every": 2,
    "fresh_units": 0.0,
    "seed": 0,
}


def add_parser(commands: Any) -> None:
    """Add this command."""
    parser = new_command(
        commands,
        "upcycle",
        run,
        "Make a dense checkpoint one with experts, which are copies of its feed-forward blocks: it translates"
        " as before and can be trained on. With --recipe it is trained on at once.",
    )
    parser.add_argument("checkpoint", metavar="DENSE", help="dense checkpoint directory")
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="DIR",
        help="the new checkpoint; with --recipe the run, as that of train",
    )
    for stack in ("encoder", "decoder"):
        parser.add_argument(
            f"--{stack}",
            choices=_ROUTINGS,
            help=f"what the {stack}'s experts are chosen by (default: dense, no experts)",
        )
    parser.add_argument(
        "--experts", type=positive, metavar="N", help="in each layer that has them (default: 8)"
    )
    parser.add_argument("--top-k", type=positive, metavar="K", help="chosen ones (default: 2)")
    parser.add_argument(
        "--every", type=positive, metavar="N", help="one in N layers has experts (default: 2)"
    )
    parser.add_argument(
        "--fresh-units",
        type=float,
        metavar="SHARE",
        help="share of each expert's hidden units drawn anew, which then differ from the start (default: 0,"
        " exact copies)",
    )
    parser.add_argument(
        "--seed", type=int, metavar="N", help="of the routers' random start (default: 0)"
    )
    parser.add_argument(
        "--recipe",
        metavar="CONFIG",
        help="recipe, a TOML file: it says the shape instead, and how to train on; again to go on",
    )
    add_run_options(parser)


def run(args: argparse.Namespace) -> None:
    """Write the upcycled checkpoint, or train from it."""
    given = [name for name in _DEFAULTS if getattr(args, name) is not None]
    if args.recipe:
        if given:
            raise WorkbenchError(
                f"--{given[0].replace('_', '-')} does not go with --recipe, which says the shape: change it"
                " there, or with --set."
            )
        follow(args, _recipe(args), "upcycle", [_parent(Path(args.checkpoint))])
        return
    if args.settings or args.data or args.mesh or args.distributed:
        raise WorkbenchError(
            "--set, --data, --mesh and --distributed go with --recipe only: without one nothing is trained."
        )
    _write(args, {name: getattr(args, name) for name in given})


def _write(args: argparse.Namespace, given: dict[str, Any]) -> None:
    check_free(args.output)
    from workbench.checkpoint.components import parameters_by_component
    from workbench.checkpoint.directory import read_config
    from workbench.cli.provenance import made_by
    from workbench.training.upcycling import upcycle, upcycled_config

    place = Path(args.checkpoint)
    options = _DEFAULTS | given
    shape = {name: options[name] for name in ("encoder", "decoder", "experts", "top_k", "every")}
    # Refused before anything is loaded.
    upcycled_config(read_config(place), **shape, name=args.checkpoint)
    model = upcycle(load_model(args), **options, name=Path(args.output).resolve().name)
    model.provenance = {
        **model.provenance,
        **made_by(args.command_line),
        "parents": [_parent(place)],
    }
    model.save(args.output)
    counts = parameters_by_component(model.config)
    if args.json:
        print(json.dumps({"output": args.output, "parameters": sum(counts.values()), **options}))
    else:
        print(args.output)


def _parent(place: Path) -> dict[str, Any]:
    """The dense checkpoint, for provenance."""
    from workbench.checkpoint import PROVENANCE
    from workbench.checkpoint.tensor_files import weight_files
    from workbench.cli.provenance import sha256

    kept = place / PROVENANCE
    return {
        "name": place.resolve().name,
        "sha256": sha256(*weight_files(place)),
        "provenance": json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {},
    }


def _recipe(args: argparse.Namespace) -> Recipe:
    """The recipe, starting from the dense checkpoint, once it is sure that it can."""
    from workbench.checkpoint.directory import read_config
    from workbench.training.upcycling import check_dense

    recipe = recipe_of(args)
    config: ModelConfig = read_config(Path(args.checkpoint))
    check_dense(config, args.checkpoint)
    if recipe.model_config(config.vocabulary).is_dense:
        raise WorkbenchError(
            f"No layer gets experts: {args.recipe} describes a dense network. Choose a routing, such as --set"
            " model.decoder_routing=target."
        )
    foreign = [code for code in recipe.languages if code not in config.languages]
    if foreign:
        raise WorkbenchError(
            f"{args.recipe} trains {', '.join(foreign)}, which {args.checkpoint} does not know; it knows:"
            f" {', '.join(config.languages)}."
        )
    if recipe.model.top_k == 1 and not recipe.model.unit_gates:
        note(
            "note: with model.top_k = 1 experts begin with outputs that are smaller than the dense blocks', by"
            " the router's probability; model.unit_gates = true begins where the dense network was."
        )
    return dataclasses.replace(
        recipe, run=dataclasses.replace(recipe.run, start_from=args.checkpoint)
    )
