"""What a training step with experts costs beside a dense one of the same active parameters.

    python -m benchmarks.moe_overhead [--experts 8 32] [--routing token sentence target] [--data DIR] [--json]

A network with E experts of width F in every second layer, of which each token uses `--top-k`, beside a dense
one whose blocks in those layers are `top_k * F` wide: the same arithmetic a token, so the ratio is what routing,
dispatch, the routers' losses and the optimizer's work on idle experts cost. Both are steps of `workbench train`,
taking turns batch by batch, on the same captions; compiling comes before and is reported apart.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.training_steps import (
    add_options,
    conditions,
    new_network,
    read_text,
    take_turns,
    workbench_step,
)
from workbench.config import ModelConfig, StackConfig
from workbench.decoding.programs import enable_compilation_cache
from workbench.training.batches import Batch
from workbench.training.memory import keep_freed_memory
from workbench.training.recipe import Recipe


def with_experts(recipe: Recipe, routing: str, experts: int, top_k: int) -> Recipe:
    """The recipe with both stacks routed alike."""
    model = dataclasses.replace(
        recipe.model,
        encoder_routing=routing,  # type: ignore[arg-type]
        decoder_routing=routing,  # type: ignore[arg-type]
        experts=experts,
        top_k=top_k,
    )
    return dataclasses.replace(recipe, model=model)


def joined(stack: StackConfig) -> StackConfig:
    """The dense stack whose blocks are as wide as what a token uses of `stack`'s."""
    top_k = stack.router.top_k if stack.router else 1
    widths = tuple(
        width * top_k if layer in stack.expert_layers else width
        for layer, width in enumerate(stack.feed_forward_widths)
    )
    return dataclasses.replace(
        stack, feed_forward_widths=widths, expert_layers=(), experts=0, router=None
    )


def of_equal_active_parameters(config: ModelConfig) -> ModelConfig:
    """The dense network whose blocks are as wide as what a token uses of `config`'s."""
    return dataclasses.replace(
        config, encoder=joined(config.encoder), decoder=joined(config.decoder)
    )


def read_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add_options(parser, batches=8)
    parser.add_argument("--experts", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--top-k", type=int, default=2)
    parser.add_argument("--routing", nargs="+", default=["token", "sentence", "target"])
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = read_arguments(arguments)
    keep_freed_memory()
    enable_compilation_cache()
    text = read_text(options)
    vocabulary = text.tokenizer.vocab_size
    steps: dict[str, Callable[[Batch], None]] = {}
    for experts in options.experts:
        for routing in options.routing:
            recipe = with_experts(text.recipe, routing, experts, options.top_k)
            config = recipe.model_config(vocabulary)
            if not steps:
                dense = of_equal_active_parameters(config)
                steps["dense"] = workbench_step(new_network(dense), recipe)
            steps[f"{routing}, {experts} experts"] = workbench_step(new_network(config), recipe)
    seconds, warm_up = take_turns(steps, text.batches, options.rounds)
    rows = [
        {
            "system": name,
            "p50_ms": 1000 * float(np.median(times)),
            "p95_ms": 1000 * float(np.percentile(times, 95)),
            "overhead": float(np.median(times / seconds["dense"])),
            "warm_up_s": warm_up[name],
        }
        for name, times in seconds.items()
    ]
    about = {
        "d_model": text.recipe.model.d_model,
        "expert_width": text.recipe.model.feed_forward,
        "top_k": options.top_k,
        "layers": [text.recipe.model.encoder_layers, text.recipe.model.decoder_layers],
        "vocabulary": vocabulary,
        "batch_tokens": text.recipe.data.batch_tokens,
        "data": options.data or "packaged captions",
        **conditions("flax", "optax"),
    }
    if options.json:
        print(json.dumps({"about": about, "rows": rows}, indent=2))
        return
    for key, value in about.items():
        print(f"{key}: {value}")
    print(f"\n{'system':<24}{'p50 ms':>10}{'p95 ms':>10}{'overhead':>10}{'warm-up s':>11}")
    for row in rows:
        print(
            f"{row['system']:<24}{row['p50_ms']:>10.1f}{row['p95_ms']:>10.1f}"
            f"{row['overhead']:>10.2f}{row['warm_up_s']:>11.1f}"
        )
    print("\noverhead: median over the steps of the system's time over the dense one's.")


if __name__ == "__main__":
    main()
