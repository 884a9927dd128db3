"""The training loop: follows a recipe, writes metrics as it goes, and can be killed and resumed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from flax import nnx

from workbench.config import ModelConfig
from workbench.decoding.programs import enable_compilation_cache
from workbench.decoding.translator import Translator
from workbench.errors import WorkbenchError
from workbench.nn.network import TranslationNetwork
from workbench.text.corpus import ParallelCorpus, read_parallel
from workbench.text.tokenizer import Tokenizer
from workbench.training.batches import BatchStream, Direction, Position, tokenise
from workbench.training.best import BestStore, Standing, no_standing, stand
from workbench.training.memory import keep_freed_memory
from workbench.training.metrics import MetricsLog, Progress
from workbench.training.recipe import Recipe, recipe_table
from workbench.training.state import KEPT, StateStore
from workbench.training.upcycling import start_from
from workbench.training.update import Trained, begin, make_optimizer, make_update, pad_rows
from workbench.training.validation import Validator
from workbench.training.watch import LossWatch


class State(NamedTuple):
    """Everything a run needs to go on: the trained arrays, [step, epoch, batch] and how validations stand."""

    trained: Trained
    progress: np.ndarray
    standing: Standing


def train(
    recipe: Recipe, output: Path, report: Callable[[Progress], None] = lambda progress: None
) -> Translator:
    """Train as `recipe` says and give the finished translator; `output` holds the run.

    `output/metrics.jsonl` gets a line at each report, `output/state` the resumable states, `output/best` the
    checkpoint with the best validation BLEU. Called again with the same recipe and directory, the run goes on
    from its newest state, on the batches that would have come next, to the same bits.

    Raises:
        WorkbenchError: the recipe, its data or its starting checkpoint cannot be used; the disk is too small
            or refuses; the loss or its gradient is no longer a number.
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
    state = State(begin(parameters, optimizer, recipe), np.zeros(3, np.int64), no_standing())
    store = StateStore(output / "state")
    if store.latest is None:
        _check_room(output, state)
    state = store.restore(state) or state
    best = BestStore(output / "best")
    state = state._replace(standing=best.checked(state.standing))

    update = make_update(graph, optimizer, recipe)
    validator = Validator(valid, tokenizer, config, recipe)
    step, *position = (int(n) for n in state.progress)
    metrics = MetricsLog(output / "metrics.jsonl", step, recipe.run.steps, report)
    if step == 0:
        metrics.write(0, {"recipe": recipe_table(recipe), "dropped_pairs": dropped})

    def translator() -> Translator:
        weights = state.trained.best_known
        return Translator(recipe.name, config, tokenizer, nnx.merge(graph, weights))

    watch = LossWatch(output)
    batches = _stream(directions, config, recipe).batches(Position(*position))
    while step < recipe.run.steps and not _is_stale(state, recipe):
        step += 1
        place, batch = next(batches)
        batch = pad_rows(batch, recipe.objective.accumulate, config.pad_id)
        trained, parts = update(state.trained, batch, step)
        state = State(trained, np.array([step, *place], np.int64), state.standing)
        metrics.add(parts)
        watch.add(step, parts, batch)
        last = step == recipe.run.steps
        if step % recipe.run.log_every == 0 or last:
            watch.check()
            metrics.log(step)
        if step % recipe.run.valid_every == 0 or last:
            watch.check()
            model = translator()
            scores = validator(model.network)
            metrics.write(step, scores)
            state = state._replace(
                standing=stand(state.standing, step, scores["valid_bleu"]["average"])
            )
            if state.standing[1] == step:
                best.save(step, model)
        if step % recipe.run.save_every == 0 or last or _is_stale(state, recipe):
            watch.check()
            store.save(step, state)
    store.close()
    if recipe.run.final == "best":
        return Translator.load(best.path(int(state.standing[1])))
    return translator()


def _is_stale(state: State, recipe: Recipe) -> bool:
    """Whether validation has not become better for as long as the recipe has patience."""
    return 0 < recipe.run.patience <= state.standing[2]


def _stream(directions: list[Direction], config: ModelConfig, recipe: Recipe) -> BatchStream:
    data = recipe.data
    return BatchStream(
        directions,
        data.buckets,
        data.batch_tokens,
        data.temperature,
        config.pad_id,
        config.eos_id,
        recipe.run.seed,
    )


def _check_room(output: Path, state: State) -> None:
    """Refuse to begin where the states and the best checkpoint would not fit on the disk.

    Raises:
        WorkbenchError: with what is needed and what is free.
    """
    sizes = [sum(leaf.nbytes for leaf in jax.tree.leaves(part)) for part in state.trained]
    # The states that are kept and the one being written; of the weights alone two best ones and the last.
    needed = (KEPT + 1) * sum(sizes) + 3 * sizes[0]
    free = shutil.disk_usage(output).free
    if free < needed:
        raise WorkbenchError(
            f"The run needs about {needed / 1e6:,.0f} MB in {output}, where {free / 1e6:,.0f} MB are free:"
            " make room or choose another directory."
        )


def _tokenizer(recipe: Recipe, corpus: ParallelCorpus, output: Path) -> Tokenizer:
    """The run's tokenizer, trained once on the training text and kept beside its states."""
    kept = output / "tokenizer"
    if not kept.exists():
        lines = (line for side in corpus.lines.values() for line in side)
        trained = Tokenizer.train(lines, recipe.data.vocabulary, recipe.languages)
        trained.save(output / "tokenizer.partial")
        (output / "tokenizer.partial").rename(kept)
    return Tokenizer.load(kept)
