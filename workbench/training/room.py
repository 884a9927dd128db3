"""Room in memory: what a network and its training take at least, asked before anything is read or drawn."""

from __future__ import annotations

import jax

from workbench.checkpoint.memory import free_memory, in_words
from workbench.config import ModelConfig
from workbench.errors import WorkbenchError
from workbench.training.recipe import Recipe

#: What a step that has no room could do with less of.
SMALLER = (
    "lower data.batch_tokens, raise objective.accumulate, train a smaller network, or spread it over devices"
    " with --mesh"
)


def check_network(name: str, config: ModelConfig) -> None:
    """Refuse a network that one device cannot hold in float32.

    Raises:
        WorkbenchError: with what is needed and what is free.
    """
    _check(name, 4 * _parameters(config), "make a smaller network, or use a machine with more")


def check_training(recipe: Recipe, vocabulary: int) -> None:
    """Refuse what one device cannot train; over several devices only they can tell.

    vocabulary: tokens of its tokenizer.

    Raises:
        WorkbenchError: with what is needed at least and what is free.
    """
    if recipe.run.mesh:
        return
    config, objective = recipe.model_config(vocabulary), recipe.objective
    # Weights and their gradient; Adam's two moments; the average.
    copies = 2 + 2 * (objective.optimizer == "adam") + bool(recipe.run.average)
    # Of every token a layer keeps for the gradient what goes into attention and what into the block, and more.
    kept = 2 * config.d_model * (config.encoder.depth + config.decoder.depth)
    size = 4 if objective.compute == "float32" else 2
    batch = size * kept * recipe.data.batch_tokens // objective.accumulate
    _check(f"The recipe {recipe.name!r}", 4 * copies * _parameters(config) + batch, SMALLER)


def _check(what: str, needed: int, advice: str) -> None:
    free = free_memory()
    if free is not None and needed > free:
        raise WorkbenchError(
            f"{what} needs at least {in_words(needed)} of memory, and {in_words(free)} are free"
            f" ({jax.devices()[0].platform}): {advice}."
        )


def _parameters(config: ModelConfig) -> int:
    """Weights of the embedding, of attention and of blocks, without going through every expert's tensors."""
    d_model = config.d_model
    blocks = sum(
        2 * d_model * width * max(1, stack.experts_in(layer))
        for _, stack in config.stacks
        for layer, width in enumerate(stack.feed_forward_widths)
    )
    attention = 4 * d_model**2 * (config.encoder.depth + 2 * config.decoder.depth)
    return config.vocabulary * d_model + attention + blocks
