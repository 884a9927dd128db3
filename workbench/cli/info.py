"""`workbench info`: what a checkpoint is, without loading its weights."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from workbench.cli.options import add_checkpoint, add_json, print_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_checkpoint(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> None:
    """Print the facts."""
    facts = describe(Path(options.checkpoint))
    if options.json:
        print_json(facts)
        return
    print(f"{facts['name']}: {facts['architecture']}")
    for stack in ("encoder", "decoder"):
        part = facts[stack]
        words = f"{part['layers']} layers, feed-forward widths {part['feed_forward_widths']}"
        if part["experts"]:
            router = part["router"]
            by = router["task_key"] or router["granularity"]
            words += (
                f"; {part['experts']} experts in layers {part['expert_layers']}, chosen by {by},"
                f" top {router['top_k']}"
            )
        print(f"  {stack:<12}{words}")
    print(f"  {'languages':<12}{', '.join(facts['languages'])}")
    shown = facts["tasks"][:12]
    more = f", ... ({len(facts['tasks'])} in all)" if len(facts["tasks"]) > len(shown) else ""
    print(f"  {'tasks':<12}{', '.join(shown)}{more}")
    print(
        f"  {'vocabulary':<12}{facts['vocabulary']:,} tokens, up to {facts['max_positions']} a sentence"
    )
    print(f"  {'parameters':<12}{facts['parameters']['total']:,}")
    for component, count in facts["parameters"]["by_component"].items():
        if count:
            print(f"    {component:<20}{count:>12,}  {count / facts['parameters']['total']:6.1%}")
    stored = ", ".join(facts["stored_as"])
    print(f"  {'on disk':<12}{facts['bytes']:,} bytes, weights as {stored}")
    print(f"  {'licence':<12}{facts['licence'] or 'not stated'}")


def describe(directory: Path) -> dict[str, Any]:
    """The facts as plain values. Raises WorkbenchError for anything that is not a whole checkpoint."""
    import dataclasses

    from workbench.checkpoint.components import parameters_by_component
    from workbench.checkpoint.directory import CARD, check_weights, read_config
    from workbench.checkpoint.hub_config import model_type
    from workbench.checkpoint.model_card import licence_of
    from workbench.text.tokenizer import Tokenizer

    config = read_config(directory)
    stored = check_weights(directory, config)
    Tokenizer.load(directory)
    counts = parameters_by_component(config)
    card = directory / CARD
    kind = "dense" if config.is_dense else "mixture of experts"
    facts: dict[str, Any] = {
        "name": directory.resolve().name,
        "architecture": f"{kind} encoder-decoder, width {config.d_model}, {model_type(config)} layout",
        "model_type": model_type(config),
        "d_model": config.d_model,
        "vocabulary": config.vocabulary,
        "max_positions": config.max_positions,
        "languages": list(config.languages),
        "tasks": [str(task) for task in config.directions],
        "parameters": {"total": sum(counts.values()), "by_component": counts},
        "stored_as": list(stored),
        "bytes": sum(file.stat().st_size for file in directory.iterdir() if file.is_file()),
        "licence": licence_of(card.read_text(encoding="utf-8")) if card.exists() else "",
    }
    for name, stack in config.stacks:
        facts[name] = {
            "layers": stack.depth,
            "heads": stack.heads,
            "feed_forward_widths": list(stack.feed_forward_widths),
            "expert_layers": list(stack.expert_layers),
            "experts": stack.experts,
            "router": dataclasses.asdict(stack.router) if stack.router else None,
        }
    return facts
