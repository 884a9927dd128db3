"""Validation during training: loss and greedy BLEU for each direction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import sacrebleu
from flax import nnx

from workbench.config import ModelConfig
from workbench.decoding.translator import Translator
from workbench.evaluation.quality import bleu_tokenizer
from workbench.nn.network import TranslationNetwork
from workbench.text.pairs import Pairs
from workbench.text.tokenizer import Tokenizer
from workbench.training.batches import Batch, Direction, tokenise
from workbench.training.filtering import Filter
from workbench.training.objective import training_loss
from workbench.training.recipe import Recipe
from workbench.training.update import pad_rows


class Validator:
    """Scores a network on the first `run.valid_sentences` of the validation split, direction by direction."""

    def __init__(
        self, pairs: Pairs, tokenizer: Tokenizer, config: ModelConfig, recipe: Recipe
    ) -> None:
        self._pairs = pairs.head(recipe.run.valid_sentences)
        longest = recipe.data.buckets[-1]
        rows = min(recipe.run.valid_sentences, recipe.data.batch_tokens // longest)
        self._batches = {
            str(direction.task): _batches(direction, rows, longest, config)
            for direction in tokenise(self._pairs, tokenizer, config, Filter(longest))
        }
        self._tokenizer, self._config, self._recipe = tokenizer, config, recipe
        self._losses: Any = None

    def __call__(
        self, network: TranslationNetwork, check: Callable[[], None] = lambda: None
    ) -> dict[str, Any]:
        """`valid_nats` and `valid_bleu`: nats a token and BLEU, for each direction and on average.

        check: called now and then; what it raises ends the validation.
        """
        graph, parameters = nnx.split(network)
        if self._losses is None:

            def losses(parameters: Any, batch: Batch) -> tuple[jax.Array, jax.Array]:
                network = nnx.merge(graph, parameters)
                parts = training_loss(network, batch, self._recipe.objective, None)[1]
                return parts["nats"], parts["tokens"]

            self._losses = jax.jit(losses)
        nats = {}
        for name, batches in self._batches.items():
            check()
            values, tokens = np.array([self._losses(parameters, batch) for batch in batches]).T
            nats[name] = float(np.average(values, weights=tokens))
        translator = Translator("validation", self._config, self._tokenizer, network)
        bleu = {}
        for task in self._config.directions:
            sources, references = self._pairs.direction(task)
            outputs = translator.translate(
                sources,
                task.source,
                task.target,
                batch_size=64,
                progress=lambda done, total: check(),
            )
            words = bleu_tokenizer(task.target)
            scored = sacrebleu.corpus_bleu(outputs, [list(references)], tokenize=words)
            bleu[str(task)] = round(scored.score, 2)
        return {"valid_nats": _with_average(nats), "valid_bleu": _with_average(bleu)}


def _with_average(values: dict[str, float]) -> dict[str, float]:
    return {"average": round(float(np.mean(list(values.values()))), 4), **values}


def _batches(direction: Direction, rows: int, length: int, config: ModelConfig) -> list[Batch]:
    """The direction's pairs in batches of so many rows, of which the last one may have padding."""
    count = len(direction.sources)
    sides = np.full((3, count, length), config.pad_id, np.int32)
    for i, (s, t) in enumerate(zip(direction.sources, direction.targets, strict=True)):
        sides[0, i, : len(s)], sides[1, i, 1 : len(t)], sides[2, i, : len(t)] = s, t[:-1], t
        sides[1, i, 0] = config.eos_id
    whole = Batch(*sides, *(np.full(count, i, np.int32) for i in direction.task_ids))
    return [
        pad_rows(Batch(*(side[first : first + rows] for side in whole)), rows, config.pad_id)
        for first in range(0, count, rows)
    ]
