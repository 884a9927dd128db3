"""What experts go together with: the tokens that each likes best, and the experts that the same tokens choose."""

from __future__ import annotations

import numpy as np
import pandas as pd

from workbench.arguments import as_count, as_one
from workbench.routing.trace import Routes


def favourite_tokens(routes: Routes, most: int = 8, least: int = 5) -> pd.DataFrame:
    """The tokens that each expert likes best: tidy, at most `most` rows for each stack, layer and expert.

    Columns: stack, layer, expert, token, chosen (times that this token chose the expert, at any rank), seen (times
    that it was routed), share (of these) and lift: that share over the share of all tokens that chose the expert, so
    that 1 is chance. The best come first, by chosen x log lift, which neither the rarest nor the commonest tokens
    lead. Tokens seen fewer than `least` times are left out, as are those with a lift of 1 or less.
    """
    routes = as_one(routes, Routes, "routes", "what trace_routes returns")
    most, least = as_count(most, "most"), as_count(least, "least")
    frame = routes.frame
    layers = ["stack", "layer"]
    first = frame[frame["rank"] == 0]
    seen = first.groupby([*layers, "token"], observed=True).size().rename("seen").reset_index()
    total = first.groupby(layers, observed=True).size().rename("tokens").reset_index()
    load = frame.groupby([*layers, "expert"], observed=True).size().rename("load").reset_index()
    found = (
        frame.groupby([*layers, "expert", "token"], observed=True)
        .size()
        .rename("chosen")
        .reset_index()
        .merge(seen[seen["seen"] >= least], on=[*layers, "token"])
        .merge(load, on=[*layers, "expert"])
        .merge(total, on=layers)
    )
    found["share"] = found["chosen"] / found["seen"]
    found["lift"] = found["share"] * found["tokens"] / found["load"]
    found = found[found["lift"] > 1]
    stacks = list(routes.layers)
    found = found.assign(
        order=-found["chosen"] * np.log(found["lift"]), place=found["stack"].map(stacks.index)
    )
    found = found.sort_values(["place", "layer", "expert", "order"], kind="stable")
    found = found.groupby([*layers, "expert"], observed=True, sort=False).head(most)
    columns = [*layers, "expert", "token", "chosen", "seen", "share", "lift"]
    return found[columns].reset_index(drop=True)


def coactivation(routes: Routes) -> pd.DataFrame:
    """Which experts are chosen together: tidy, a row for each layer and ordered pair of its experts.

    Columns: stack, layer, expert, other, tokens (that chose both) and share (of those that chose `expert`; NaN
    where none did). Empty where a token chooses one expert.
    """
    routes = as_one(routes, Routes, "routes", "what trace_routes returns")
    parts = []
    keys = ["stack", "layer"]
    for (stack, layer), part in routes.frame.groupby(keys, observed=True, sort=False):
        top_k = int(part["rank"].max()) + 1
        if top_k < 2:
            continue
        experts = routes.experts_in(stack, layer)
        # A token's choices stand one after the other.
        chosen = part["expert"].to_numpy(np.int64).reshape(-1, top_k)
        together = np.zeros((experts, experts))
        for i in range(top_k):
            for j in range(top_k):
                if i != j:
                    np.add.at(together, (chosen[:, i], chosen[:, j]), 1)
        of = np.bincount(chosen.reshape(-1), minlength=experts)
        parts.append(
            pd.DataFrame(
                {
                    "stack": stack,
                    "layer": layer,
                    "expert": np.repeat(np.arange(experts), experts),
                    "other": np.tile(np.arange(experts), experts),
                    "tokens": together.reshape(-1).astype(int),
                    "share": np.divide(
                        together,
                        of[:, None],
                        out=np.full(together.shape, np.nan),
                        where=of[:, None] > 0,
                    ).reshape(-1),
                }
            )
        )
    columns = [*keys, "expert", "other", "tokens", "share"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
