"""Grouping: which experts of a layer are merged into one, around the experts that are used most."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: The experts of one group, the dominant one first, the others ascending.
Group = tuple[int, ...]


def grouped_around(dominant: Sequence[int], similarity: np.ndarray) -> list[Group]:
    """Every expert with the dominant one that it is most similar to; groups in the order of their dominants.

    similarity: [E, E].
    """
    leaders = sorted(dominant)
    members: dict[int, list[int]] = {leader: [leader] for leader in leaders}
    for expert in range(len(similarity)):
        if expert not in members:
            best = leaders[int(np.argmax(similarity[expert, leaders]))]
            members[best].append(expert)
    return [tuple(members[leader]) for leader in leaders]


def cosines(products: np.ndarray) -> np.ndarray:
    """Cosines [E, E] from inner products [E, E]; zero where a vector is."""
    lengths = np.sqrt(np.maximum(np.diag(products), 0))
    return products / np.maximum(np.outer(lengths, lengths), np.finfo(float).tiny)
