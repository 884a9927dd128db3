"""Batches: tokenised pairs of all directions, sampled by temperature, bucketed by length, in a resumable order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from workbench.config import ModelConfig
from workbench.errors import WorkbenchError
from workbench.tasks import Task
from workbench.text.pairs import Pairs
from workbench.text.tokenizer import Tokenizer
from workbench.training.filtering import Filter, PairCounts, describe
from workbench.training.tokens import TokenLists, encoded

#: On the host, or inside a compiled step.
Array: TypeAlias = Any


class Batch(NamedTuple):
    """One batch, padded to a bucket's length S = T.

    source int32 [B, S]; inputs int32 [B, T], what the decoder reads; labels int32 [B, T], what it shall say;
    encoder_task_ids and decoder_task_ids int32 [B], rows of the routers' embeddings.
    """

    source: Array
    inputs: Array
    labels: Array
    encoder_task_ids: Array
    decoder_task_ids: Array


class Position(NamedTuple):
    """Where in the endless sequence of batches one stands: epoch, and batch within it."""

    epoch: int = 0
    batch: int = 0


@dataclass(frozen=True)
class Direction:
    """The tokenised pairs of one task, with its router rows.

    sources, targets: token ids of each pair, best as `TokenLists`. counts: what became of the text's pairs.
    """

    task: Task
    sources: Sequence[Any] | TokenLists
    targets: Sequence[Any] | TokenLists
    task_ids: tuple[int, int]
    counts: PairCounts = PairCounts(0, {})  # noqa: RUF009


def tokenise(
    pairs: Pairs, tokenizer: Tokenizer, config: ModelConfig, chosen: Filter
) -> list[Direction]:
    """The pairs of each direction as token ids, without those that the filter leaves out.

    Takes 2 bytes a token (4 where the vocabulary is larger than 65,536) and 24 bytes a pair of each
    direction, besides the text itself, which nothing here holds on to. Text that several directions share
    is encoded once.

    Raises:
        WorkbenchError: a direction is left without a pair; the message has the count of each reason.
    """
    known: dict[tuple[int, str], TokenLists] = {}
    directions = []
    for task in pairs.tasks:
        sides = pairs.direction(task)
        lists = []
        for code, lines in zip((task.source, task.target), sides, strict=True):
            key = (id(lines), code)
            if key not in known:
                known[key] = encoded(lines, code, tokenizer)
            lists.append(known[key])
        sources, targets = lists
        reasons = chosen.reasons(*sides, sources.lengths, targets.lengths)
        counts = PairCounts.of(reasons)
        if not counts.kept:
            raise WorkbenchError(
                f"No usable sentence pair for {task} among {len(reasons):,} lines; left out:"
                f" {describe(counts.left_out)}. A side may have {chosen.longest} tokens at most."
            )
        kept = np.flatnonzero(reasons < 0)
        directions.append(
            Direction(task, sources.take(kept), targets.take(kept), config.task_ids(task), counts)
        )
    return directions


class BatchStream:
    """An endless, seeded sequence of batches that can start anywhere in it.

    An epoch has as many pairs as the corpus; a direction's share is its size ** (1 / temperature). Pairs are
    taken in a shuffled order that goes on from epoch to epoch, so none is seen twice before all are once.
    The plan of an epoch takes some 50 bytes a pair while it is made, by the sizes of its arrays, then 8.
    """

    def __init__(
        self,
        directions: Sequence[Direction],
        buckets: Sequence[int],
        batch_tokens: int,
        temperature: float,
        pad_id: int,
        eos_id: int,
        seed: int,
    ) -> None:
        self._directions = directions
        self._buckets = np.asarray(buckets)
        self._batch_tokens = batch_tokens
        self._pad_id, self._eos_id, self._seed = pad_id, eos_id, seed
        sizes = np.array([len(d.sources) for d in directions], np.float64)
        shares = sizes ** (1 / temperature)
        self._shares = np.round(sizes.sum() * shares / shares.sum()).astype(int).clip(1)
        self._lengths = [np.maximum(_lengths(d.sources), _lengths(d.targets)) for d in directions]

    def batches(self, start: Position = Position()) -> Iterator[tuple[Position, Batch]]:  # noqa: B008
        """Batches from `start` on, each with the position after it."""
        epoch, skip = start
        while True:
            plan = self._plan(epoch)
            for index in range(skip, len(plan)):
                yield Position(epoch, index + 1), self._batch(*plan[index])
            epoch, skip = epoch + 1, 0

    def _plan(self, epoch: int) -> list[tuple[int, np.ndarray]]:
        """(length, [[direction, pair], ...]) of every batch of an epoch; depends on nothing but the seed."""
        random = np.random.default_rng([self._seed, epoch])
        chosen, lengths = [], []
        for index, share in enumerate(self._shares):
            pairs = self._take(index, epoch * share, share)
            numbered = np.full(share, index, np.int32), pairs.astype(np.int32)
            chosen.append(np.stack(numbered, axis=1))
            lengths.append(self._lengths[index][pairs])
        examples, sizes = np.concatenate(chosen), np.concatenate(lengths)
        order = random.permutation(len(examples))
        examples, bucket = examples[order], np.searchsorted(self._buckets, sizes[order])
        plan: list[tuple[int, np.ndarray]] = []
        for index, length in enumerate(self._buckets):
            members = examples[bucket == index]
            count = max(1, self._batch_tokens // int(length))
            # Every batch of a bucket has the same shape: the last one is filled up from the first.
            if len(members) % count:
                members = np.resize(members, (-(-len(members) // count) * count, 2))
            plan += [(int(length), part) for part in members.reshape(-1, count, 2)]
        random.shuffle(plan)  # type: ignore[arg-type]
        return plan

    def _take(self, direction: int, first: int, count: int) -> np.ndarray:
        """`count` pairs from the `first`-th on in the direction's endless shuffled order."""
        size = len(self._lengths[direction])
        rounds = range(first // size, (first + count - 1) // size + 1)
        orders = [
            np.random.default_rng([self._seed, 7919 + direction, r]).permutation(size)
            for r in rounds
        ]
        offset = first - rounds[0] * size
        return np.concatenate(orders)[offset : offset + count]

    def _batch(self, length: int, examples: np.ndarray) -> Batch:
        count = len(examples)
        source = np.full((count, length), self._pad_id, np.int32)
        labels = np.full((count, length), self._pad_id, np.int32)
        inputs = np.full((count, length), self._pad_id, np.int32)
        task_ids = np.zeros((2, count), np.int32)
        for row, (index, pair) in enumerate(examples):
            direction = self._directions[index]
            s, t = direction.sources[pair], direction.targets[pair]
            source[row, : len(s)] = s
            labels[row, : len(t)] = t
            inputs[row, 0] = self._eos_id
            inputs[row, 1 : len(t)] = t[:-1]
            task_ids[:, row] = direction.task_ids
        return Batch(source, inputs, labels, task_ids[0], task_ids[1])


def _lengths(lists: Sequence[Any] | TokenLists) -> np.ndarray:
    return lists.lengths if isinstance(lists, TokenLists) else np.array([len(ids) for ids in lists])
