"""Training steps to be measured: batches of captions, the compiled step of `workbench train`, turns."""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import os
import platform
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np
from flax import nnx

import workbench
from workbench.cli.provenance import hardware
from workbench.config import ModelConfig
from workbench.nn.network import TranslationNetwork
from workbench.text.pairs import read_pairs
from workbench.text.tokenizer import Tokenizer
from workbench.training.batches import Batch, BatchStream, tokenise
from workbench.training.filtering import Filter
from workbench.training.recipe import Recipe, read_recipe
from workbench.training.update import begin, make_optimizer, make_update

ROOT = Path(__file__).parents[1]
CAPTIONS = Path(next(iter(workbench.__path__))) / "data" / "captions"
#: Seconds before every step: threads of the system before it spin on for a while, on cores that this one needs.
REST = 0.4

#: Takes one step of training on a batch; returns when it is done.
Step: TypeAlias = Callable[[Batch], None]


class Text(NamedTuple):
    """The recipe, the tokenizer, and batches as `workbench train` would make them, in its order."""

    recipe: Recipe
    tokenizer: Tokenizer
    batches: list[Batch]


def add_options(parser: argparse.ArgumentParser, batches: int) -> None:
    """What every script that measures training steps lets choose."""
    parser.add_argument("--recipe", type=Path, default=ROOT / "recipes" / "captions-trunk.toml")
    parser.add_argument("--data", help="Multi30k; else the packaged captions, a few batches' worth")
    parser.add_argument(
        "--tokenizer",
        type=Path,
        default=ROOT / "checkpoints" / "captions-dense",
        help="a directory that has one: training it is not measured here",
    )
    parser.add_argument("--batches", type=int, default=batches, help="different ones, in turn")
    parser.add_argument("--rounds", type=int, default=3, help="times that each batch is taken")
    parser.add_argument("--batch-tokens", type=int, help="instead of the recipe's")
    parser.add_argument(
        "--d-model", type=int, help="width instead of the recipe's; the blocks' is 4 times it"
    )
    parser.add_argument("--layers", type=int, help="of each stack, instead of the recipe's")
    parser.add_argument("--json", action="store_true")


def read_text(options: argparse.Namespace) -> Text:
    """The recipe with the options' changes, and its first batches."""
    recipe = read_recipe(options.recipe)
    data = dataclasses.replace(
        recipe.data,
        directory=options.data or str(CAPTIONS),
        train=recipe.data.train if options.data else "captions",
        batch_tokens=options.batch_tokens or recipe.data.batch_tokens,
    )
    model = recipe.model
    if options.d_model:
        model = dataclasses.replace(
            model, d_model=options.d_model, feed_forward=4 * options.d_model
        )
    if options.layers:
        model = dataclasses.replace(
            model, encoder_layers=options.layers, decoder_layers=options.layers
        )
    recipe = dataclasses.replace(recipe, data=data, model=model)
    tokenizer = Tokenizer.load(options.tokenizer)
    config = recipe.model_config(tokenizer.vocab_size)
    pairs = read_pairs(data.directory, data.train, recipe.tasks)
    directions = tokenise(pairs, tokenizer, config, Filter.of(data))
    stream = BatchStream(
        directions,
        data.buckets,
        data.batch_tokens,
        data.temperature,
        config.pad_id,
        config.eos_id,
        recipe.run.seed,
    ).batches()
    return Text(recipe, tokenizer, [next(stream)[1] for _ in range(options.batches)])


def new_network(config: ModelConfig, seed: int = 0) -> TranslationNetwork:
    """A network with random weights."""
    return TranslationNetwork(config, rngs=nnx.Rngs(seed))


def workbench_step(network: TranslationNetwork, recipe: Recipe) -> Step:
    """The step of `workbench train` on `network`'s weights; returns when it is done."""
    optimizer = make_optimizer(recipe.objective, recipe.run.steps)
    # Copied: the step takes over the memory of what it is given.
    graph, parameters = nnx.split(jax.tree.map(jax.numpy.copy, network))
    update = make_update(graph, optimizer, recipe)
    trained, count = begin(parameters, optimizer, recipe), 0

    def step(batch: Batch) -> None:
        nonlocal trained, count
        count += 1
        trained, parts = update(trained, batch, count)
        jax.block_until_ready((trained, parts))

    return step


def in_own_process(make: Callable[..., Step], *arguments: Any) -> Step:
    """The step that `make(*arguments)` gives, made and taken in a process of its own.

    Memory and threads are then nobody else's, as where one trains with it. The process ends with this one.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    context.Process(target=_serve, args=(there, make, arguments), daemon=True).start()
    there.close()

    def step(batch: Batch) -> None:
        here.send(batch)
        here.recv()

    return step


def _serve(connection: Connection, make: Callable[..., Step], arguments: tuple[Any, ...]) -> None:
    step = make(*arguments)
    while True:
        try:
            batch = connection.recv()
        except EOFError:
            return
        step(batch)
        connection.send(None)


def target_tokens(batch: Batch, pad_id: int) -> int:
    """Labels that are learned: padding and the language's token, which is given, are not."""
    return int((batch.labels[:, 1:] != pad_id).sum())


def take_turns(
    steps: dict[str, Step], batches: Sequence[Batch], rounds: int
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Seconds of every step [rounds * batches] of each system, one batch after the other, and of the warm-up.

    The warm-up takes each shape once, which compiles, and one batch again.
    """
    shapes = {batch.source.shape: batch for batch in batches}
    warm_up = {}
    for name, step in steps.items():
        began = time.perf_counter()
        for batch in [*shapes.values(), batches[0]]:
            step(batch)
        warm_up[name] = time.perf_counter() - began
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    names = list(steps)
    for turn in range(rounds * len(batches)):
        # Each goes first in turn, so that what one leaves in the caches helps or harms all alike.
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            time.sleep(REST)
            began = time.perf_counter()
            steps[name](batches[turn % len(batches)])
            seconds[name].append(time.perf_counter() - began)
    return {name: np.array(times) for name, times in seconds.items()}, warm_up


def conditions(*packages: str) -> dict[str, Any]:
    """Hardware, versions and how busy the machine is."""
    return {
        "hardware": hardware(),
        "load_average": round(os.getloadavg()[0], 2),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("jax", "jaxlib", *packages)},
        },
    }
