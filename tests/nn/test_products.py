"""Products in mixed precision against float64, over shapes and places where XLA treats them differently."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from workbench.nn.products import product


def rounded(x):
    return np.asarray(jnp.asarray(x).astype(jnp.bfloat16).astype(jnp.float32), np.float64)


@pytest.mark.parametrize(
    ("rows", "inputs", "outputs"),
    [(1, 1, 1), (1, 16, 8), (5, 7, 11), (3, 128, 64), (300, 64, 1), (64, 200, 72)],
)
def test_operands_are_rounded_and_sums_are_not(rows, inputs, outputs):
    random = np.random.default_rng(0)
    x = jnp.asarray(random.normal(size=(2, rows, inputs)), jnp.float32)
    kernel = jnp.asarray(random.normal(size=(inputs, outputs)), jnp.float32)
    wanted = jnp.asarray(random.normal(size=(2, rows, outputs)), jnp.float32)

    def loss(x, kernel):
        y = product(x, kernel.astype(jnp.bfloat16))
        return (y * wanted).sum(), y

    gradients, y = jax.jit(jax.grad(loss, (0, 1), has_aux=True))(x, kernel)
    assert {y.dtype, *(g.dtype for g in gradients)} == {jnp.dtype(jnp.float32)}
    np.testing.assert_allclose(y, rounded(x) @ rounded(kernel), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(
        gradients[0], rounded(wanted) @ rounded(kernel).T, rtol=1e-5, atol=1e-4
    )
    exact = np.einsum("bnk,bnm->km", np.float64(x), np.float64(wanted))
    np.testing.assert_allclose(gradients[1], exact, rtol=2**-7, atol=1e-4)


def test_it_works_inside_a_loop_over_parts():
    random = np.random.default_rng(1)
    parts = jnp.asarray(random.normal(size=(3, 6, 16)), jnp.float32)
    kernel = jnp.asarray(random.normal(size=(16, 8)), jnp.float32)
    found = jax.jit(lambda p, k: jax.lax.map(lambda x: product(x, k.astype(jnp.bfloat16)), p))
    np.testing.assert_allclose(
        found(parts, kernel), rounded(parts) @ rounded(kernel), rtol=1e-5, atol=1e-4
    )


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_equal_types_are_jaxs_own_product(kind):
    random = np.random.default_rng(2)
    x, kernel = (jnp.asarray(random.normal(size=(4, 4)), kind) for _ in range(2))
    assert product(x, kernel).dtype == kind
    np.testing.assert_array_equal(product(x, kernel), x @ kernel)
