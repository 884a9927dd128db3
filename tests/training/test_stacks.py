"""Stacks by name, and experts that are assigned evenly."""

from collections import Counter
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.models import TASKS
from workbench.cli.upcycle import _ROUTINGS
from workbench.config import ConfigError
from workbench.training.stacks import RoutingName, even_assignment, routed_stack


def made(routing, **options):
    given = {
        "heads": 2,
        "widths": (8, 8, 8, 8),
        "tasks": TASKS,
        "experts": 4,
        "top_k": 2,
        "step": 2,
    }
    return routed_stack(routing, **given | options)


def test_every_name_gives_the_stack_it_says():
    assert made("dense").router is None
    for name in get_args(RoutingName)[1:]:
        stack = made(name)
        assert stack.expert_layers == (1, 3)
        assert name.endswith(stack.router.task_key or stack.router.granularity)
        assert bool(stack.router.assignment) == name.startswith("static-")
    assert made("pair").router.keys == tuple(sorted(map(str, TASKS)))
    assert made("token", top_k=1, unit_gates=True).router.unit_gates


def test_tasks_are_alone_with_their_experts_as_long_as_these_last():
    assert even_assignment("ab", 4, 2) == ((0, 1), (2, 3))
    assert even_assignment("abc", 4, 2) == ((0, 1), (2, 3), (0, 1))
    assert even_assignment("ab", 3, 2) == ((0, 1), (2, 0))
    assert made("static-target").router.assignment == ((0, 1), (2, 3), (0, 1), (2, 3))


@given(st.integers(1, 40), st.integers(1, 16), st.data())
def test_assigned_experts_are_different_and_evenly_used(keys, experts, data):
    top_k = data.draw(st.integers(1, experts))
    rows = even_assignment(["x"] * keys, experts, top_k)
    assert len(rows) == keys and all(len(set(row)) == top_k for row in rows)
    used = Counter(expert for row in rows for expert in row)
    counts = [used[expert] for expert in range(experts)]
    assert max(counts) - min(counts) <= 1


def test_what_no_stack_can_be_is_explained():
    with pytest.raises(ConfigError, match=r"No layer gets experts: with one in every 5 .* has 4"):
        made("token", step=5)
    with pytest.raises(ConfigError, match="top_k is 5, but a layer has 4 experts"):
        made("target", top_k=5)


def test_the_command_line_knows_every_name():
    assert get_args(RoutingName) == _ROUTINGS
