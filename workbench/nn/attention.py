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

    def step(
        self, states: jax.Array, keys: jax.Array, values: jax.Array, visible: jax.Array
    ) -> jax.Array:
        """Attend from R rows a sentence to keys and values that lie flat, as a decoder's cache keeps them.

        states [B, R, D]; keys and values [N, S, D/H], N being B H where the rows of a sentence share them and
        B R H where each has its own; visible: boolean, broadcastable to [N, 1, S].
        """
        return self._mix(self.q_proj(states), keys, values, visible)

    def step_with_own(
        self,
        states: jax.Array,
        keys: jax.Array,
        values: jax.Array,
        position: jax.Array | int,
        visible: jax.Array,
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """As `step`, each row seeing its own keys and values [B R H, S, D/H], and adding to them at `position`.

        Gives the states [B, R, D] and the keys and values with the new ones.
        """
        # One product instead of three: in a loop the joined weights are made once, before it.
        maps = (self.q_proj, self.k_proj, self.v_proj)
        kernel = jnp.concatenate([each.kernel[...] for each in maps], axis=1)
        bias = jnp.concatenate([each.bias[...] for each in maps])
        query, key, value = jnp.split(states @ kernel + bias, 3, axis=-1)
        flat = (keys.shape[0], 1, keys.shape[2])
        keys = jax.lax.dynamic_update_slice_in_dim(keys, key.reshape(flat), position, axis=1)
        values = jax.lax.dynamic_update_slice_in_dim(values, value.reshape(flat), position, axis=1)
        return self._mix(query, keys, values, visible), keys, values

    def _mix(
        self, queries: jax.Array, keys: jax.Array, values: jax.Array, visible: jax.Array
    ) -> jax.Array:
        """Queries [B, R, D] over flat keys and values [N, S, D/H] -> states [B, R, D]."""
        batch, rows, width = queries.shape
        count, _, size = keys.shape
        # Rows that share their keys stand side by side; rows with their own have one query a head.
        shared = count == batch * self.heads
        q = queries.reshape(batch, rows, self.heads, size) * size**-0.5
        q = q.swapaxes(1, 2).reshape(count, rows, size) if shared else q.reshape(count, 1, size)
        scores = jnp.einsum("nrd,nsd->nrs", q, keys)
        scores = jnp.where(visible, scores.astype(jnp.float32), MASKED)
        weights = jax.nn.softmax(scores, axis=-1).astype(values.dtype)
        mixed = jnp.einsum("nrs,nsd->nrd", weights, values)
        if shared:
            mixed = mixed.reshape(batch, self.heads, rows, size).swapaxes(1, 2)
        return self.out_proj(mixed.reshape(batch, rows, width))

    def _split(self, states: jax.Array) -> jax.Array:
        batch, length, _ = states.shape
        return states.reshape(batch, length, self.heads, -1).transpose(0, 2, 1, 3)
