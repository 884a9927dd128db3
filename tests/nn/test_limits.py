"""Limits of training by arrays that can be checked by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from workbench.nn.limits import limited, within_capacity
from workbench.nn.routers import choose
from workbench.nn.training_mode import Training, TrainingOptions

EVERYTHING = jnp.ones((1, 4), bool)


def routed(*probabilities, top_k=2):
    """One sentence of tokens with these probabilities."""
    return choose(jnp.log(jnp.array([probabilities])), top_k)


def training(mask=EVERYTHING, seed=0, **options):
    return Training(TrainingOptions(**options), jax.random.key(seed), mask)


def test_places_go_to_first_choices_in_order_and_then_to_second_ones():
    experts = jnp.array([[[0, 1], [0, 2]], [[0, 1], [1, 0]]])
    sent = jnp.ones((2, 2, 2), bool)
    # Expert 0 is first choice of three tokens, expert 1 of the last one and second of two.
    kept = within_capacity(experts, sent, 3, jnp.float32(2))
    assert kept.tolist() == [[[True, True], [True, True]], [[False, False], [True, False]]]
    # A choice that is not sent takes no place.
    kept = within_capacity(experts, sent.at[0, 0].set(False), 3, jnp.float32(2))
    assert kept.tolist() == [[[False, False], [True, True]], [[True, True], [True, False]]]


def test_capacity_is_a_multiple_of_the_even_share_rounded_up():
    routing = routed(*[[0.6, 0.3, 0.1]] * 4)
    # Even shares of 8 choices among 3 experts are 2.67: with a factor of 1 each takes 3.
    found = limited(routing, 4, training(capacity_factor=1.0))
    assert found.dropped.tolist() == [[[False, False]] * 3 + [[True, True]]]
    np.testing.assert_allclose(found.gates, [[[2 / 3, 1 / 3]] * 3 + [[0, 0]]], rtol=1e-6)
    np.testing.assert_array_equal(found.experts, routing.experts)
    np.testing.assert_array_equal(found.probabilities, routing.probabilities)
    # 0.375 x 2.67 is one place.
    found = limited(routing, 4, training(capacity_factor=0.375))
    assert found.dropped[0, :, 0].tolist() == [False, True, True, True]
    # All may go to one expert with a factor of E / K.
    assert not limited(routing, 4, training(capacity_factor=1.5)).dropped.any()


def test_padding_takes_no_place_and_makes_no_room():
    routing = routed(*[[0.6, 0.3, 0.1]] * 4)
    mask = jnp.array([[False, True, True, False]])
    found = limited(routing, 4, training(mask, capacity_factor=0.75))
    # Two tokens, 4 choices, 3 experts: one place.
    assert found.gates[0, :, 0].astype(bool).tolist() == [False, True, False, False]
    assert found.dropped[0, :, 0].tolist() == [False, False, True, False]


def test_a_sentences_decision_is_limited_token_by_token():
    routing = routed([0.6, 0.3, 0.1])
    found = limited(routing, 4, training(capacity_factor=0.75))
    assert found.gates.shape == found.dropped.shape == (1, 4, 2)
    assert found.dropped[0, :, 0].tolist() == [False, False, True, True]
    assert found.spread(4).experts.shape == (1, 4, 2)


def test_without_limits_nothing_changes():
    routing = routed([0.6, 0.3, 0.1], [0.2, 0.2, 0.6])
    found = limited(routing, 2, training())
    assert found.dropped is None
    np.testing.assert_array_equal(found.gates, routing.gates)


def test_a_second_expert_is_kept_in_proportion_to_its_gate():
    routing = routed(*[[0.64, 0.16, 0.2 * 0.0]] * 4000)  # gates 0.8 and 0.2
    mask = jnp.ones((1, 4000), bool)
    found = limited(routing, 4000, training(mask, second_expert="random"))
    assert (np.asarray(found.gates[0, :, 0]) > 0.79).all()
    kept = np.asarray(found.gates[0, :, 1]) > 0
    assert kept.mean() == pytest.approx(0.4, abs=0.03)
    np.testing.assert_allclose(np.asarray(found.gates[0, :, 1])[kept], 0.2, rtol=1e-5)
    # Equal gates are both kept, and what is not sent is not dropped and takes no place.
    even = routed(*[[0.4, 0.4, 0.2]] * 4)
    assert (limited(even, 4, training(second_expert="random")).gates == 0.5).all()
    both = limited(routing, 4000, training(mask, second_expert="random", capacity_factor=1.5 * 0.3))
    # Expert 0 has 1,200 places for 4,000, expert 1 as many for 1,600.
    dropped = np.asarray(both.dropped[0])
    assert dropped[:, 0].sum() == 2800
    assert dropped[:, 1].sum() == kept.sum() - 1200


def test_a_sampled_second_expert_follows_the_probabilities_of_the_others():
    routing = routed(*[[0.5, 0.3, 0.15, 0.05]] * 4000)
    mask = jnp.ones((1, 4000), bool)
    found = limited(routing, 4000, training(mask, second_expert="sampling"))
    assert (found.experts[..., 0] == 0).all()
    counts = np.bincount(np.asarray(found.experts[0, :, 1]), minlength=4) / 4000
    np.testing.assert_allclose(counts, [0, 0.6, 0.3, 0.1], atol=0.03)
    second = np.asarray([0.5, 0.3, 0.15, 0.05])[np.asarray(found.experts[0, :, 1])]
    np.testing.assert_allclose(found.gates[0, :, 1], second / (0.5 + second), rtol=1e-5)
    other = limited(routing, 4000, training(mask, seed=1, second_expert="sampling"))
    assert (other.experts != found.experts).any()
