"""What a layer's experts know of the task: against other implementations, and where the answer is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import jensenshannon
from sklearn.metrics import mutual_info_score

from tests.models import TASKS, captions, translator
from workbench.errors import WorkbenchError
from workbench.routing.affinity import coactivation, favourite_tokens
from workbench.routing.projection import sentence_gates
from workbench.routing.similarity import divergences, similarity
from workbench.routing.specialization import specialization
from workbench.routing.trace import Routes, trace_routes
from workbench.routing.usage import expert_usage


def traced(encoder: str, decoder: str, tasks=TASKS[:4], sentences: int = 6) -> Routes:
    """Routes of the first captions in each task."""
    model = translator(encoder, decoder)
    found = [
        trace_routes(
            model,
            captions(task.source)[:sentences],
            task.source,
            task.target,
            captions(task.target)[:sentences],
        )
        for task in tasks
    ]
    routes = found[0]
    for more in found[1:]:
        routes = routes + more
    return routes


@pytest.fixture(scope="module")
def routes() -> Routes:
    return traced("token", "sentence")


@pytest.fixture(scope="module")
def by_target() -> Routes:
    return traced("target", "target")


def test_information_is_that_of_the_choices(routes: Routes) -> None:
    table = specialization(routes, permutations=20).set_index("stack")
    assert table["layer"].tolist() == [1, 1] and table["top_k"].tolist() == [2, 2]
    for stack, rows in routes.frame.groupby("stack", observed=True):
        wanted = mutual_info_score(rows["task"].astype(str), rows["expert"]) / np.log(2)
        assert table.loc[stack, "information"] == pytest.approx(wanted, rel=1e-9)
        assert table.loc[stack, "choices"] == len(rows)
        load = rows["expert"].value_counts().reindex(range(4), fill_value=0)
        assert table.loc[stack, "max_violation"] == pytest.approx(load.max() / load.mean() - 1)


def test_divergence_is_that_of_the_shares(routes: Routes) -> None:
    usage = expert_usage(routes)
    table = similarity(usage).set_index(["stack", "task", "other"])["divergence"]
    for i, (stack, _) in enumerate(usage.layers):
        for a, one in enumerate(usage.tasks):
            for b, two in enumerate(usage.tasks):
                wanted = jensenshannon(usage.counts[a, i], usage.counts[b, i], base=2) ** 2
                assert table[stack, one, two] == pytest.approx(wanted, abs=1e-9)
    mean = specialization(routes, permutations=1).set_index("stack")["divergence"]
    for stack in mean.index:
        pairs = [d for (s, one, two), d in table.items() if s == stack and one < two]
        assert mean[stack] == pytest.approx(np.mean(pairs))


def test_experts_chosen_by_task_tell_it_and_chance_does_not(by_target: Routes) -> None:
    found = specialization(by_target, permutations=99)
    assert (found["information"] > 5 * found["information_chance"]).all()
    assert (found["information_p"] == 0.01).all()  # none of the shuffles told as much
    assert (found["divergence"] > 3 * found["divergence_chance"]).all()


def test_labels_that_mean_nothing_tell_no_more_than_chance() -> None:
    """Sentences of one task, half of them called another's: the p of such splits is spread over 0 to 1."""
    routes = traced("token", "token", TASKS[:1], sentences=24)
    frame = routes.frame
    shares = []
    for seed in range(12):
        other = np.random.default_rng(seed).permutation(24)[:12]
        task = np.where(frame["sentence"].isin(other), str(TASKS[1]), str(TASKS[0]))
        split = Routes(
            frame.assign(task=pd.Categorical(task)),
            tuple(TASKS[:2]),
            routes.sources,
            routes.translations,
            routes.layers,
            routes.experts,
        )
        shares.append(specialization(split, permutations=39, seed=seed)["information_p"].mean())
    assert 0.3 < np.mean(shares) < 0.7


def test_one_task_has_nothing_to_be_told_from() -> None:
    routes = traced("token", "token", TASKS[:1], sentences=2)
    table = specialization(routes)
    assert table[["information", "divergence"]].isna().all(axis=None)
    assert table["load_entropy"].between(0, 1).all()
    with pytest.raises(WorkbenchError, match="permutations is 0"):
        specialization(routes, permutations=0)


def test_what_is_neither_routes_nor_usage_is_named(routes: Routes) -> None:
    with pytest.raises(WorkbenchError, match="give what trace_routes returns"):
        specialization([routes])
    with pytest.raises(WorkbenchError, match="give what expert_usage returns"):
        similarity(routes)


def test_a_row_without_choices_diverges_from_nothing() -> None:
    found = divergences(np.array([[3.0, 1.0], [0.0, 0.0], [0.0, 2.0]]))
    assert np.isnan(found[1]).all() and np.isnan(found[:, 1]).all()
    assert found[0, 0] == 0 and 0 < found[0, 2] < 1


def test_favourite_tokens_are_those_chosen_more_than_by_chance(routes: Routes) -> None:
    table = favourite_tokens(routes, most=3, least=2)
    assert not table.empty and (table["lift"] > 1).all() and (table["seen"] >= 2).all()
    assert table.groupby(["stack", "layer", "expert"], observed=True).size().max() <= 3
    row = table.iloc[0]
    of = routes.frame[(routes.frame["stack"] == row["stack"])]
    first = of[of["rank"] == 0]
    chosen = of[(of["token"] == row["token"]) & (of["expert"] == row["expert"])]
    assert row["chosen"] == len(chosen)
    assert row["seen"] == (first["token"] == row["token"]).sum()
    by_all = (of["expert"] == row["expert"]).sum() / len(first)
    assert row["lift"] == pytest.approx(row["chosen"] / row["seen"] / by_all)


def test_experts_chosen_together_are_counted_both_ways(routes: Routes) -> None:
    table = coactivation(routes)
    for stack, rows in routes.frame.groupby("stack", observed=True):
        chosen = rows["expert"].to_numpy().reshape(-1, 2)
        own = table[table["stack"] == stack].set_index(["expert", "other"])
        for one in range(4):
            for two in range(4):
                both = int(((chosen == one).any(axis=1) & (chosen == two).any(axis=1)).sum())
                assert own.loc[(one, two), "tokens"] == (both if one != two else 0)
        shares = own["share"].groupby("expert").sum()
        assert shares[np.unique(chosen)].to_numpy() == pytest.approx(1)  # with two, one other each


def test_an_expert_that_none_chose_has_no_share_of_others(by_target: Routes) -> None:
    table = coactivation(by_target)
    chosen = by_target.frame.groupby("stack", observed=True)["expert"].unique()
    used = [row["expert"] in chosen[row["stack"]] for row in table.to_dict("records")]
    assert not all(used) and (table["share"].notna() == used).all()


def test_gates_of_a_sentence_are_the_mean_of_its_tokens(routes: Routes) -> None:
    gates = sentence_gates(routes, "encoder", 1)
    assert gates.shape == (24, 4)
    number, task = gates.index[7]
    rows = routes.frame[(routes.frame["stack"] == "encoder") & (routes.frame["sentence"] == number)]
    assert task == rows["task"].iloc[0]
    tokens = rows["position"].nunique()
    for expert in range(4):
        wanted = rows.loc[rows["expert"] == expert, "gate"].sum() / tokens
        assert gates.iloc[7][expert] == pytest.approx(wanted, abs=1e-6)
    with pytest.raises(WorkbenchError, match=r"no encoder layer 0 .* encoder 1, decoder 1"):
        sentence_gates(routes, "encoder", 0)
