"""Orders of tasks and experts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from workbench.errors import WorkbenchError
from workbench.routing.ordering import order_experts, order_tasks

TASKS = ["eng_Latn-deu_Latn", "deu_Latn-eng_Latn", "eng_Latn-fra_Latn", "fra_Latn-eng_Latn"]
#: Two pairs of tasks by target; expert 3 is used by none, expert 1 by all.
SHARES = pd.DataFrame(
    [[0.9, 0.3, 0.0, 0.0], [0.1, 0.4, 0.8, 0.0], [0.8, 0.4, 0.0, 0.0], [0.0, 0.4, 0.9, 0.0]],
    index=TASKS,
)


def test_tasks_by_language_and_by_what_they_use() -> None:
    deu, to_eng, fra, from_fra = TASKS
    assert order_tasks(SHARES, "given") == TASKS
    assert order_tasks(SHARES, "source") == [to_eng, deu, fra, from_fra]
    assert order_tasks(SHARES, "target") == [deu, to_eng, from_fra, fra]
    alike = order_tasks(SHARES, "alike")
    assert {frozenset(alike[:2]), frozenset(alike[2:])} == {
        frozenset({deu, fra}),
        frozenset({to_eng, from_fra}),
    }


def test_tasks_without_tokens_come_last() -> None:
    shares = SHARES.copy()
    shares.loc[TASKS[0]] = 0.0
    assert order_tasks(shares, "alike")[-1] == TASKS[0]
    shares.loc[TASKS[1]] = 0.0
    assert sorted(order_tasks(shares, "alike")[:2]) == sorted(TASKS[2:])


def test_experts_by_use_and_by_their_task() -> None:
    assert order_experts(SHARES, "number") == [0, 1, 2, 3]
    assert order_experts(SHARES, "use") == [0, 2, 1, 3]
    assert order_experts(SHARES, "use", most=2) == [0, 2]
    assert order_experts(SHARES, "number", most=3) == [0, 1, 2]
    assert order_experts(SHARES, "task") == [0, 1, 2, 3]
    assert order_experts(SHARES.iloc[[1, 0, 2, 3]], "task") == [1, 0, 2, 3]


def test_many_tasks_are_ordered_soon() -> None:
    random = np.random.default_rng(0)
    codes = sorted({task.partition("-")[0] for task in TASKS})
    tasks = [f"{codes[i % 3]}-{codes[(i + 1) % 3]}" for i in range(200)]
    shares = pd.DataFrame(random.random((200, 64)), index=tasks)
    assert sorted(order_tasks(shares, "alike")) == sorted(tasks)


def test_an_unknown_order_is_refused() -> None:
    with pytest.raises(WorkbenchError, match="tasks cannot be ordered by 'size'"):
        order_tasks(SHARES, "size")  # type: ignore[arg-type]
    with pytest.raises(WorkbenchError, match="Accepted: number, use, task"):
        order_experts(SHARES, "size")  # type: ignore[arg-type]
