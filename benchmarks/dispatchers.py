"""Every dispatcher over rows, experts and chosen experts: what `choose_dispatcher`'s rule was made from.

    python -m benchmarks.dispatchers [--rows 1 2 4 8 16 64 512] [--experts 8 32] [--top-k 1 2] [--gradient]

Milliseconds for one layer's mixture of experts on random rows and an even random routing, the dispatchers taking
turns; compiling is not in them. `rule` is what `choose_dispatcher` would take; `loss` is its time over the
fastest one's. With `--gradient` forward and backward are timed together, as in training.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.training_steps import conditions
from workbench.nn.dispatch import DISPATCHERS, Dispatcher, choose_dispatcher
from workbench.nn.tiles import ExpertWeights


def program(dispatch: Dispatcher, gradient: bool) -> Callable[..., Any]:
    """The dispatcher compiled: its outputs, or the gradients of their sum."""
    if not gradient:
        return jax.jit(dispatch)

    def loss(x: jax.Array, gates: jax.Array, weights: ExpertWeights, experts: jax.Array) -> Any:
        return jnp.square(dispatch(x, experts, gates, weights)).sum()

    differentiated = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))
    return lambda x, experts, gates, weights: differentiated(x, gates, weights, experts)


def problem(rows: int, experts: int, top_k: int, d_model: int, width: int, seed: int = 0) -> Any:
    """Arguments of a dispatcher: rows, an even routing of them, gates, weights."""
    draws = np.random.default_rng(seed)
    shapes = (
        (experts, d_model, width),
        (experts, width),
        (experts, width, d_model),
        (experts, d_model),
    )
    weights = ExpertWeights(*(jnp.asarray(draws.normal(size=s), jnp.float32) for s in shapes))
    x = jnp.asarray(draws.normal(size=(rows, d_model)), jnp.float32)
    chosen = np.argsort(draws.random((rows, experts)), axis=1)[:, :top_k]
    gates = jnp.asarray(draws.uniform(0.1, 1, (rows, top_k)), jnp.float32)
    return x, jnp.asarray(chosen, jnp.int32), gates, weights


def milliseconds(
    programs: dict[str, Callable[..., Any]], arguments: Any, seconds: float
) -> dict[str, float]:
    """Median time of each, in turns, for about so many seconds in all."""
    times: dict[str, list[float]] = {name: [] for name in programs}
    for run in programs.values():
        jax.block_until_ready(run(*arguments))
    end = time.perf_counter() + seconds
    while not times[next(iter(times))] or time.perf_counter() < end:
        for name, run in programs.items():
            began = time.perf_counter()
            jax.block_until_ready(run(*arguments))
            times[name].append(1000 * (time.perf_counter() - began))
    return {name: float(np.median(measured)) for name, measured in times.items()}


def read_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 2, 4, 8, 16, 64, 512])
    parser.add_argument("--experts", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--top-k", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--d-model", type=int, default=128)
    parser.add_argument("--width", type=int, default=512, help="of one expert")
    parser.add_argument("--gradient", action="store_true")
    parser.add_argument("--seconds", type=float, default=0.5, help="for each line of the table")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = read_arguments(arguments)
    programs = {name: program(d, options.gradient) for name, d in DISPATCHERS.items()}
    names = {dispatch: name for name, dispatch in DISPATCHERS.items()}
    rows = []
    for experts in options.experts:
        for top_k in options.top_k:
            for count in options.rows:
                given = problem(count, experts, top_k, options.d_model, options.width)
                found = milliseconds(programs, given, options.seconds)
                rule = names[choose_dispatcher(count, top_k, experts)]
                rows.append(
                    {"experts": experts, "top_k": top_k, "rows": count, **found}
                    | {"rule": rule, "loss": found[rule] / min(found.values())}
                )
    about = {
        "d_model": options.d_model,
        "expert_width": options.width,
        "timed": "forward and backward" if options.gradient else "forward",
        **conditions(),
    }
    if options.json:
        print(json.dumps({"about": about, "rows": rows}, indent=2))
        return
    for key, value in about.items():
        print(f"{key}: {value}")
    print(
        f"\n{'experts':>7}{'top-k':>7}{'rows':>7}"
        + "".join(f"{name:>11}" for name in DISPATCHERS)
        + f"  {'rule':<10}{'loss':>6}"
    )
    for row in rows:
        print(
            f"{row['experts']:>7}{row['top_k']:>7}{row['rows']:>7}"
            + "".join(f"{row[name]:>11.3f}" for name in DISPATCHERS)
            + f"  {row['rule']:<10}{row['loss']:>6.2f}"
        )


if __name__ == "__main__":
    main()
