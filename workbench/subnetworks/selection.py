"""Selection: which experts of each layer a budget keeps, by their importance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from workbench.arguments import as_fraction
from workbench.errors import WorkbenchError

#: A fixed number in every layer; one threshold for all layers; one threshold for each stack.
Algorithm = Literal["fixed", "global", "separate"]
ALGORITHMS: tuple[Algorithm, ...] = ("fixed", "global", "separate")
#: Experts that a threshold leaves every layer, at least, where the budget allows.
LEAST = 4


def counts_for(keep: float, experts: Sequence[int], top_k: Sequence[int]) -> list[int]:
    """How many experts each layer keeps when all keep the same fraction, to the nearest whole number.

    Raises:
        WorkbenchError: `keep` is outside (0, 1], or a layer would keep fewer than its router chooses.
    """
    check_fraction(keep)
    counts = [round(keep * count) for count in experts]
    for count, total, chosen in zip(counts, experts, top_k, strict=True):
        if count < chosen:
            raise WorkbenchError(
                f"keep {keep:g} leaves {count} of {total} experts a layer, but the router chooses {chosen}:"
                f" keep at least {chosen / total:g}."
            )
    return counts


def check_fraction(keep: object, name: str = "keep") -> None:
    """Raise WorkbenchError unless `keep`, the argument `name`, is a number in (0, 1]."""
    as_fraction(keep, name, "experts to keep")


def best_of_each_layer(
    values: Sequence[np.ndarray], counts: Sequence[int]
) -> list[tuple[int, ...]]:
    """The `counts[i]` most valuable experts of each layer, ascending; of equals, the lower numbers.

    values: of each layer, [E of that layer].
    """
    return [
        tuple(sorted(np.argsort(-row, kind="stable")[:count].tolist()))
        for row, count in zip(values, counts, strict=True)
    ]


def best_under_threshold(
    values: Sequence[np.ndarray], budget: int, top_k: Sequence[int]
) -> list[tuple[int, ...]]:
    """The experts, `budget` in all, that a threshold on cumulative importance keeps, ascending in each layer.

    In each layer, values are divided by their sum and added up from the largest down; a layer keeps experts
    until the sum reaches the threshold, which is the one that keeps `budget` experts in all. So layers that
    spread their importance keep more. At least `LEAST` remain in each; where half of an even share is less, that half,
    but never fewer than top_k.

    Raises:
        WorkbenchError: the budget is less than the routers choose.
    """
    if budget < sum(top_k):
        raise WorkbenchError(
            f"A budget of {budget} experts over {len(values)} layers is less than their routers choose"
            f" ({sum(top_k)}): keep more."
        )
    share = budget // len(values)
    orders = [np.argsort(-row, kind="stable") for row in values]
    candidates: list[tuple[bool, float, int, int]] = []
    for layer, (row, order) in enumerate(zip(values, orders, strict=True)):
        shares = row[order] / max(float(row.sum()), np.finfo(float).tiny)
        before = np.cumsum(shares) - shares
        least = max(top_k[layer], min(LEAST, share // 2))
        for rank, reached in enumerate(before):
            candidates.append((rank >= least, float(reached), layer, rank))
    numbers = [0] * len(values)
    for _, _, layer, _ in sorted(candidates)[:budget]:
        numbers[layer] += 1
    return [
        tuple(sorted(order[:number].tolist()))
        for order, number in zip(orders, numbers, strict=True)
    ]
