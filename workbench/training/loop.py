"""The training loop: follows a recipe, writes metrics as it goes, and can be killed and resumed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from workbench.decoding.programs import enable_compilation_cache
from workbench.decoding.translator import Translator
from workbench.nn.network import TranslationNetwork
from workbench.text.corpus import ParallelCorpus, read_parallel
from workbench.text.tokenizer import Tokenizer
from workbench.training.batches import Batch, BatchStream, Position, tokenise
from workbench.training.memory import keep_freed_memory
from workbench.training.metrics import MetricsLog, Progress
from workbench.training.objective import training_loss
from workbench.training.recipe import ObjectiveRecipe, Recipe, recipe_table
from workbench.training.state import StateStore
from workbench.training.upcycling import start_from
from workbench.training.validation import Validator


class State(NamedTuple):
    """Everything a run needs to go on: parameters, optimizer state, and [step, epoch, batch]."""

    parameters: Any
    optimizer: Any
    progress: np.ndarray


def train(
    recipe: Recipe, output: Path, report: Callable[[Progress], None] = lambda progress: None
) -> Translator:
    """Train as `recipe` says and give the finished translator; `output` holds the run.

    `output/metrics.jsonl` gets a line at each report, `output/state` the resumable states. Called again
    with the same recipe and directory, the run goes on from its newest state, on the batches that would have
    come next.

    Raises:
        WorkbenchError: the recipe, its data or its starting checkpoint cannot be used, or the loss
            is no longer a number.
    """
    keep_freed_memory()
    enable_compilation_cache()
    start = Translator.load(recipe.run.start_from) if recipe.run.start_from else None
    corpus = read_parallel(recipe.data.directory, recipe.data.train, recipe.data.languages)
    valid = read_parallel(recipe.data.directory, recipe.data.valid, recipe.data.languages)
    output.mkdir(parents=True, exist_ok=True)
    tokenizer = start.tokenizer if start else _tokenizer(recipe, corpus, output)
    config = recipe.model_config(tokenizer.vocab_size)
    directions, dropped = tokenise(corpus, tokenizer, config, recipe.data.buckets[-1])

    network = TranslationNetwork(config, rngs=nnx.Rngs(recipe.run.seed))
    if start:
        start_from(network, start.network, recipe.run.fresh_units)
    graph, parameters = nnx.split(network)
    optimizer = make_optimizer(recipe.objective, recipe.run.steps)
    state = State(parameters, optimizer.init(parameters), np.zeros(3, np.int64))
    store = StateStore(output / "state")
    if store.latest is not None:
        state = store.restore(state)

    stream = BatchStream(
        directions,
        recipe.data.buckets,
        recipe.data.batch_tokens,
        recipe.data.temperature,
        config.pad_id,
        config.eos_id,
        recipe.run.seed,
    )
    update = make_update(graph, optimizer, recipe.objective, recipe.run.seed)
    validator = Validator(valid, tokenizer, config, recipe)
    step, *position = (int(n) for n in state.progress)
    metrics = MetricsLog(output / "metrics.jsonl", step, recipe.run.steps, report)
    if step == 0:
        metrics.write(0, {"recipe": recipe_table(recipe), "dropped_pairs": dropped})

    batches = stream.batches(Position(*position))
    for step in range(step + 1, recipe.run.steps + 1):  # noqa: B020
        place, batch = next(batches)
        parameters, moments, parts = update(state.parameters, state.optimizer, batch, step)
        state = State(parameters, moments, np.array([step, *place], np.int64))
        metrics.add(parts)
        last = step == recipe.run.steps
        if step % recipe.run.log_every == 0 or last:
            metrics.log(step)
        if step % recipe.run.save_every == 0 or last:
            store.save(step, state)
        if step % recipe.run.valid_every == 0 or last:
            metrics.write(step, validator(nnx.merge(graph, state.parameters)))
    store.close()
    return Translator(recipe.name, config, tokenizer, nnx.merge(graph, state.parameters))


def _tokenizer(recipe: Recipe, corpus: ParallelCorpus, output: Path) -> Tokenizer:
    """The run's tokenizer, trained once on the training text and kept beside its states."""
    kept = output / "tokenizer"
    if not kept.exists():
        lines = (line for side in corpus.lines.values() for line in side)
        trained = Tokenizer.train(lines, recipe.data.vocabulary, recipe.languages)
        trained.save(output / "tokenizer.partial")
        (output / "tokenizer.partial").rename(kept)
    return Tokenizer.load(kept)


def make_update(
    graph: Any, optimizer: optax.GradientTransformation, recipe: ObjectiveRecipe, seed: int
) -> Callable[[Any, Any, Batch, int], tuple[Any, Any, dict[str, jax.Array]]]:
    """One compiled training step: (parameters, optimizer state, batch, step) -> both anew, and metrics."""

    @partial(jax.jit, donate_argnums=(0, 1))
    def update(parameters, moments, batch, step):  # type: ignore[no-untyped-def]
        # The key depends on the step alone, so that a resumed run drops the same units.
        key = jax.random.fold_in(jax.random.key(seed, impl="rbg"), step)

        def loss(parameters):  # type: ignore[no-untyped-def]
            return training_loss(nnx.merge(graph, parameters), batch, recipe, key)

        (_, parts), gradients = jax.value_and_grad(loss, has_aux=True)(parameters)
        parts["gradient_norm"] = optax.global_norm(gradients)
        updates, moments = optimizer.update(gradients, moments, parameters)
        return optax.apply_updates(parameters, updates), moments, parts

    return update


def make_optimizer(recipe: ObjectiveRecipe, steps: int) -> optax.GradientTransformation:
    """Clipping, then Adam (Vaswani et al. 2017) or Adafactor, under the recipe's schedule."""
    schedule = make_schedule(recipe, steps)
    if recipe.optimizer == "adafactor":
        return optax.adafactor(schedule, clipping_threshold=recipe.clip)
    return optax.chain(
        optax.clip_by_global_norm(recipe.clip), optax.adam(schedule, b1=0.9, b2=0.98, eps=1e-9)
    )


def make_schedule(recipe: ObjectiveRecipe, steps: int) -> Callable[[Any], Any]:
    """Learning rate by step: linear warm-up to the peak, then constant, linear to zero, or 1/sqrt(step)."""
    peak, warmup = recipe.learning_rate, recipe.warmup_steps

    def schedule(step: Any) -> Any:
        rise = jnp.minimum(1.0, (step + 1) / max(1, warmup))
        if recipe.schedule == "inverse_sqrt":
            return peak * rise * jnp.sqrt(max(1, warmup) / jnp.maximum(step + 1, max(1, warmup)))
        if recipe.schedule == "linear":
            return peak * rise * jnp.clip((steps - step) / max(1, steps - warmup), 0.0, 1.0)
        return peak * rise

    return schedule
