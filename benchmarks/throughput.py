"""Decoding throughput by batch size: token against task routing, and the part that one task needs.

    python -m benchmarks.throughput [--routing token target token/target] [--batch-sizes 1 4 16 64] [--json]

What the paper's 1.87 x compares: greedy decoding of networks that differ in their routing alone, over a sweep of
batch sizes, and the peak of each. By default Transformer-Base with 32 experts in every second layer, 2 chosen,
random weights, exactly `--length` tokens in and out (the end token is out of reach), all sentences of one task.
Systems take turns; compiling comes before and is reported apart. Beside every network with a task-routed
stack stands its part: the same network with that stack's experts joined to a dense block of what the task uses,
which is what extraction makes of it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx

from benchmarks.mfu import add_size_options, recipe_of
from benchmarks.moe_overhead import joined
from benchmarks.training_steps import conditions, new_network
from workbench.config import ModelConfig
from workbench.decoding.programs import Programs, enable_compilation_cache, kernels_for
from workbench.decoding.search import Request, greedy


def part_of(config: ModelConfig) -> ModelConfig:
    """The shape of one task's part: stacks that route by task are dense, others are whole."""
    stacks = {
        name: joined(stack)
        for name, stack in config.stacks
        if stack.router is not None and stack.router.granularity == "task"
    }
    return dataclasses.replace(config, **stacks)  # type: ignore[arg-type]


def shapes(options: argparse.Namespace) -> dict[str, ModelConfig]:
    """Every network by name: those of the routings asked for, and their parts."""
    found = {}
    for routing in options.routing:
        config = recipe_of(options, routing).model_config(options.vocabulary)
        found[routing] = config
        if part_of(config) != config:
            found[f"{routing}, part"] = part_of(config)
    return found


def decoder(config: ModelConfig, options: argparse.Namespace) -> Callable[[int], float]:
    """Translates a batch of so many sentences; gives the seconds it took."""
    graph, state = nnx.split(new_network(config))
    parameters = jax.tree.map(lambda leaf: leaf.astype(options.compute), state)
    leaves, structure = jax.tree.flatten(parameters)

    def search(parameters: Any, request: Request) -> Any:
        network = nnx.merge(graph, jax.tree.unflatten(structure, parameters))
        return greedy(
            network, request, options.length, with_scores=False, without=config.eos_id
        ).lengths

    programs = Programs(search, parameters=leaves)
    draws = np.random.default_rng(0)
    encoder_id, decoder_id = config.task_ids(config.directions[0])

    def decode(rows: int) -> float:
        source = draws.integers(8, config.vocabulary, (rows, options.length), dtype=np.int32)
        # Any token does as the language's.
        each = (encoder_id, decoder_id, config.eos_id, options.length)
        same = [np.full(rows, n, np.int32) for n in each]
        request = Request(source, *same)
        program = programs.get(request, kernels=kernels_for(rows, 1, screened=False))
        began = time.perf_counter()
        lengths = jax.device_get(program(request))
        seconds = time.perf_counter() - began
        assert (lengths == options.length).all()
        return seconds

    return decode


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row a network and batch size."""
    configs = shapes(options)
    decoders = {name: decoder(config, options) for name, config in configs.items()}
    rows = []
    for size in options.batch_sizes:
        warm_up = {}
        for name, decode in decoders.items():
            began = time.perf_counter()
            decode(size)
            warm_up[name] = time.perf_counter() - began
        seconds: dict[str, list[float]] = {name: [] for name in decoders}
        names = list(decoders)
        for turn in range(options.repeats):
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                seconds[name].append(decoders[name](size))
        rows += [
            {
                "system": name,
                "batch_size": size,
                "p50_ms": 1000 * float(np.median(times)),
                "tokens_per_s": size * options.length / float(np.median(times)),
                "warm_up_s": warm_up[name],
            }
            for name, times in seconds.items()
        ]
    return rows


def peaks(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Tokens a second of each system at the batch size that suits it best."""
    found: dict[str, float] = {}
    for row in rows:
        found[row["system"]] = max(found.get(row["system"], 0.0), row["tokens_per_s"])
    return found


def read_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add_size_options(parser)
    parser.add_argument("--routing", nargs="+", default=["token", "target", "token/target"])
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--length", type=int, default=32, help="tokens of each side")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--compute", choices=["bfloat16", "float32"], default="float32")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = read_arguments(arguments)
    enable_compilation_cache()
    rows = measure(options)
    about = {
        **{name: value for name, value in vars(options).items() if name != "json"},
        **conditions("flax"),
    }
    if options.json:
        print(json.dumps({"about": about, "rows": rows, "peaks": peaks(rows)}, indent=2))
        return
    for key, value in about.items():
        print(f"{key}: {value}")
    first = {row["batch_size"]: row["p50_ms"] for row in rows if row["system"] == rows[0]["system"]}
    widths = {"batch": 8, "p50 ms": 12, "tokens/s": 12, "speed": 8, "warm-up s": 11}
    print("\n" + f"{'system':<24}" + "".join(f"{name:>{size}}" for name, size in widths.items()))
    for row in rows:
        print(
            f"{row['system']:<24}{row['batch_size']:>8}{row['p50_ms']:>12.1f}{row['tokens_per_s']:>12.0f}"
            f"{first[row['batch_size']] / row['p50_ms']:>8.2f}{row['warm_up_s']:>11.1f}"
        )
    print("\nspeed: times as fast as the first system at the same batch size. Peaks, tokens/s:")
    best = peaks(rows)
    for name, peak in best.items():
        print(f"{name:<24}{peak:>12.0f}{peak / next(iter(best.values())):>8.2f}")


if __name__ == "__main__":
    main()
