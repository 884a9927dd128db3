"""Shapes that no network can have."""

import dataclasses

import pytest

from tests.models import config, stack
from workbench.config import ConfigError, RouterConfig

TWO = stack("token", layers=3, experts=4, expert_layers=(0, 2))


def test_layers_may_have_different_numbers_of_experts():
    uneven = dataclasses.replace(TWO, experts_by_layer=(2, 4))
    assert [uneven.experts_in(layer) for layer in range(3)] == [2, 0, 4]
    assert [TWO.experts_in(layer) for layer in range(3)] == [4, 0, 4]


@pytest.mark.parametrize("counts", [(4,), (2, 3), (1, 4), (4, 4, 4)])
def test_numbers_that_do_not_fit_are_refused(counts):
    with pytest.raises(ConfigError, match="experts_by_layer is"):
        dataclasses.replace(TWO, experts_by_layer=counts)


def test_columns_belong_to_experts_that_exist_and_every_expert_has_one():
    merged = dataclasses.replace(TWO, router_groups=((0, 1, 2, 3, 0), (3, 2, 1, 0)))
    assert merged.groups_in(0) == (0, 1, 2, 3, 0)
    assert TWO.groups_in(0) == ()
    for groups in (((0, 1, 2, 3),), ((0, 1, 2), (0, 1, 2, 3)), ((0, 1, 2, 4), (0, 1, 2, 3))):
        with pytest.raises(ConfigError, match="router_groups must give"):
            dataclasses.replace(TWO, router_groups=groups)


def test_a_remainder_belongs_to_task_routing_with_one_expert():
    assert RouterConfig("task", 1, "target", ("deu_Latn",), remainder=True).remainder
    for wrong in (
        {"granularity": "token", "top_k": 1},
        {"granularity": "task", "top_k": 2, "task_key": "target", "keys": ("deu_Latn",)},
    ):
        with pytest.raises(ConfigError, match="has no remainder"):
            RouterConfig(**wrong, remainder=True)


@pytest.mark.parametrize("key", ["d_model", "max_positions"])
def test_a_network_holds_a_text_and_its_positions(key):
    small = {"d_model": 4, "max_positions": 3}
    assert dataclasses.replace(config("dense", "dense"), **small).max_positions == 3
    with pytest.raises(ConfigError, match=f"{key} is .: it must be at least"):
        dataclasses.replace(config("dense", "dense"), **{**small, key: small[key] - 1})
