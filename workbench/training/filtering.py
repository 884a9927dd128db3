"""Filtering: which pairs of a direction are trained on, and why the others are not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from workbench.training.recipe import DataRecipe
from workbench.wording import counted

#: Pieces up to which a side may be as long as it likes beside the other: "Yes." may be a long word elsewhere.
SLACK = 10
#: Why a pair is left out, in the order in which it is asked; a pair counts for the first reason only.
REASONS = ("empty", "long", "mismatched", "identical", "duplicate")


@dataclass(frozen=True)
class Filter:
    """What is left out.

    longest: tokens of a side, at most, the language's and the end's included. ratio: a pair is mismatched when
        its longer side has more than `ratio` times the pieces of the shorter one and more than `SLACK`; 0: any
        lengths match. identical: leave out pairs whose sides are the same text. duplicates: leave out a pair
        that came before in the same direction.
    """

    longest: int
    ratio: float = 0.0
    identical: bool = False
    duplicates: bool = False

    @classmethod
    def of(cls, data: DataRecipe) -> Filter:
        """The filter that a recipe asks for."""
        return cls(data.buckets[-1], data.longest_ratio, data.drop_identical, data.drop_duplicates)

    def reasons(
        self,
        sources: Sequence[str],
        targets: Sequence[str],
        source_lengths: np.ndarray,
        target_lengths: np.ndarray,
    ) -> np.ndarray:
        """Why each pair is left out: int8 [n], its place in `REASONS`, or -1 for a pair that is kept.

        source_lengths, target_lengths: tokens of each side, int [n], the language's and the end's included.

        Takes 8 bytes a pair to find duplicates, for a hash of 64 bits: among a billion pairs one or none is
        lost by chance.
        """
        pieces = np.stack([source_lengths, target_lengths]).astype(np.int64) - 2
        shorter, longer = pieces.min(axis=0), pieces.max(axis=0)
        found = np.full(len(sources), -1, np.int8)

        def mark(reason: str, where: np.ndarray) -> None:
            found[where & (found < 0)] = REASONS.index(reason)

        mark("empty", shorter < 1)
        mark("long", longer > self.longest - 2)
        if self.ratio:
            mark("mismatched", (longer > self.ratio * shorter) & (longer > SLACK))
        if self.identical:
            same = (s.strip() == t.strip() for s, t in zip(sources, targets, strict=True))
            mark("identical", np.fromiter(same, bool, len(sources)))
        if self.duplicates:
            kept = np.flatnonzero(found < 0)
            hashes = np.fromiter(
                (_hash(sources[int(i)], targets[int(i)]) for i in kept), np.uint64, len(kept)
            )
            repeated = np.ones(len(kept), bool)
            repeated[np.unique(hashes, return_index=True)[1]] = False
            found[kept[repeated]] = REASONS.index("duplicate")
        return found


@dataclass(frozen=True)
class PairCounts:
    """How many pairs of a direction there were, and what became of them.

    kept: trained on. left_out: reason -> pairs, only reasons that occurred.
    """

    kept: int
    left_out: Mapping[str, int]

    @classmethod
    def of(cls, reasons: np.ndarray) -> PairCounts:
        """The counts of what `Filter.reasons` gave."""
        counts = np.bincount(reasons[reasons >= 0], minlength=len(REASONS))
        named = {name: int(n) for name, n in zip(REASONS, counts, strict=True) if n}
        return cls(int((reasons < 0).sum()), named)

    def table(self) -> dict[str, int]:
        """As one line of metrics holds it: `kept` and the reasons that occurred."""
        return {"kept": self.kept, **self.left_out}


def describe(left_out: Mapping[str, int]) -> str:
    """`3 empty, 12 long` or `none`."""
    return ", ".join(f"{count:,} {reason}" for reason, count in left_out.items()) or "none"


def summary(tables: Mapping[str, Mapping[str, int]]) -> str:
    """One line about all directions of a metrics line's `pairs`: what is kept, and what left out for what reason."""
    kept = sum(table["kept"] for table in tables.values())
    sums = {reason: sum(t.get(reason, 0) for t in tables.values()) for reason in REASONS}
    left_out = describe({reason: count for reason, count in sums.items() if count})
    return f"{counted(kept, 'pair')} in {counted(len(tables), 'direction')}; left out: {left_out}."


def _hash(source: str, target: str) -> int:
    text = f"{source.strip()}\t{target.strip()}".encode("utf-8", errors="surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "little")
