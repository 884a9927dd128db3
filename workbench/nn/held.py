"""A dispatcher for a layer that holds only some of its experts: the others were never loaded."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from workbench.nn.dispatch import choose_dispatcher
from workbench.nn.tiles import ExpertWeights


@dataclass(frozen=True)
class Held:
    """Weights are those of `experts` alone, in this order, of `total` that the router chooses from.

    A row that the router sends to an expert that is not here comes out as NaN: it cannot pass unnoticed.
    """

    experts: tuple[int, ...]
    total: int

    def __call__(
        self, x: jax.Array, experts: jax.Array, gates: jax.Array, weights: ExpertWeights
    ) -> jax.Array:
        """As every dispatcher: x [N, D], experts and gates [N, K] -> [N, D]."""
        here = len(self.experts)
        places = np.full(self.total, here)
        places[list(self.experts)] = np.arange(here)
        chosen = jnp.asarray(places, jnp.int32)[experts]
        dispatch = choose_dispatcher(len(x), experts.shape[1], here)
        mixed = dispatch(x, jnp.minimum(chosen, here - 1), gates, weights)
        return jnp.where((chosen < here).all(axis=1)[:, None], mixed, jnp.nan)
