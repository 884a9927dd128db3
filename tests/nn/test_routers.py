"""Routers by arrays that can be checked by hand, and the losses of what they decide."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from workbench.config import RouterConfig
from workbench.nn.losses import load_balance_loss, router_z_loss
from workbench.nn.routers import Router, Routing, choose, sentence_mean

LOGITS = jnp.log(jnp.array([[[0.1, 0.6, 0.3], [0.5, 0.2, 0.3]]]))


def test_two_experts_share_their_gates():
    routing = choose(LOGITS, 2)
    assert routing.experts.tolist() == [[[1, 2], [0, 2]]]
    assert routing.experts.dtype == jnp.int32
    np.testing.assert_allclose(routing.gates, [[[2 / 3, 1 / 3], [5 / 8, 3 / 8]]], rtol=1e-6)
    np.testing.assert_allclose(routing.probabilities, np.exp(LOGITS), rtol=1e-6)


def test_a_single_expert_keeps_its_probability():
    routing = choose(LOGITS, 1)
    assert routing.experts.tolist() == [[[1], [0]]]
    np.testing.assert_allclose(routing.gates, [[[0.6], [0.5]]], rtol=1e-6)


def test_a_single_experts_unit_gate_is_one_with_the_gradient_of_its_log_probability():
    def gate(logits):
        return choose(logits, 1, unit_gates=True).gates.sum()

    value, gradient = jax.value_and_grad(gate)(LOGITS[:, :1])
    assert value == 1
    # d log p_1 / d logits = one_hot(1) - p
    np.testing.assert_allclose(gradient, [[[-0.1, 0.4, -0.3]]], rtol=1e-6)


def test_gates_are_finite_where_one_logit_towers():
    routing = choose(jnp.array([[[1e4, 0.0, -1e4]]]), 2)
    assert routing.gates.tolist() == [[[1.0, 0.0]]]


def router(granularity, **options):
    made = Router(2, 3, RouterConfig(granularity, 2, **options), rngs=nnx.Rngs(0))
    made.kernel[...] = jnp.array([[1.0, 0.0, -1.0], [0.0, 2.0, 0.0]])
    return made


STATES = jnp.array([[[1.0, 0.0], [0.0, 1.0]], [[-1.0, 0.0], [-1.0, -1.0]]])
SENTENCES = jnp.array([[0.0, 1.0], [-1.0, 0.0]])
NO_TASKS = jnp.array([0, 0])


def test_a_token_router_looks_at_each_token():
    routing = router("token")(STATES, SENTENCES, NO_TASKS)
    assert routing.logits.tolist() == [
        [[1.0, 0.0, -1.0], [0.0, 2.0, 0.0]],
        [[-1.0, 0.0, 1.0], [-1.0, -2.0, 1.0]],
    ]
    assert routing.experts.tolist() == [[[0, 1], [1, 0]], [[2, 1], [2, 0]]]


def test_a_sentence_router_looks_at_the_sentence_alone():
    routing = router("sentence")(STATES, SENTENCES, NO_TASKS)
    assert routing.logits.tolist() == [[[0.0, 2.0, 0.0]], [[-1.0, 0.0, 1.0]]]
    spread = routing.spread(2)
    assert spread.experts.tolist() == [[[1, 0], [1, 0]], [[2, 1], [2, 1]]]


def test_a_task_router_looks_at_the_task_alone():
    gate = router("task", task_key="target", keys=("ces_Latn", "deu_Latn"))
    gate.task_embedding[...] = jnp.array([[0.0, 1.0], [-2.0, 0.0]])
    routing = gate(STATES, SENTENCES, jnp.array([1, 0]))
    assert routing.logits.tolist() == [[[-2.0, 0.0, 2.0]], [[0.0, 2.0, 0.0]]]


def test_assigned_experts_share_alike_and_nothing_is_learned():
    gate = Router(
        2,
        3,
        RouterConfig("task", 2, "target", ("ces_Latn", "deu_Latn"), assignment=((2, 0), (1, 2))),
        rngs=nnx.Rngs(0),
    )
    assert not jax.tree.leaves(nnx.state(gate))
    routing = gate(STATES, SENTENCES, jnp.array([1, 0]))
    assert routing.experts.tolist() == [[[1, 2]], [[2, 0]]]
    assert routing.experts.dtype == jnp.int32
    assert routing.gates.tolist() == [[[0.5, 0.5]], [[0.5, 0.5]]]
    assert routing.probabilities.tolist() == [[[0.0, 0.5, 0.5]], [[0.5, 0.0, 0.5]]]
    np.testing.assert_allclose(
        jax.nn.softmax(routing.logits), routing.probabilities, rtol=1e-6, atol=1e-9
    )
    everything = jnp.ones((2, 1), bool)
    assert router_z_loss(routing, everything) == pytest.approx(0, abs=1e-12)
    # f = P = (1/4, 1/4, 1/2)
    assert load_balance_loss(routing, everything) == pytest.approx(3 * (1 / 16 + 1 / 16 + 1 / 4))


def test_the_gate_is_computed_in_float32():
    routing = router("token")(STATES.astype(jnp.bfloat16), SENTENCES, NO_TASKS)
    assert routing.gates.dtype == routing.logits.dtype == jnp.float32


def test_padding_is_no_part_of_a_sentence():
    states = jnp.array([[[1.0, 2.0], [3.0, 4.0], [100.0, 100.0]]])
    mask = jnp.array([[True, True, False]])
    assert sentence_mean(states, mask).tolist() == [[2.0, 3.0]]
    assert sentence_mean(states, jnp.zeros((1, 3), bool)).tolist() == [[0.0, 0.0]]


def routing_of(experts, probabilities):
    probabilities = jnp.array(probabilities)
    return Routing(
        jnp.array(experts), jnp.ones_like(probabilities), jnp.log(probabilities), probabilities
    )


def test_balance_is_one_when_even_and_e_when_all_go_to_one():
    everything = jnp.ones((1, 2), bool)
    even = routing_of([[[0], [1]]], [[[0.5, 0.5], [0.5, 0.5]]])
    assert load_balance_loss(even, everything) == pytest.approx(1.0)
    one = routing_of([[[0], [0]]], [[[1.0, 0.0], [1.0, 0.0]]])
    assert load_balance_loss(one, everything) == pytest.approx(2.0)


def test_balance_by_hand_with_two_choices_and_padding():
    routing = routing_of(
        [[[0, 1], [0, 2], [1, 2]]], [[[0.5, 0.4, 0.1], [0.7, 0.1, 0.2], [0.0, 0.5, 0.5]]]
    )
    # Two tokens count: f = (1/2, 1/4, 1/4), P = (0.6, 0.25, 0.15).
    mask = jnp.array([[True, True, False]])
    wanted = 3 * (0.5 * 0.6 + 0.25 * 0.25 + 0.25 * 0.15)
    assert load_balance_loss(routing, mask) == pytest.approx(wanted)


def test_z_loss_by_hand():
    logits = jnp.log(jnp.array([[[1.0, 1.0], [2.0, 6.0], [9.0, 9.0]]]))
    routing = Routing(jnp.zeros((1, 3, 1), int), logits, logits, logits)
    mask = jnp.array([[True, True, False]])
    wanted = (np.log(2) ** 2 + np.log(8) ** 2) / 2
    assert router_z_loss(routing, mask) == pytest.approx(wanted, rel=1e-6)
