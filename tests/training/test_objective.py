"""The objective against plain float64 formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from workbench.training.objective import CHUNK, smoothed_cross_entropy
from workbench.training.recipe import ObjectiveRecipe
from workbench.training.update import make_schedule


def formula(states, embedding, labels, weights, smoothing):
    """Value and gradients, one label at a time."""
    V = len(embedding)
    smoothed = plain = 0.0
    d_states, d_embedding = np.zeros_like(states), np.zeros_like(embedding)
    for n, (h, label, weight) in enumerate(zip(states, labels, weights, strict=True)):
        logits = embedding @ h
        log_p = logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())
        target = np.full(V, smoothing / V)
        target[label] += 1 - smoothing
        smoothed -= weight * target @ log_p
        plain -= weight * log_p[label]
        gradient = weight * (np.exp(log_p) - target)
        d_states[n] = gradient @ embedding
        d_embedding += np.outer(gradient, h)
    return smoothed, plain, d_states, d_embedding


@pytest.mark.parametrize("count", [1, 7, CHUNK, 2 * CHUNK + 3])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_smoothed_cross_entropy_and_its_gradient(count, smoothing):
    D, V = 6, 11
    random = np.random.default_rng(count)
    states, embedding = random.normal(size=(count, D)), 2 * random.normal(size=(V, D))
    labels = random.integers(0, V, count)
    weights = (random.random(count) < 0.3).astype(float)  # so that whole chunks are left out
    weights[0] = 1

    def both(states, embedding):
        smoothed, plain = smoothed_cross_entropy(states, embedding, labels, weights, smoothing)
        return 3 * smoothed, plain  # a factor, so that the cotangent matters

    arrays = jnp.asarray(states, jnp.float32), jnp.asarray(embedding, jnp.float32)
    labels = jnp.asarray(labels, jnp.int32)
    weights = jnp.asarray(weights, jnp.float32)
    (value, plain), gradients = jax.jit(jax.value_and_grad(both, argnums=(0, 1), has_aux=True))(
        *arrays
    )
    wanted = formula(states, embedding, np.asarray(labels), np.asarray(weights), smoothing)
    assert value / 3 == pytest.approx(wanted[0], rel=1e-5)
    assert plain == pytest.approx(wanted[1], rel=1e-5)
    np.testing.assert_allclose(gradients[0] / 3, wanted[2], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(gradients[1] / 3, wanted[3], rtol=1e-4, atol=2e-4)


def test_schedules_by_hand():
    rates = {
        name: [
            float(
                make_schedule(
                    ObjectiveRecipe(schedule=name, learning_rate=2.0, warmup_steps=4), 12
                )(s)
            )
            for s in (0, 3, 7, 12)
        ]
        for name in ("constant", "linear", "inverse_sqrt")
    }
    assert rates["constant"] == pytest.approx([0.5, 2, 2, 2])
    assert rates["linear"] == pytest.approx([0.5, 2, 2 * 5 / 8, 0])
    assert rates["inverse_sqrt"] == pytest.approx([0.5, 2, 2 * (4 / 8) ** 0.5, 2 * (4 / 13) ** 0.5])
