"""Positions, attention, norm, dropout and feed-forward blocks against plain numpy."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from workbench.config import RouterConfig
from workbench.nn.attention import Attention
from workbench.nn.feed_forward import ExpertFeedForward
from workbench.nn.linear import LAYER_NORM_EPSILON, LayerNorm, dropout, held
from workbench.nn.positions import sinusoidal_positions
from workbench.nn.training_mode import Training, TrainingOptions


def test_positions_count_from_two_with_sines_before_cosines():
    table = np.asarray(sinusoidal_positions(3, 4))
    # D = 4: frequencies 1 and 1/10,000.
    for row, position in enumerate((2, 3, 4)):
        angles = np.array([position, position / 10_000])
        wanted = np.concatenate([np.sin(angles), np.cos(angles)])
        np.testing.assert_allclose(table[row], wanted, rtol=1e-6)


def test_an_odd_width_ends_in_a_zero():
    assert sinusoidal_positions(2, 5)[:, 4].tolist() == [0.0, 0.0]


def test_attention_equals_numpy_head_by_head():
    B, T, S, D, H = 2, 3, 4, 6, 2
    random = np.random.default_rng(0)
    block = Attention(D, H, rngs=nnx.Rngs(0))
    for part in (block.q_proj, block.k_proj, block.v_proj, block.out_proj):
        part.kernel[...] = jnp.asarray(random.normal(size=(D, D)), jnp.float32)
        part.bias[...] = jnp.asarray(random.normal(size=D), jnp.float32)
    queries, states = random.normal(size=(B, T, D)), random.normal(size=(B, S, D))
    visible = random.random((B, 1, T, S)) < 0.6
    visible[..., 0] = True
    found = block(jnp.asarray(queries, jnp.float32), *block.keys_values(states), visible)

    def linear(part, x):
        return x @ np.asarray(part.kernel[...], np.float64) + np.asarray(part.bias[...], np.float64)

    mixed = np.zeros((B, T, D))
    size = D // H
    q, k, v = (
        linear(block.q_proj, queries),
        linear(block.k_proj, states),
        linear(block.v_proj, states),
    )
    for b in range(B):
        for h in range(H):
            part = slice(h * size, (h + 1) * size)
            scores = q[b, :, part] @ k[b, :, part].T / np.sqrt(size)
            scores[~visible[b, 0]] = -np.inf
            weights = np.exp(scores - scores.max(axis=1, keepdims=True))
            mixed[b, :, part] = weights / weights.sum(axis=1, keepdims=True) @ v[b, :, part]
    np.testing.assert_allclose(found, linear(block.out_proj, mixed), rtol=1e-4, atol=1e-5)


def test_layer_norm_has_the_variance_with_epsilon_below_it():
    norm = LayerNorm(2)
    norm.scale[...], norm.bias[...] = jnp.array([2.0, 1.0]), jnp.array([0.5, 0.0])
    deviation = np.sqrt(1 + LAYER_NORM_EPSILON)
    np.testing.assert_allclose(
        norm(jnp.array([[1.0, 3.0]])), [[0.5 - 2 / deviation, 1 / deviation]], rtol=1e-6
    )


def test_dropout_keeps_the_mean_and_is_off_without_a_key():
    x = jnp.ones(40_000)
    dropped = np.asarray(dropout(x, 0.25, jax.random.key(0)))
    assert set(np.unique(dropped).tolist()) == {0.0, np.float32(4 / 3)}
    assert abs(dropped.mean() - 1) < 0.02
    assert dropout(x, 0.25, None) is x


def test_what_is_dropped_depends_on_key_and_place_alone():
    first, second = (
        np.asarray(dropout(jnp.ones((200, 100)), 0.5, jax.random.key(seed, impl="rbg"))) > 0
        for seed in (0, 1)
    )
    assert 0.48 < (first == second).mean() < 0.52
    for axis in (0, 1):  # neither rows nor columns are alike
        assert abs(first.mean(axis=axis) - 0.5).max() < 0.25
    again = dropout(jnp.ones((200, 100)), 0.5, jax.random.key(0, impl="rbg"))
    np.testing.assert_array_equal(np.asarray(again) > 0, first)


def test_what_is_held_is_unchanged_and_so_is_its_gradient():
    x, key = jnp.arange(6.0).reshape(2, 3), jax.random.key(0, impl="rbg")

    def loss(x):
        return jnp.square(held(x, key)).sum()

    np.testing.assert_array_equal(jax.jit(held)(x, key), x)
    np.testing.assert_array_equal(jax.jit(jax.grad(loss))(x), 2 * x)


def test_expert_outputs_are_scaled_and_dispatchers_interchangeable():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 4)), jnp.float32)
    outputs = {}
    for scale in (1.0, 0.5):
        block = ExpertFeedForward(
            4, 6, 3, RouterConfig("token"), output_scale=scale, rngs=nnx.Rngs(1)
        )
        for name in ("auto", "reference", "gathered", "grouped", "looped"):
            block.dispatcher = name
            outputs[scale, name] = np.asarray(block(x, x[:, 0], jnp.zeros(2, int))[0])
    for (scale, _), output in outputs.items():
        np.testing.assert_allclose(output, scale * outputs[1.0, "reference"], atol=1e-5)
    assert np.abs(outputs[1.0, "auto"]).max() > 0.01


def test_training_masks_whole_outputs_and_scales_none_of_them():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(20, 100, 4)), jnp.float32)
    block = ExpertFeedForward(4, 6, 3, RouterConfig("token"), output_scale=0.75, rngs=nnx.Rngs(1))

    def outputs(training):
        return np.asarray(block(x, x[:, 0], jnp.zeros(20, int), training)[0])

    inference = outputs(None)
    key = jax.random.key(3)
    masked = outputs(Training(TrainingOptions(output_masking=0.25), key))
    silent = (masked == 0).all(axis=-1)
    assert abs(silent.mean() - 0.25) < 0.03
    np.testing.assert_allclose(masked[~silent], inference[~silent] / 0.75, rtol=1e-5, atol=1e-6)
    # Without masking, outputs that are scaled down at inference are scaled down in training.
    np.testing.assert_allclose(outputs(Training(TrainingOptions(), key)), inference, atol=1e-6)
