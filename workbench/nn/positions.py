"""Sinusoidal positions as M2M100 and NLLB number them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

#: M2M100 counts positions from padding_idx + 1.
FIRST_POSITION = 2


def sinusoidal_positions(length: int, d_model: int) -> jax.Array:
    """Embeddings [length, D] of the first `length` positions of a sequence.

    Half sines, half cosines, with log-spaced wavelengths from 2 pi to 2 pi * 10,000 over D/2 - 1 steps.
    """
    half = d_model // 2
    frequencies = jnp.asarray(np.exp(np.arange(half) * -(np.log(10_000) / (half - 1))), jnp.float32)
    steps = jnp.arange(length, dtype=jnp.float32) + FIRST_POSITION
    angles = steps[:, None] * frequencies[None]
    table = jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=1)
    return jnp.pad(table, ((0, 0), (0, d_model - 2 * half)))
