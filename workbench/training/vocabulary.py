"""The text that a run's tokenizer learns from: lines of each language, in shares set by a temperature."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from workbench.text.pairs import Pairs
from workbench.training.recipe import Recipe


def lines_by_language(pairs: Pairs, languages: Sequence[str]) -> dict[str, list[Sequence[str]]]:
    """FLORES-200 code -> the texts in it, in the order of `languages`; no text comes twice."""
    found: dict[str, list[Sequence[str]]] = {code: [] for code in languages}
    for code, lines in pairs.texts():
        found[code].append(lines)
    return found


def line_counts(sizes: Mapping[str, int], temperature: float, limit: int = 0) -> dict[str, int]:
    """How many lines of each language a tokenizer learns from.

    A language's share is its lines ** (1 / temperature), as directions are sampled in training (Arivazhagan
    et al. 2019, arXiv 1907.05019, section 4): 1 keeps the proportions, 5 is the paper's. Lines of a small
    language come more than once where its share asks for more than it has.

    Args:
        sizes: language -> lines there are.
        temperature: above 0.
        limit: lines in all; 0: as many as there are.
    """
    total = sum(sizes.values())
    if temperature == 1 and (not limit or limit >= total):
        return dict(sizes)
    shares = {code: size ** (1 / temperature) for code, size in sizes.items()}
    whole = sum(shares.values())
    wanted = min(limit, total) if limit else total
    return {
        code: max(1, round(wanted * share / whole)) if sizes[code] else 0
        for code, share in shares.items()
    }


def sampled_lines(
    texts: Mapping[str, Sequence[Sequence[str]]], counts: Mapping[str, int], seed: int
) -> Iterator[str]:
    """`counts[language]` lines of each language: all of them in order, or drawn by `seed`.

    None is drawn again before all others of its language are.
    """
    for number, (code, parts) in enumerate(texts.items()):
        starts = np.cumsum([0, *map(len, parts)])
        size, count = int(starts[-1]), counts[code]
        if count == size:
            for part in parts:
                yield from part
            continue
        random = np.random.default_rng([seed, number])
        for first in range(0, count, size):
            for row in random.permutation(size)[: count - first]:
                text = int(np.searchsorted(starts, row, side="right")) - 1
                yield parts[text][int(row - starts[text])]


def recipe_line_counts(
    recipe: Recipe, texts: Mapping[str, Sequence[Sequence[str]]]
) -> dict[str, int]:
    """`line_counts` of these texts for the recipe's tokenizer."""
    sizes = {code: sum(map(len, parts)) for code, parts in texts.items()}
    return line_counts(sizes, recipe.data.tokenizer_temperature, recipe.data.tokenizer_lines)
