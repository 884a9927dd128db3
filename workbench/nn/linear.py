"""The affine pieces that every block is made of: linear maps, layer norm and dropout."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

LAYER_NORM_EPSILON = 1e-5


class Linear(nnx.Module):
    """`x @ kernel + bias`, kernel [inputs, outputs] (the transpose of the Hugging Face layout)."""

    def __init__(self, inputs: int, outputs: int, *, rngs: nnx.Rngs) -> None:
        limit = (6.0 / (inputs + outputs)) ** 0.5
        self.kernel = nnx.Param(
            jax.random.uniform(rngs.params(), (inputs, outputs), minval=-limit, maxval=limit)
        )
        self.bias = nnx.Param(jnp.zeros((outputs,)))

    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., inputs] -> [..., outputs]."""
        return x @ self.kernel[...] + self.bias[...]


class LayerNorm(nnx.Module):
    """Layer normalisation over the last axis, computed in float32."""

    def __init__(self, width: int) -> None:
        self.scale = nnx.Param(jnp.ones((width,)))
        self.bias = nnx.Param(jnp.zeros((width,)))

    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., D] -> [..., D], same dtype."""
        y = x.astype(jnp.float32)
        mean = y.mean(axis=-1, keepdims=True)
        variance = jnp.square(y - mean).mean(axis=-1, keepdims=True)
        y = (y - mean) * jax.lax.rsqrt(variance + LAYER_NORM_EPSILON)
        return y.astype(x.dtype) * self.scale[...] + self.bias[...]


def dropout(x: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
    """Zero a fraction `rate` of x and scale the rest up; x itself when `key` is None (inference)."""
    if key is None or rate == 0.0:
        return x
    # A byte of randomness is plenty for a keep-or-drop decision, and four times cheaper than a float.
    threshold = round(rate * 256)
    kept = jax.random.bits(key, x.shape, jnp.uint8) >= threshold
    return jnp.where(kept, x * (256 / (256 - threshold)), 0).astype(x.dtype)
