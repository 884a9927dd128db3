"""How much the experts of a layer know of the task: specialisation by layer, beside what chance alone would give."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from workbench.arguments import as_count, as_number_of, as_one
from workbench.routing.similarity import divergences, entropies
from workbench.routing.trace import Routes

#: Shuffles that the chance level of the divergence is a mean of, at most: it takes a pass over all pairs of tasks.
_DIVERGENCES = 20


class LayerCounts(NamedTuple):
    """Choices of one layer: counts float64 [sentences, E], at any rank, and task int64 [sentences], the row of each
    sentence's task. Sentences without tokens are left out. top_k: experts that a token chooses.
    """

    stack: str
    layer: int
    counts: np.ndarray
    task: np.ndarray
    top_k: int


def counts_by_sentence(routes: Routes) -> Iterator[LayerCounts]:
    """How often the tokens of each sentence chose each expert, layer by layer."""
    row = {str(task): i for i, task in enumerate(routes.tasks)}
    parts = dict(iter(routes.frame.groupby(["stack", "layer"], observed=True, sort=False)))
    for stack, layers in routes.layers.items():
        for layer in layers:
            part = parts.get((stack, layer))
            if part is None:  # no sentence had a token
                continue
            experts = routes.experts_in(stack, layer)
            sentences, place = np.unique(part["sentence"].to_numpy(), return_inverse=True)
            counts = np.zeros((len(sentences), experts))
            np.add.at(counts, (place, part["expert"].to_numpy(np.int64)), 1)
            first = np.unique(place, return_index=True)[1]
            task = part["task"].astype(str).map(row).to_numpy()[first]
            yield LayerCounts(stack, layer, counts, task, int(part["rank"].max()) + 1)


def specialization(routes: Routes, permutations: int = 200, seed: int = 0) -> pd.DataFrame:
    """Specialisation of every layer with experts, a row each.

    Counted are choices: each token counts once for every expert it chose, whatever the gate; language and end tokens
    count, padding does not. Columns:

    stack, layer, experts, top_k, choices;
    load_entropy: entropy of the experts' load over its largest value, log2 E: 1 where all are used alike;
    max_violation: how far the busiest expert is above the mean load, of the mean (MaxVio);
    information: bits that a choice tells of the task (mutual information of expert and task), and of these
    information_chance and information_p: their mean where the sentences' tasks are shuffled, and the share of shuffles
    with as much (with the true one counted);
    divergence, divergence_chance: mean Jensen-Shannon divergence between the experts' shares of two tasks, in bits (0
    alike, 1 apart), and its mean over the first 20 shuffles.

    With one task there is nothing to tell apart: information and divergence are NaN.

    permutations: shuffles for the chance level. seed: of the shuffles.
    """
    routes = as_one(routes, Routes, "routes", "what trace_routes returns")
    permutations, seed = as_count(permutations, "permutations"), as_number_of(seed, "seed")
    rows = []
    for found in counts_by_sentence(routes):
        tasks = len(routes.tasks)
        loads = found.counts.sum(axis=0)
        share = loads / loads.sum()
        experts = len(loads)
        values = {
            "stack": found.stack,
            "layer": found.layer,
            "experts": experts,
            "top_k": found.top_k,
            "choices": int(loads.sum()),
            "load_entropy": _entropy(share) / np.log2(experts) if experts > 1 else 1.0,
            "max_violation": float(loads.max() / loads.mean() - 1),
        }
        names = ("information", "information_chance", "information_p", "divergence")
        values |= dict.fromkeys((*names, "divergence_chance"), np.nan)
        if len(np.unique(found.task)) > 1:
            shuffles = np.random.default_rng(seed)
            true = _of_tasks(found.counts, found.task, tasks)
            information = mutual_information(true)
            shuffled = [
                _of_tasks(found.counts, shuffles.permutation(found.task), tasks)
                for _ in range(permutations)
            ]
            told = np.array([mutual_information(counts) for counts in shuffled])
            values |= {
                "information": information,
                "information_chance": float(told.mean()),
                "information_p": float((1 + (told >= information).sum()) / (1 + permutations)),
                "divergence": mean_divergence(true),
                "divergence_chance": float(
                    np.mean(list(map(mean_divergence, shuffled[:_DIVERGENCES])))
                ),
            }
        rows.append(values)
    return pd.DataFrame(rows)


def mean_divergence(counts: np.ndarray) -> float:
    """Mean divergence in bits over the pairs of rows of `counts` [tasks, E] that have any choices."""
    counts = counts[counts.sum(axis=1) > 0]
    return float(divergences(counts)[np.triu_indices(len(counts), 1)].mean())


def _of_tasks(counts: np.ndarray, task: np.ndarray, tasks: int) -> np.ndarray:
    """Counts [tasks, E] of sentences' counts [sentences, E] whose tasks are `task` [sentences]."""
    sentences = len(task)
    mine = csr_array((np.ones(sentences), (task, np.arange(sentences))), (tasks, sentences))
    return np.asarray(mine @ counts)


def mutual_information(counts: np.ndarray) -> float:
    """Mutual information in bits of the rows and columns of `counts`, e.g. [tasks, E]."""
    joint = counts / counts.sum()
    tasks, experts = joint.sum(axis=1), joint.sum(axis=0)
    found = _entropy(tasks) + _entropy(experts) - _entropy(joint.reshape(-1))
    return max(found, 0.0)


def _entropy(share: np.ndarray) -> float:
    return float(entropies(share[None])[0])
