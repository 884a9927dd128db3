"""Flow: which expert of the next layer the tokens go to that chose an expert in this one."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd

from workbench.arguments import as_number_of, as_one
from workbench.routing.specialization import mutual_information
from workbench.routing.trace import Routes

_SHUFFLES = 50
_COLUMNS = [
    *("stack", "layer", "expert", "next_layer", "next_expert", "tokens", "share", "by_chance"),
    *("information", "information_chance"),
]


def layer_flow(routes: Routes, seed: int = 0) -> pd.DataFrame:
    """How tokens move from layer to layer, by their first choices: tidy, a row for each pair of experts that tokens chose
    in a layer with experts and in the next one.

    Columns: stack, layer, expert, next_layer, next_expert, tokens (that chose both), share (of the tokens that chose
    `expert`), by_chance (the share of all tokens that chose `next_expert`), and the same for all rows of two layers:
    information, the bits that the choice in the one tells of the choice in the next, and information_chance, the mean
    of that over 50 shuffles of the tokens. Language and end tokens count, padding does not. Empty where no stack has two
    layers with experts.
    """
    routes = as_one(routes, Routes, "routes", "what trace_routes returns")
    random = np.random.default_rng(as_number_of(seed, "seed"))
    first = routes.frame[routes.frame["rank"] == 0]
    parts = []
    for stack, layers in routes.layers.items():
        of = first[first["stack"] == stack]
        choices = {
            layer: of[of["layer"] == layer].set_index(["sentence", "position"])["expert"]
            for layer in layers
        }
        for layer, following in pairwise(layers):
            pairs = pd.concat([choices[layer], choices[following]], axis=1, join="inner")
            if pairs.empty:
                continue
            here, there = (pairs.iloc[:, i].to_numpy(np.int64) for i in (0, 1))
            shape = routes.experts_in(stack, layer), routes.experts_in(stack, following)
            counts = _table(here, there, shape)
            chance = [
                mutual_information(_table(here, random.permutation(there), shape))
                for _ in range(_SHUFFLES)
            ]
            at = np.argwhere(counts)
            tokens = counts[at[:, 0], at[:, 1]]
            parts.append(
                pd.DataFrame(
                    {
                        "stack": stack,
                        "layer": layer,
                        "expert": at[:, 0],
                        "next_layer": following,
                        "next_expert": at[:, 1],
                        "tokens": tokens,
                        "share": tokens / counts.sum(axis=1)[at[:, 0]],
                        "by_chance": counts.sum(axis=0)[at[:, 1]] / counts.sum(),
                        "information": mutual_information(counts),
                        "information_chance": float(np.mean(chance)),
                    }
                )
            )
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=_COLUMNS)


def _table(here: np.ndarray, there: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """How many tokens chose each pair, int64 `shape`."""
    return np.bincount(here * shape[1] + there, minlength=shape[0] * shape[1]).reshape(shape)
