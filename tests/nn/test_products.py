"""Products in mixed precision against float64, over shapes and places where XLA treats them differently."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from workbench.nn.products import product, turned


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
    exact = np.einsum("bnk,bnm->km", rounded(x), rounded(wanted))
    np.testing.assert_allclose(gradients[1], exact, rtol=2**-8, atol=1e-4)


def test_it_works_inside_a_loop_over_parts():
    random = np.random.default_rng(1)
    parts = jnp.asarray(random.normal(size=(3, 6, 16)), jnp.float32)
    kernel = jnp.asarray(random.normal(size=(16, 8)), jnp.float32)
    found = jax.jit(lambda p, k: jax.lax.map(lambda x: product(x, k.astype(jnp.bfloat16)), p))
    np.testing.assert_allclose(
        found(parts, kernel), rounded(parts) @ rounded(kernel), rtol=1e-5, atol=1e-4
    )


@pytest.mark.parametrize(
    ("loops", "rows"), [(1, 300), (3, 300), (3, 5)], ids=["one turn", "three", "few rows"]
)
def test_gradients_inside_a_loop_whose_results_are_transposed(loops, rows):
    """XLA:CPU has no bfloat16 product of turned operands, and finds that out only when it runs one."""
    random = np.random.default_rng(3)
    parts = jnp.asarray(random.normal(size=(loops, rows, 64)), jnp.float32)
    kernel = jnp.asarray(random.normal(size=(64, 32)), jnp.float32)

    def loss(kernel):
        def add(total, x):
            y = product(x, kernel.astype(jnp.bfloat16)).T
            return total + (y.reshape(32, -1) ** 2).sum(), None

        return jax.lax.scan(add, jnp.float32(0), parts)[0]

    found = jax.jit(jax.grad(loss))(kernel)
    x = rounded(parts).reshape(-1, 64)
    exact = x.T @ rounded(2 * (x @ rounded(kernel)))
    np.testing.assert_allclose(found, exact, rtol=2**-6, atol=2**-7 * np.abs(exact).max())


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 9), (9, 1), (30, 17), (128, 512)])
@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_turned_is_the_rounded_transpose(rows, columns, kind):
    x = jnp.asarray(np.random.default_rng(4).normal(size=(rows, columns)), kind)
    found = jax.jit(turned)(x)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_array_equal(np.float64(found), rounded(x).T)


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_equal_types_are_jaxs_own_product(kind):
    random = np.random.default_rng(2)
    x, kernel = (jnp.asarray(random.normal(size=(4, 4)), kind) for _ in range(2))
    assert product(x, kernel).dtype == kind
    np.testing.assert_array_equal(product(x, kernel), x @ kernel)
