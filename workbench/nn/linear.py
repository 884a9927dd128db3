"""The affine pieces that every block is made of: linear maps, layer norm and dropout."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from workbench.nn.products import product

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
        return product(x, self.kernel[...]) + self.bias[...]


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
    kept = _noise(key, x.shape) >= np.uint32(round(rate * 2**32))
    return jnp.where(kept, x * (1 / (1 - rate)), 0).astype(x.dtype)


def _noise(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Random uint32s, each a hash of its own place, keyed before and between two rounds of mixing.

    JAX's own generators take a tenth of a training step on CPU; this is fused into whatever uses it. It depends
    on nothing but key and place, so that it is the same on however many devices the array lies. The rounds
    are those of `lowbias32` (Wellons, "Prospecting for Hash Functions").
    """
    first, second = jax.random.bits(key, (2,), jnp.uint32)
    place = jnp.arange(math.prod(shape), dtype=jnp.uint32).reshape(shape)
    return _mixed(_mixed(place ^ first) + second)


def _mixed(x: jax.Array) -> jax.Array:
    x = (x ^ (x >> 16)) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * np.uint32(0x846CA68B)
    return x ^ (x >> 16)


@jax.custom_vjp
def held(x: jax.Array, key: jax.Array) -> jax.Array:
    """`x`, made an array of its own, and its gradient likewise.

    XLA:CPU else computes the residual stream of all blocks below anew inside each block: a fifth of a training
    step. It takes optimisation barriers out before it fuses, so there the barrier is a loop that never runs,
    which only the key's bits say (where one key in 2^64 says it does, the harm is a doubled state).
    """
    # Not compared with zero, which is what the key of seed 0 is made of.
    improbable = np.array([0x9E3779B9, 0x85EBCA6B], np.uint32)
    never = (jax.random.key_data(key).reshape(-1)[:2] == improbable).all()

    def loop(x: jax.Array) -> jax.Array:
        def double(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            return jnp.bool_(False), 2 * state[1]

        return jax.lax.while_loop(lambda state: state[0], double, (never, x))[1]

    return jax.lax.platform_dependent(x, cpu=loop, default=jax.lax.optimization_barrier)


def _held_forward(x, key):  # type: ignore[no-untyped-def]
    return held(x, key), key


def _held_backward(key, gradient):  # type: ignore[no-untyped-def]
    return held(gradient, key), None


held.defvjp(_held_forward, _held_backward)
