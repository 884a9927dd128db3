"""Matrix products in mixed precision: operands rounded to bfloat16, sums and results in float32."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`x @ kernel`, x [..., K], kernel [K, N]; mixed where x is float32 and the kernel bfloat16.

    Mixed (Micikevicius et al. 2018, arXiv 1710.03740): x is rounded to bfloat16 right before the product, whose
    terms are summed in float32 and stay so. Anything else is JAX's own product.
    """
    # Flat: the kernel's gradient sums over all rows, and XLA:CPU copies operands with more than one axis of them.
    rows = x.reshape(-1, x.shape[-1])
    mixed = x.dtype == jnp.float32 and kernel.dtype == jnp.bfloat16
    y = _mixed(rows, kernel) if mixed else rows @ kernel
    return y.reshape(*x.shape[:-1], kernel.shape[1])


@jax.custom_vjp
def _mixed(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return _rounded(x, kernel, 0)


def _forward(x, kernel):  # type: ignore[no-untyped-def]
    return _rounded(x, kernel, 0), (x, kernel)


def _backward(kept, gradient):  # type: ignore[no-untyped-def]
    x, kernel = kept
    # XLA:CPU has no bfloat16 product along the first axes of both: it would round, and widen again.
    return _rounded(gradient, kernel, 1), (x.T @ gradient).astype(kernel.dtype)


_mixed.defvjp(_forward, _backward)


def _rounded(x: jax.Array, kernel: jax.Array, axis: int) -> jax.Array:
    """The product of x [N, K] and `kernel` along its `axis`, which has length K."""
    return jax.lax.dot_general(
        x.astype(kernel.dtype),
        kernel,
        (((1,), (axis,)), ((), ())),
        preferred_element_type=jnp.float32,
    )
