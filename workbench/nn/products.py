"""Matrix products, in mixed precision too: operands rounded to bfloat16, sums and results in float32."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint
from jax.typing import DTypeLike


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
    return rounded_product(x, kernel)


def _forward(x, kernel):  # type: ignore[no-untyped-def]
    return rounded_product(x, kernel), (x, kernel)


def _backward(kept, gradient):  # type: ignore[no-untyped-def]
    x, kernel = kept
    d_kernel = rounded_product(turned(x), gradient)
    return rounded_product(gradient, turned(kernel)), d_kernel.astype(kernel.dtype)


_mixed.defvjp(_forward, _backward)


def rounded_product(x: jax.Array, y: jax.Array, dtype: DTypeLike = jnp.bfloat16) -> jax.Array:
    """`x @ y` of x [N, K] and y [K, M], both rounded to `dtype`, summed and given in float32 or wider."""
    wide = jnp.promote_types(dtype, jnp.float32)
    return _row_by_row(jnp.matmul(x.astype(dtype), y.astype(dtype), preferred_element_type=wide))


def turned(x: jax.Array, dtype: DTypeLike = jnp.bfloat16) -> jax.Array:
    """The transpose of matrices [..., N, M], rounded to `dtype`.

    XLA:CPU would take a transpose into the product that reads it, and widen both operands there, or in float32
    leave that product to Eigen, which takes longer than YNNPACK where the result is wide.
    """
    return _row_by_row(x.astype(dtype).swapaxes(-1, -2))


def _row_by_row(x: jax.Array) -> jax.Array:
    """`x`, which XLA:CPU must lay out row by row: it has bfloat16 products of nothing else, nor into it.

    Elsewhere XLA lays it out as it likes. So it may over many devices: it would gather the rows of all to obey.
    """
    if jax.default_backend() != "cpu" or jax.device_count() > 1:
        return x
    return with_layout_constraint(x, Layout(tuple(range(x.ndim))))
