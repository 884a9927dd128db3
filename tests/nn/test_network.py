"""The whole network: steps with a cache, padding, causality."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.models import EN_DE, KINDS, config, network
from workbench.nn.routers import sentence_mean

B, S, T = 3, 7, 6


@pytest.fixture(scope="module", params=KINDS, ids="-".join)
def case(request):
    """A network, three sentences of unequal length, and what the whole network says of them at once."""
    shape = config(*request.param)
    random = np.random.default_rng(5)
    source = random.integers(4, 400, (B, S)).astype(np.int32)
    source[1, 5:] = source[2, 3:] = shape.pad_id
    target = random.integers(4, 400, (B, T)).astype(np.int32)
    ids = [np.full(B, row, np.int32) for row in shape.task_ids(EN_DE)]
    graph, parameters = nnx.split(network(shape))

    @jax.jit
    def run(parameters, source, target):
        made = nnx.merge(graph, parameters)
        states, routing = made(source, target, *(i[: source.shape[0]] for i in ids))
        return made.logits(states), routing

    return graph, parameters, source, target, ids, run, run(parameters, source, target)


def test_step_by_step_with_a_cache_equals_all_at_once(case):
    graph, parameters, source, target, ids, _, (wanted, routing) = case

    @jax.jit
    def begin(parameters, prefix):
        made = nnx.merge(graph, parameters)
        encoded = made.encode(source, ids[0])
        sentence = sentence_mean(encoded.states, encoded.mask)
        cache = made.decoder.empty_cache(encoded, T + 2)  # roomier than needed
        states, cache, chosen = made.decoder.extend(
            made.embed(prefix, 0), 0, cache, encoded.mask, sentence, ids[1]
        )
        return made.logits(states), cache, encoded.mask, sentence, chosen

    @jax.jit
    def extend(parameters, token, position, cache, mask, sentence):
        made = nnx.merge(graph, parameters)
        states, cache, chosen = made.decoder.extend(
            made.embed(token, position), position, cache, mask, sentence, ids[1]
        )
        return made.logits(states), cache, chosen

    logits, cache, mask, sentence, chosen = begin(parameters, target[:, :2])
    found, decisions = [logits], [chosen]
    for position in range(2, T):
        token = target[:, position : position + 1]
        logits, cache, chosen = extend(
            parameters, token, jnp.int32(position), cache, mask, sentence
        )
        found.append(logits)
        decisions.append(chosen)
    np.testing.assert_allclose(jnp.concatenate(found, axis=1), wanted, atol=2e-4, rtol=1e-4)
    if routing["decoder"] and routing["decoder"][0].experts.shape[1] == T:
        steps = jnp.concatenate([layers[0].experts for layers in decisions], axis=1)
        assert (steps == routing["decoder"][0].experts).all()


def test_padding_changes_nothing(case):
    _, parameters, source, target, _, run, (wanted, routing) = case
    pad = np.ones((B, 3), np.int32)
    wider, found = run(
        parameters, np.concatenate([source, pad], axis=1), np.concatenate([target, pad], axis=1)
    )
    np.testing.assert_allclose(wider[:, :T], wanted, atol=2e-4, rtol=1e-4)
    for stack, length in (("encoder", S), ("decoder", T)):
        for a, b in zip(routing[stack], found[stack], strict=True):
            counted = (source if stack == "encoder" else target) != 1
            same = (a.spread(length).experts == b.spread(length + 3).experts[:, :length]).all(-1)
            assert same[counted].all()


def test_a_token_sees_none_after_it(case):
    _, parameters, source, target, _, run, (wanted, _) = case
    changed = target.copy()
    changed[:, 4:] = 17
    found = np.asarray(run(parameters, source, changed)[0])
    np.testing.assert_allclose(found[:, :4], wanted[:, :4], atol=1e-5)
    assert np.abs(found[:, 4:] - wanted[:, 4:]).max() > 0.1


@pytest.mark.parametrize("case", [("token", "token"), ("sentence", "pair")], indirect=True)
def test_every_parameter_matters(case):
    """What no gradient reaches is not wired."""
    graph, parameters, source, target, ids, *_ = case

    @jax.jit
    def gradient(parameters):
        def loss(parameters):
            made = nnx.merge(graph, parameters)
            return jnp.square(made.logits(made(source, target, *ids)[0])).mean()

        return jax.grad(loss)(parameters)

    idle = [
        jax.tree_util.keystr(path)
        for path, leaf in jax.tree_util.tree_leaves_with_path(gradient(parameters))
        # A shift of all keys alike cancels in the softmax.
        if not float(jnp.abs(leaf).max()) > 0 and "k_proj" not in jax.tree_util.keystr(path)
    ]
    assert not idle
