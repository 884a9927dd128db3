"""What another engine wrote, as the arrays of a search."""

from __future__ import annotations

import numpy as np

from workbench.decoding.search import Found


def rows_found(
    written: list[list[int]], limits: list[int], scores: list[float], pad_id: int
) -> Found:
    """What another engine wrote after the language tokens, each row cut at its own limit."""
    rows = [row[:limit] for row, limit in zip(written, limits, strict=True)]
    tokens = np.full((len(rows), max(map(len, rows))), pad_id, np.int32)
    for place, row in zip(tokens, rows, strict=True):
        place[: len(row)] = row
    lengths = np.array([len(row) for row in rows], np.int32)
    finished = np.ones(len(rows), bool)
    return Found(tokens, lengths, np.array(scores, np.float32), finished)
