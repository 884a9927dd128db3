"""The whole network: steps with a cache, padding, causality."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.models import EN_DE, KINDS, config, network

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
    def begin(parameters):
        made = nnx.merge(graph, parameters)
        memory = made.decoder.memory(made.encode(source, ids[0]))
        return memory, made.decoder.empty_cache(memory, T + 2)  # roomier than needed

    @jax.jit
    def step(parameters, token, position, cache, memory):
        made = nnx.merge(graph, parameters)
        x = made.look_up(token) + made.positions(T)[position]
        states, cache, chosen = made.decoder.step(x, position, cache, memory, ids[1])
        np.testing.assert_array_equal(states.shape, (B, 1, 32))
        by_token = made.logits_by_token(states[:, 0]).T[:, None]
        return made.logits(states), by_token, cache, chosen

    memory, cache = begin(parameters)
    found, decisions = [], []
    for position in range(T):
        token = target[:, position : position + 1]
        logits, by_token, cache, chosen = step(
            parameters, token, jnp.int32(position), cache, memory
        )
        np.testing.assert_allclose(by_token, logits, atol=1e-5)
        found.append(logits)
        decisions.append(chosen)
    np.testing.assert_allclose(jnp.concatenate(found, axis=1), wanted, atol=2e-4, rtol=1e-4)
    if routing["decoder"] and routing["decoder"][0].experts.shape[1] == T:
        steps = jnp.concatenate([layers[0].experts for layers in decisions], axis=1)
        assert (steps == routing["decoder"][0].experts).all()


def test_rows_of_a_sentence_share_its_source_and_keep_their_own_past(case):
    graph, parameters, source, target, ids, _, _ = case
    other = np.roll(target, 1, axis=1)

    @jax.jit
    def states_of(parameters, tokens):
        """States [B, R, T, D] of R targets a sentence, [B, R, T], step by step."""
        made = nnx.merge(graph, parameters)
        memory = made.decoder.memory(made.encode(source, ids[0]))
        cache = made.decoder.empty_cache(memory, T, rows=tokens.shape[1])
        found = []
        for position in range(T):
            x = made.look_up(tokens[:, :, position]) + made.positions(T)[position]
            states, cache, _ = made.decoder.step(x, position, cache, memory, ids[1])
            found.append(states)
        return jnp.stack(found, axis=2)

    both = states_of(parameters, np.stack([target, other], axis=1))
    for row, tokens in enumerate((target, other)):
        alone = states_of(parameters, tokens[:, None])[:, 0]
        np.testing.assert_allclose(both[:, row], alone, atol=1e-5, rtol=1e-5)


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
