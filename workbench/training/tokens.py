"""Token lists: the ids of many sentences in one array."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from workbench.text.tokenizer import Tokenizer

_LINES_AT_ONCE = 20_000  # encoded to Python lists before they become part of the array


@dataclass(frozen=True)
class TokenLists:
    """Many lists of token ids; `lists[i]` is an array, a view of the one that holds all of them.

    ids: [tokens], uint16 where the vocabulary allows it, else int32: 2 or 4 bytes a token. starts int64 [n]
    and lengths int32 [n]: where each list lies, 12 bytes a list. What `take` gives shares the ids.
    """

    ids: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> np.ndarray:
        start = self.starts[index]
        return self.ids[start : start + self.lengths[index]]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[index] for index in range(len(self)))

    def take(self, rows: np.ndarray) -> TokenLists:
        """The lists with these numbers."""
        return TokenLists(self.ids, self.starts[rows], self.lengths[rows])


def encoded(lines: Sequence[str], language: str, tokenizer: Tokenizer) -> TokenLists:
    """The lines as `Tokenizer.encode_sources` gives them: ``[language, *pieces, eos]`` each."""
    kind = np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.int32
    parts, lengths = [np.zeros(0, kind)], [np.zeros(0, np.int32)]
    for first in range(0, len(lines), _LINES_AT_ONCE):
        lists = tokenizer.encode_sources(list(lines[first : first + _LINES_AT_ONCE]), language)
        lengths.append(np.fromiter(map(len, lists), np.int32, len(lists)))
        parts.append(np.fromiter((i for ids in lists for i in ids), kind, lengths[-1].sum()))
    sizes = np.concatenate(lengths)
    return TokenLists(np.concatenate(parts), np.cumsum(sizes, dtype=np.int64) - sizes, sizes)
