"""Dispatchers against the masked reference, and the reference against plain numpy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from workbench.nn.dispatch import (
    DISPATCHERS,
    choose_dispatcher,
    gathered,
    grouped,
    reference,
)
from workbench.nn.tile_loop import looped
from workbench.nn.tiles import TILE, ExpertWeights, tile_size

D, F = 5, 7
# (N, K, E, load): how the tokens fall on the experts
CASES = [
    (1, 1, 1, "even"),
    (1, 2, 4, "even"),
    (3, 4, 4, "even"),
    (19, 3, 5, "even"),
    (40, 2, 6, "one"),  # nearly all choose the same experts, most experts have no token
    (33, 1, 1, "even"),
    (64, 2, 3, "skewed"),
]


def problem(count, top_k, experts, load):
    random = np.random.default_rng(count * 100 + experts)
    weights = ExpertWeights(
        *(
            random.normal(size=shape).astype(np.float32)
            for shape in ((experts, D, F), (experts, F), (experts, F, D), (experts, D))
        )
    )
    x = random.normal(size=(count, D)).astype(np.float32)
    preference = {"even": 0.0, "skewed": 2.0, "one": 50.0}[load] * np.arange(experts)
    scores = random.normal(size=(count, experts)) + preference
    chosen = np.argsort(-scores, axis=1)[:, :top_k].astype(np.int32)
    gates = random.uniform(0.1, 1, size=(count, top_k)).astype(np.float32)
    return jax.tree.map(jnp.asarray, (x, chosen, gates, weights))


def oracle(x, experts, gates, weights):
    """One row and one expert at a time, in float64."""
    w_in, b_in, w_out, b_out = (np.asarray(a, np.float64) for a in weights)
    result = np.zeros_like(x, np.float64)
    for n, row in enumerate(np.asarray(x, np.float64)):
        for e, gate in zip(experts[n], gates[n], strict=True):
            hidden = np.maximum(row @ w_in[e] + b_in[e], 0)
            result[n] += float(gate) * (hidden @ w_out[e] + b_out[e])
    return result


def test_one_row_by_hand():
    weights = ExpertWeights(
        w_in=jnp.array([[[1.0, -1.0]], [[2.0, 0.0]]]),
        b_in=jnp.array([[0.0, 1.0], [1.0, -1.0]]),
        w_out=jnp.array([[[1.0], [10.0]], [[3.0], [5.0]]]),
        b_out=jnp.array([[0.5], [0.25]]),
    )
    # x = 2. Expert 0: relu(2, -1) -> 2 + 0.5. Expert 1: relu(5, -1) -> 15 + 0.25.
    x, experts, gates = jnp.array([[2.0]]), jnp.array([[1, 0]]), jnp.array([[0.75, 0.25]])
    for dispatch in DISPATCHERS.values():
        assert dispatch(x, experts, gates, weights).tolist() == [[0.75 * 15.25 + 0.25 * 2.5]]


@pytest.mark.parametrize("name", DISPATCHERS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_every_dispatcher_equals_the_float64_oracle(name, case):
    arguments = problem(*case)
    found = jax.jit(DISPATCHERS[name])(*arguments)
    np.testing.assert_allclose(found, oracle(*arguments), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("dispatch", [gathered, grouped, looped])
@pytest.mark.parametrize("case", CASES[1:5], ids=lambda case: "-".join(map(str, case)))
def test_gradients_equal_those_of_the_reference(dispatch, case):
    x, experts, gates, weights = problem(*case)
    cotangent = np.random.default_rng(0).normal(size=x.shape).astype(np.float32)

    def gradients(function):
        def loss(x, gates, weights):
            return (function(x, experts, gates, weights) * cotangent).sum()

        return jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(x, gates, weights)

    for found, wanted in zip(
        jax.tree.leaves(gradients(dispatch)), jax.tree.leaves(gradients(reference)), strict=True
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", DISPATCHERS)
@pytest.mark.parametrize("case", CASES[1:5], ids=lambda case: "-".join(map(str, case)))
def test_weights_in_bfloat16_take_rows_in_float32(name, case):
    """Of mixed precision on a CPU: outputs and gradients near those of the same weights in float32."""
    x, experts, gates, exact = problem(*case)
    # As if rounded already: else rounding moves a unit across zero here or there.
    x = x.astype(jnp.bfloat16).astype(jnp.float32)
    low = exact._replace(
        w_in=exact.w_in.astype(jnp.bfloat16), w_out=exact.w_out.astype(jnp.bfloat16)
    )
    widened = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), low)
    cotangent = np.random.default_rng(0).normal(size=x.shape).astype(np.float32)

    def found_with(function, weights):
        def loss(x, gates, weights):
            outputs = function(x, experts, gates, weights)
            return (outputs * cotangent).sum(), outputs

        gradients, outputs = jax.jit(jax.grad(loss, (0, 1, 2), has_aux=True))(x, gates, weights)
        return outputs, gradients

    found, wanted = found_with(DISPATCHERS[name], low), found_with(reference, widened)
    assert found[0].dtype == jnp.float32
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        a, b = (np.float64(leaf).ravel() for leaf in (a, b))
        assert np.linalg.norm(a - b) <= 0.01 * np.linalg.norm(b)


@pytest.mark.parametrize("dispatch", [grouped, looped])
def test_a_row_does_not_depend_on_the_rows_beside_it(dispatch):
    x, experts, gates, weights = problem(40, 2, 6, "one")
    whole = dispatch(x, experts, gates, weights)
    np.testing.assert_allclose(
        whole[:8], dispatch(x[:8], experts[:8], gates[:8], weights), rtol=1e-5, atol=1e-5
    )


def test_tiles_are_near_the_mean_load_and_bounded():
    assert tile_size(8, 8) == 8
    assert tile_size(80, 4) == 32
    assert tile_size(10**6, 2) == TILE


def test_one_row_is_gathered_and_more_are_looped_over_on_a_cpu(monkeypatch):
    assert choose_dispatcher(1, 2, 8) is gathered
    assert choose_dispatcher(2, 2, 32) is looped
    assert choose_dispatcher(512, 2, 8) is looped
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert choose_dispatcher(512, 2, 8) is grouped
