"""Model FLOPs utilisation of a training step, by default of Transformer-Base with 32 experts.

    python -m benchmarks.mfu [--sentences 256] [--length 128] [--routing token target] [--peak 989e12] [--json]

MFU is the model's FLOPs of a step over its seconds and the device's peak (Chowdhery et al. 2022, arXiv
2204.02311, appendix B). The model's FLOPs are those of its matrix products, two a multiplication and addition,
with B sentences of S source and T target tokens, and in each layer

    attention over itself    8 N D^2 + 4 N T D        N = B T tokens (B S in the encoder)
    attention to the source  4 B T D^2 + 4 B S D^2 + 4 B T S D
    feed-forward             4 N D F, with experts 4 N D F K + 2 N D E: only the chosen ones count
    logits                   2 B T D V

once forward and twice backward: 3 x the forward sum. Causal attention counts whole, since it is computed whole;
what is computed besides (sorting, padding of tiles, recomputing, the optimizer) does not count. The weights are
random, the tokens too, and no sentence is padded; compiling and warm-up are apart.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx

from benchmarks.training_steps import conditions, new_network, workbench_step
from workbench.config import ModelConfig
from workbench.decoding.programs import enable_compilation_cache
from workbench.nn.dispatch import DISPATCHERS
from workbench.nn.feed_forward import ExpertFeedForward
from workbench.training.batches import Batch
from workbench.training.memory import keep_freed_memory
from workbench.training.recipe import Recipe, recipe_from

#: FLOP/s in bfloat16 without sparsity, by how JAX calls the device. Sources: NVIDIA's data sheets of H100
#: (SXM 989.4, PCIe 756), H200 (989) and A100 (312), which print the figure with sparsity, twice as high, for the
#: first two; Google Cloud's TPU pages for v4 (275), v5e (197) and v5p (459).
#: Written from memory of those pages and not checked against them yet: give --peak for a figure to publish.
PEAKS = {
    "NVIDIA H200": 989e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA H100": 989e12,
    "NVIDIA A100": 312e12,
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5e": 197e12,
    "TPU v5": 459e12,
}


def forward_flops(config: ModelConfig, sentences: int, source: int, target: int) -> float:
    """FLOPs of the matrix products of one forward pass, by the formula above."""
    D, V = config.d_model, config.vocabulary
    total = 2.0 * sentences * target * D * V
    for name, stack in config.stacks:
        length = source if name == "encoder" else target
        tokens = sentences * length
        for layer, width in enumerate(stack.feed_forward_widths):
            total += 8 * tokens * D**2 + 4 * tokens * length * D
            if name == "decoder":
                total += 4 * tokens * D**2 + 4 * sentences * source * D**2
                total += 4 * tokens * source * D
            if stack.router and layer in stack.expert_layers:
                total += 4 * tokens * D * width * stack.router.top_k
                # A task or sentence is decided once, which is next to nothing; counted as for tokens.
                total += 2 * tokens * D * stack.experts
            else:
                total += 4 * tokens * D * width
    return total


def peak_of(device: Any) -> float | None:
    """The device's peak FLOP/s, if the table has it."""
    kind = device.device_kind
    return next((peak for name, peak in PEAKS.items() if kind.startswith(name)), None)


def recipe_of(options: argparse.Namespace, routing: str) -> Recipe:
    """Transformer-Base (Vaswani et al. 2017, table 3), or what the options say, routed so."""
    encoder, _, decoder = routing.partition("/")
    return recipe_from(
        {
            "name": "mfu",
            "data": {"directory": "none", "languages": ["en", "de", "fr", "cs"], "pivot": "en"},
            "model": {
                "d_model": options.d_model,
                "heads": options.heads,
                "feed_forward": options.feed_forward,
                "encoder_layers": options.layers,
                "decoder_layers": options.layers,
                "encoder_routing": encoder,
                "decoder_routing": decoder or encoder,
                "experts": options.experts,
            },
            "objective": {"compute": options.compute},
        }
    )


