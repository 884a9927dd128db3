"""`workbench info`: what a checkpoint is, without loading its weights."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.cli.options import choose_device, new_command

if TYPE_CHECKING:
    from workbench.config import ModelConfig, RouterConfig, StackConfig


#: Tasks beyond which only a few are named.
_MANY, _FEW = 40, 8
#: Columns of a label.
_INDENT = 11


def add_parser(commands: Any) -> None:
    """Add this command."""
    parser = new_command(
        commands,
        "info",
        run,
        "Architecture, languages, tasks, experts, parameters, bytes and licence of a checkpoint.",
    )
    parser.add_argument("checkpoint", metavar="CKPT", help="checkpoint directory or hub id")


def run(args: argparse.Namespace) -> None:
    """Print what there is to know."""
    choose_device(args)
    table = describe(args.checkpoint)
    print(json.dumps(table, indent=2, ensure_ascii=False) if args.json else _text(table))


def describe(name: str | Path) -> dict[str, Any]:
    """What `workbench info --json` says of a checkpoint, given by its directory or its hub id."""
    from workbench.checkpoint.components import parameters_by_component
    from workbench.checkpoint.description import routing_in_words
    from workbench.checkpoint.directory import CARD, check_weights
    from workbench.checkpoint.hub import find_checkpoint, name_of
    from workbench.checkpoint.hub_config import model_type
    from workbench.checkpoint.model_card import licence_of
    from workbench.checkpoint.tensor_files import weight_files
    from workbench.checkpoint.weights import IN_MEMORY, memory_needed
    from workbench.decoding.opening import open_checkpoint
    from workbench.languages import find_language

    path = find_checkpoint(name)
    config, _ = open_checkpoint(path)
    stored = check_weights(path, config)
    card = path / CARD
    text = card.read_text(encoding="utf-8", errors="replace") if card.exists() else ""
    parameters = parameters_by_component(config)
    return {
        "name": name_of(name, path),
        "model_type": model_type(config),
        "routing": routing_in_words(config),
        "architecture": _architecture(config),
        "stacks": {name: _stack(stack) for name, stack in config.stacks},
        "languages": {code: find_language(code, among=(code,)).name for code in config.languages},
        "tasks": [str(task) for task in config.directions],
        "vocabulary": config.vocabulary,
        "parameters": {"total": sum(parameters.values()), **parameters},
        "stored_as": list(stored),
        "bytes": {
            "weights": sum(file.stat().st_size for file in weight_files(path)),
            "all": sum(file.stat().st_size for file in path.rglob("*") if file.is_file()),
        },
        "bytes_in_memory": {dtype: memory_needed(config, dtype) for dtype in IN_MEMORY},
        "licence": licence_of(text),
    }


def _architecture(config: ModelConfig) -> str:
    heads = dict.fromkeys(stack.heads for _, stack in config.stacks)
    return (
        f"encoder-decoder (pre-norm Transformer), {config.encoder.depth} + {config.decoder.depth} layers,"
        f" width {config.d_model}, {' + '.join(map(str, heads))} heads, up to {config.max_positions} tokens"
    )


def _stack(stack: StackConfig) -> dict[str, Any]:
    from workbench.checkpoint.description import stack_in_words

    router = stack.router
    return {
        "in_words": stack_in_words(stack),
        "layers": stack.depth,
        "heads": stack.heads,
        "feed_forward_widths": list(stack.feed_forward_widths),
        "expert_layers": list(stack.expert_layers),
        "experts": stack.experts,
        **({"experts_by_layer": list(stack.experts_by_layer)} if stack.experts_by_layer else {}),
        "granularity": router.granularity if router else None,
        "task_key": router.task_key if router else None,
        "top_k": router.top_k if router else None,
        "assignment": _assignment(router) if router and router.assignment else None,
    }


def _assignment(router: RouterConfig) -> dict[str, list[int]]:
    return {k: list(row) for k, row in zip(router.keys, router.assignment, strict=True)}


def _text(table: dict[str, Any]) -> str:
    from workbench.evaluation.tables import text_table

    total = table["parameters"]["total"]
    rows = [
        (name, f"{count:,}", f"{count / total:.1%}")
        for name, count in table["parameters"].items()
        if count
    ]
    sizes = table["bytes"]
    languages = [f"{name} ({code})" for code, name in table["languages"].items()]
    tasks = table["tasks"]
    few = [*tasks[:_FEW], f"... ({len(tasks):,} in all; --json names them)"]
    facts = [
        ("kind", f"{table['routing']} ({table['model_type']}), {table['architecture']}"),
        *((name, _widths(stack)) for name, stack in table["stacks"].items()),
        ("languages", _wrapped(languages)),
        ("tasks", _wrapped(tasks if len(tasks) <= _MANY else few)),
        ("vocabulary", f"{table['vocabulary']:,} tokens"),
        (
            "on disk",
            f"{sizes['all']:,} bytes, of which weights {sizes['weights']:,}"
            f" ({', '.join(table['stored_as'])})",
        ),
        (
            "in memory",
            "weights "
            + " or ".join(
                f"{size:,} bytes ({dtype})" for dtype, size in table["bytes_in_memory"].items()
            ),
        ),
        ("licence", table["licence"] or "not stated in its card"),
    ]
    lines = [f"{label:<{_INDENT}}{value}" for label, value in facts]
    return "\n".join([table["name"], "", *lines, "", text_table(("parameters", "", "share"), rows)])


def _wrapped(items: list[str]) -> str:
    """Items with commas between, in lines of the terminal's width; none is broken."""
    width = shutil.get_terminal_size((100, 24)).columns
    lines = [""]
    for item in [*(f"{item}," for item in items[:-1]), *items[-1:]]:
        if lines[-1] and _INDENT + len(lines[-1]) + 1 + len(item) > width:
            lines.append("")
        lines[-1] += f" {item}" if lines[-1] else item
    return f"\n{' ' * _INDENT}".join(lines)


def _widths(stack: dict[str, Any]) -> str:
    widths = "/".join(str(w) for w in dict.fromkeys(stack["feed_forward_widths"]))
    counted = " (layers counted from 0)" if stack["experts"] else ""
    return f"{stack['in_words']}{counted}; feed-forward width {widths}"
