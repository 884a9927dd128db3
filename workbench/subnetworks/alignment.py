"""Alignment: the order of one expert's hidden units that is most like another's, since order means nothing."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

from workbench.nn.tiles import ExpertWeights


def aligned(weights: ExpertWeights, expert: int, like: int) -> ExpertWeights:
    """One expert of `weights` (arrays [E, ...]), its hidden units in the order that fits the expert `like`.

    The function is the same: units are permuted, with their ways in, biases and ways out. Matched is by the
    assignment that maximises the sum of the units' inner products over all of these (as MC-SMoE, arXiv
    2310.01334, and before it weight matching, Ainsworth et al. 2023). Arrays come without the axis E.
    """
    w_in, b_in, w_out, b_out = (np.asarray(array, np.float64) for array in weights)
    likeness = (
        w_in[like].T @ w_in[expert]
        + np.outer(b_in[like], b_in[expert])
        + w_out[like] @ w_out[expert].T
    )
    _, order = linear_sum_assignment(likeness, maximize=True)
    return ExpertWeights(
        w_in[expert][:, order], b_in[expert][order], w_out[expert][order], b_out[expert]
    )