def random_batch(config: ModelConfig, sentences: int, length: int) -> Batch:
    """Sentences without padding; tasks in turn."""
    draws = np.random.default_rng(0)
    sides = draws.integers(4, config.vocabulary, (3, sentences, length), dtype=np.int32)
    ids = [config.task_ids(task) for task in config.directions]
    rows = np.array([ids[i % len(ids)] for i in range(sentences)], np.int32)
    return Batch(sides[0], sides[1], sides[2], rows[:, 0], rows[:, 1])


def measure(options: argparse.Namespace, routing: str) -> dict[str, Any]:
    """One line of the table."""
    recipe = recipe_of(options, routing)
    objective = dataclasses.replace(recipe.objective, accumulate=options.accumulate)
    recipe = dataclasses.replace(recipe, objective=objective)
    config = recipe.model_config(options.vocabulary)
    network = new_network(config)
    if options.dispatcher != "auto":
        for _, block in nnx.iter_graph(network):
            if isinstance(block, ExpertFeedForward):
                block.dispatcher = options.dispatcher
    step = workbench_step(network, recipe)
    batch = jax.device_put(random_batch(config, options.sentences, options.length))
    began = time.perf_counter()
    step(batch)
    step(batch)
    warm_up = time.perf_counter() - began
    seconds = []
    for _ in range(options.steps):
        began = time.perf_counter()
        step(batch)
        seconds.append(time.perf_counter() - began)
    p50 = float(np.median(seconds))
    flops = 3 * forward_flops(config, options.sentences, options.length, options.length)
    peak = options.peak or peak_of(jax.devices()[0])
    return {
        "routing": routing,
        "p50_ms": 1000 * p50,
        "target_tokens_per_s": options.sentences * options.length / p50,
        "tera_flops_a_step": flops / 1e12,
        "tera_flops_per_s": flops / p50 / 1e12,
        "mfu": flops / p50 / peak if peak else None,
        "warm_up_s": warm_up,
    }


def add_size_options(parser: argparse.ArgumentParser) -> None:
    """What `recipe_of` makes a network of: by default Transformer-Base with 32 experts."""
    parser.add_argument("--d-model", type=int, default=512)
    parser.add_argument("--feed-forward", type=int, default=2048)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--layers", type=int, default=6, help="of each stack")
    parser.add_argument("--vocabulary", type=int, default=64000)
    parser.add_argument("--experts", type=int, default=32, help="in every second layer, 2 chosen")


def read_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add_size_options(parser)
    parser.add_argument(
        "--routing", nargs="+", default=["dense", "token", "target", "token/target"]
    )
    parser.add_argument("--sentences", type=int, default=256)
    parser.add_argument("--length", type=int, default=128, help="tokens of each side")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument(
        "--accumulate", type=int, default=1, help="parts of a batch, to save memory"
    )
    parser.add_argument("--compute", choices=["bfloat16", "float32"], default="bfloat16")
    parser.add_argument("--dispatcher", choices=["auto", *DISPATCHERS], default="auto")
    parser.add_argument(
        "--peak", type=float, help="FLOP/s; needed where the table lacks the device"
    )
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = read_arguments(arguments)
    keep_freed_memory()
    enable_compilation_cache()
    rows = [measure(options, routing) for routing in options.routing]
    about = {
        **{name: value for name, value in vars(options).items() if name not in ("json", "routing")},
        "peak": options.peak or peak_of(jax.devices()[0]),
        **conditions("flax", "optax"),
    }
    if options.json:
        print(json.dumps({"about": about, "rows": rows}, indent=2))
        return
    for key, value in about.items():
        print(f"{key}: {value}")
    widths = {"p50 ms": 10, "target tok/s": 14, "TFLOP/s": 10, "MFU": 8, "warm-up s": 11}
    print("\n" + f"{'routing':<16}" + "".join(f"{name:>{size}}" for name, size in widths.items()))
    for row in rows:
        mfu = "-" if row["mfu"] is None else f"{100 * row['mfu']:.1f} %"
        print(
            f"{row['routing']:<16}{row['p50_ms']:>10.1f}{row['target_tokens_per_s']:>14.0f}"
            f"{row['tera_flops_per_s']:>10.2f}{mfu:>8}{row['warm_up_s']:>11.1f}"
        )


if __name__ == "__main__":
    main()
