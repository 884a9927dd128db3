"""One step: parts of a batch add up to the whole, low precision stays near, the average is the formula's."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.models import EN_DE, config, network, stack
from workbench.training.batches import Batch
from workbench.training.objective import training_loss
from workbench.training.recipe import recipe_from
from workbench.training.update import begin, make_gradients, make_optimizer, make_update, pad_rows

RECIPE = recipe_from(
    {
        "name": "step",
        "data": {"directory": "-", "languages": ["en", "de"]},
        "objective": {"dropout": 0.0, "load_balance": 0.0, "router_z": 0.1},
    }
)


def batch_of(shape, rows, length=12, seed=0):
    """Sentences of different lengths."""
    draws = np.random.default_rng(seed)
    sides = draws.integers(4, 400, (3, rows, length)).astype(np.int32)
    ends = draws.integers(4, length + 1, (2, rows))
    for side, end in zip(sides, (ends[0], ends[1], ends[1]), strict=True):
        side[np.arange(length) >= end[:, None]] = shape.pad_id
    return Batch(*sides, *(np.full(rows, i, np.int32) for i in shape.task_ids(EN_DE)))


def close(found, wanted, tolerance):
    """Largest difference, against the largest entry of each array."""
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert np.abs(np.asarray(a) - b).max() <= tolerance * max(1e-2, np.abs(b).max())


@pytest.fixture(scope="module")
def small():
    """A network of token and task experts, split."""
    shape = config("token", "target")
    return shape, *nnx.split(network(shape))


def gradients(small, batch, **objective):
    _, graph, parameters = small
    objective = dataclasses.replace(RECIPE.objective, **objective)
    return jax.jit(make_gradients(graph, objective))(parameters, batch, None)


def test_parts_of_a_batch_give_the_gradient_of_the_whole(small):
    batch = batch_of(small[0], 10)
    whole = gradients(small, batch)
    parts = gradients(small, pad_rows(batch, 4, small[0].pad_id), accumulate=4)
    assert parts[0] == pytest.approx(float(whole[0]), rel=1e-6)
    assert parts[1]["tokens"] == whole[1]["tokens"]
    balanced = {name for name in whole[1] if name.startswith("balance")}
    for name in whole[1].keys() - balanced:
        np.testing.assert_allclose(parts[1][name], whole[1][name], rtol=1e-5)
    close(parts[2], whole[2], 1e-5)


def test_bfloat16_stays_near_float32_and_keeps_float32_gradients(small):
    batch = batch_of(small[0], 6)
    exact, low = (gradients(small, batch, compute=kind) for kind in ("float32", "bfloat16"))
    assert low[0] == pytest.approx(float(exact[0]), rel=0.02)
    assert low[0] != exact[0]
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(low[2]))
    flat = [np.concatenate([np.ravel(x) for x in jax.tree.leaves(g[2])]) for g in (exact, low)]
    cosine = flat[0] @ flat[1] / np.linalg.norm(flat[0]) / np.linalg.norm(flat[1])
    assert cosine > 0.97


def test_the_average_starts_short(small):
    _, graph, parameters = small
    recipe = dataclasses.replace(
        RECIPE,
        run=dataclasses.replace(RECIPE.run, average=0.5),
        objective=dataclasses.replace(RECIPE.objective, learning_rate=0.5, warmup_steps=0),
    )
    optimizer = make_optimizer(recipe.objective, 10)
    update = make_update(graph, optimizer, recipe)
    copied = jax.tree.map(jnp.copy, parameters)
    trained = begin(copied, optimizer, recipe)
    first = np.asarray(trained.parameters["embedding"][...])
    seen = [first]
    for step in (1, 2):
        trained, _ = update(trained, batch_of(small[0], 4), step)
        seen.append(np.asarray(trained.parameters["embedding"][...]))
    wanted = first
    for step, value in ((1, seen[1]), (2, seen[2])):
        decay = min(0.5, (1 + step) / (10 + step))
        wanted = decay * wanted + (1 - decay) * value
    np.testing.assert_allclose(trained.average["embedding"][...], wanted, rtol=1e-5, atol=1e-5)
    assert trained.best_known is trained.average


def test_padded_rows_count_for_nothing(small):
    batch = batch_of(small[0], 3)
    padded = pad_rows(batch, 4, small[0].pad_id)
    assert len(padded.source) == 4
    assert pad_rows(batch, 3, small[0].pad_id) is batch
    close(gradients(small, padded), gradients(small, batch), 1e-5)


LIMITS = {
    "capacity_factor": 0.75,
    "second_expert": "random",
    "expert_output_masking": 0.2,
}


def loss(small, batch, key, **objective):
    """Loss and parts alone."""
    _, graph, parameters = small
    objective = dataclasses.replace(RECIPE.objective, **objective)
    return jax.jit(lambda p, b, k: training_loss(nnx.merge(graph, p), b, objective, k))(
        parameters, batch, key
    )


def test_padding_takes_no_capacity_and_shifts_no_draw(small):
    batch = batch_of(small[0], 3)
    key = jax.random.key(0, impl="rbg")
    padded = pad_rows(batch, 4, small[0].pad_id)
    found, wanted = (loss(small, b, key, **LIMITS) for b in (padded, batch))
    assert wanted[1]["dropped.encoder.0"] > 0.1
    close(found, wanted, 1e-5)


def test_limits_are_for_training_alone(small):
    """Without a key, as in validation, nothing is dropped and nothing is masked."""
    batch = batch_of(small[0], 3)
    found, wanted = loss(small, batch, None, **LIMITS), loss(small, batch, None)
    assert found[0] == wanted[0]
    assert found[1].keys() == wanted[1].keys()
    assert not any(name.startswith("dropped") for name in found[1])


def test_each_part_of_a_batch_has_its_own_capacity():
    """Of two directions with two experts each, all four are evenly used; in a part of one direction two are."""
    shape = config("dense", stack("static-target"))
    small = shape, *nnx.split(network(shape))
    rows = np.repeat(batch_of(shape, 1).source, 8, axis=0)
    german = np.arange(8, dtype=np.int32) % 2  # dealt out in turn: each part has one language
    batch = Batch(rows, rows, rows, np.zeros(8, np.int32), german)
    key = jax.random.key(0)
    whole = loss(small, batch, key, capacity_factor=1.0)[1]
    assert whole["dropped.decoder.0"] == 0
    objective = dataclasses.replace(RECIPE.objective, capacity_factor=1.0, accumulate=2)
    parts = jax.jit(make_gradients(small[1], objective))(small[2], batch, key)[1]
    assert parts["dropped.decoder.0"] == pytest.approx(0.5)
    np.testing.assert_allclose(parts["load.decoder.0"], whole["load.decoder.0"], rtol=1e-5)
