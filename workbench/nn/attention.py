"""Multi-head attention with biases, as in M2M100: over itself, over a cache, or over the encoder's states."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from workbench.nn.linear import Linear

MASKED = -1e9


class Attention(nnx.Module):
    """Scaled dot-product attention, width D in H heads."""

    def __init__(self, d_model: int, heads: int, *, rngs: nnx.Rngs) -> None:
        self.heads = heads
        self.q_proj = Linear(d_model, d_model, rngs=rngs)
        self.k_proj = Linear(d_model, d_model, rngs=rngs)
        self.v_proj = Linear(d_model, d_model, rngs=rngs)
        self.out_proj = Linear(d_model, d_model, rngs=rngs)

    def keys_values(self, states: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Keys and values [B, H, S, D/H] of `states` [B, S, D]."""
        return self._split(self.k_proj(states)), self._split(self.v_proj(states))

    def __call__(
        self, states: jax.Array, keys: jax.Array, values: jax.Array, visible: jax.Array
    ) -> jax.Array:
        """Attend from `states` [B, T, D] to keys and values [B, H, S, D/H].

        visible: boolean, broadcastable to [B, H, T, S]; True where a query may look.
        """
        batch, length, width = states.shape
        queries = self._split(self.q_proj(states)) * (width // self.heads) ** -0.5
        scores = jnp.einsum("bhtd,bhsd->bhts", queries, keys)
        # Softmax in float32 whatever the compute type is: half precision loses small weights.
        scores = jnp.where(visible, scores.astype(jnp.float32), MASKED)
        weights = jax.nn.softmax(scores, axis=-1).astype(values.dtype)
        mixed = jnp.einsum("bhts,bhsd->bhtd", weights, values)
        return self.out_proj(mixed.transpose(0, 2, 1, 3).reshape(batch, length, width))

    def _split(self, states: jax.Array) -> jax.Array:
        batch, length, _ = states.shape
        return states.reshape(batch, length, self.heads, -1).transpose(0, 2, 1, 3)
