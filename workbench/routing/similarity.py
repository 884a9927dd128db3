"""How alike tasks use the experts of a layer: Jensen-Shannon divergence between their shares of choices."""

from __future__ import annotations

import numpy as np
import pandas as pd

from workbench.arguments import as_one
from workbench.routing.usage import Usage

#: Below this a share is none, so that 0 log 0 is 0.
_NOTHING = 1e-300


def similarity(usage: Usage) -> pd.DataFrame:
    """How alike the tasks use the experts, layer by layer: tidy, a row for each layer and ordered pair of tasks.

    Columns: stack, layer, task, other, divergence (Jensen-Shannon, of the shares of choices at any rank, in bits)
    and similarity (1 less that: 1 alike, 0 where they share no expert).
    """
    usage = as_one(usage, Usage, "usage", "what expert_usage returns")
    parts = []
    for i, (stack, layer) in enumerate(usage.layers):
        found = divergences(usage.counts[:, i, : usage.experts[i]])
        parts.append(
            pd.DataFrame(
                {
                    "stack": stack,
                    "layer": layer,
                    "task": np.repeat(usage.tasks, len(usage.tasks)),
                    "other": np.tile(usage.tasks, len(usage.tasks)),
                    "divergence": found.reshape(-1),
                    "similarity": 1 - found.reshape(-1),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def divergences(counts: np.ndarray) -> np.ndarray:
    """Jensen-Shannon divergence in bits [tasks, tasks] between the rows of `counts` [tasks, E], each made to sum to 1.

    NaN with a row that is all zeros.
    """
    totals = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)
    own = entropies(share)
    found = np.empty((len(share), len(share)))
    for i, row in enumerate(
        share
    ):  # one task at a time: all pairs at once would be tasks times as large
        found[i] = entropies((share + row) / 2) - (own + own[i]) / 2
    np.fill_diagonal(found, np.where(totals[:, 0] > 0, 0.0, np.nan))
    return found.clip(0, 1)


def entropies(share: np.ndarray) -> np.ndarray:
    """Entropy in bits [N] of distributions [N, E]."""
    return -(share * np.log2(np.maximum(share, _NOTHING))).sum(axis=1)
