"""Flow between layers: counts that are known, and information against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import mutual_info_score

from workbench.errors import WorkbenchError
from workbench.routing.flow import layer_flow
from workbench.routing.trace import Routes
from workbench.tasks import parse_task

TASK = parse_task("eng_Latn-deu_Latn")


def routes_of(choices: dict[int, list[int]], experts: int = 3) -> Routes:
    """Routes of one sentence in an encoder, from the first choices of its tokens in each layer."""
    rows = [
        (0, str(TASK), "encoder", layer, position, "x", rank, (expert + rank) % experts, 0.5)
        for layer, chosen in choices.items()
        for position, expert in enumerate(chosen)
        for rank in (0, 1)
    ]
    names = ["sentence", "task", "stack", "layer", "position", "token", "rank", "expert", "gate"]
    frame = pd.DataFrame(rows, columns=names)
    layers = {"encoder": tuple(choices)}
    return Routes(frame, (TASK,), ("a",), ("b",), layers, {"encoder": experts})


def test_the_flow_counts_first_choices_from_layer_to_layer() -> None:
    table = layer_flow(routes_of({1: [0, 0, 0, 2], 3: [1, 1, 2, 2], 5: [0, 1, 2, 0]}))
    assert list(table["layer"].unique()) == [1, 3]
    assert list(table["next_layer"].unique()) == [3, 5]
    first = table[table["layer"] == 1].set_index(["expert", "next_expert"])
    assert first["tokens"].to_dict() == {(0, 1): 2, (0, 2): 1, (2, 2): 1}
    assert first["share"].to_dict() == {(0, 1): 2 / 3, (0, 2): 1 / 3, (2, 2): 1}
    assert first["by_chance"].to_dict() == {(0, 1): 0.5, (0, 2): 0.5, (2, 2): 0.5}


def test_information_is_above_chance_where_the_next_choice_follows_from_this_one() -> None:
    random = np.random.default_rng(0)
    here = random.integers(3, size=300)
    free, bound = random.integers(3, size=300), (here + 1) % 3
    table = layer_flow(routes_of({0: here.tolist(), 1: bound.tolist(), 2: free.tolist()}))
    found = table.drop_duplicates("layer").set_index("layer")
    for layer, following in ((0, bound), (1, free)):
        before = here if layer == 0 else bound
        wanted = mutual_info_score(before, following) / np.log(2)
        assert found.loc[layer, "information"] == pytest.approx(wanted)
    assert found.loc[0, "information"] > 1.5 > 0.1 > found.loc[0, "information_chance"]
    assert found.loc[1, "information"] < 4 * found.loc[1, "information_chance"]


def test_one_layer_with_experts_has_no_flow_and_no_routes_have_a_clear_error() -> None:
    assert layer_flow(routes_of({1: [0, 1]})).empty
    with pytest.raises(WorkbenchError, match="routes"):
        layer_flow("routes")  # type: ignore[arg-type]
