"""Shapes that no network can have."""

import pytest

from workbench.config import ConfigError, RouterConfig, StackConfig

KEYS = ("ces_Latn", "deu_Latn")


@pytest.mark.parametrize(
    ("assignment", "says"),
    [
        (((0, 1),), "1 rows for 2 keys"),
        (((0, 1), (2,)), r"deu_Latn is assigned to the experts \[2\]: give it top_k = 2 different"),
        (((0, 1), (2, 2)), r"experts \[2, 2\]"),
        (((0, -1), (2, 1)), r"ces_Latn is assigned to the experts \[0, -1\]"),
    ],
)
def test_an_assignment_gives_each_key_different_experts(assignment, says):
    with pytest.raises(ConfigError, match=says):
        RouterConfig("task", 2, "target", KEYS, assignment=assignment)


def test_an_assignment_names_experts_that_are_there():
    router = RouterConfig("task", 2, "target", KEYS, assignment=((0, 1), (2, 3)))
    assert StackConfig(2, (8,), (0,), 4, router).experts == 4
    with pytest.raises(ConfigError, match="beyond the 3 of a layer"):
        StackConfig(2, (8,), (0,), 3, router)


def test_only_tasks_can_be_assigned():
    with pytest.raises(ConfigError, match="1 rows for 0 keys"):
        RouterConfig("token", 1, assignment=((0,),))
