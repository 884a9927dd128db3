"""Sentences as points: their mean gates, and a map of them in the plane."""

from __future__ import annotations

import numpy as np
import pandas as pd

from workbench.arguments import as_one
from workbench.errors import WorkbenchError
from workbench.routing.trace import Routes

#: UMAP's own default; it can have no more neighbours than there are other points.
_NEIGHBOURS = 15
#: Fewer points have no map.
FEWEST = 8


def sentence_gates(routes: Routes, stack: str, layer: int) -> pd.DataFrame:
    """Mean gate of each expert over the tokens of a sentence: a row a sentence, a column an expert [E].

    The index has the sentence's number and its task. Gates of experts that were not chosen count as 0.

    Raises:
        WorkbenchError: that layer has no experts.
    """
    routes = as_one(routes, Routes, "routes", "what trace_routes returns")
    if layer not in routes.layers.get(stack, ()):
        found = ", ".join(f"{s} {i}" for s, layers in routes.layers.items() for i in layers)
        raise WorkbenchError(
            f"There is no {stack} layer {layer} in these routes. Layers with experts: {found or 'none'}."
        )
    frame = routes.frame
    part = frame[(frame["stack"] == stack) & (frame["layer"] == layer)].astype({"task": str})
    keys = ["sentence", "task"]
    sums = part.pivot_table("gate", keys, "expert", aggfunc="sum", fill_value=0.0, observed=True)
    tokens = part[part["rank"] == 0].groupby(keys).size()
    sums = sums.reindex(columns=range(routes.experts_in(stack, layer)), fill_value=0.0)
    return sums.div(tokens, axis=0).astype(np.float32)


def project(points: np.ndarray, seed: int = 0) -> np.ndarray:
    """UMAP of `points` [N, D] in the plane, float32 [N, 2]; the same for the same seed. Distances are Euclidean.

    Takes some 15 s the first time: UMAP compiles itself. McInnes et al., arXiv 1802.03426.

    Raises:
        WorkbenchError: there are too few points, or UMAP is not installed.
    """
    if len(points) < FEWEST:
        raise WorkbenchError(
            f"A map of sentences needs {FEWEST} of them or more; there are {len(points)}."
        )
    try:
        import umap
    except ImportError as error:
        raise WorkbenchError(
            "Maps of sentences need UMAP: pip install 'task-moe-workbench[app]'."
        ) from error
    import warnings

    with warnings.catch_warnings():
        # A seed makes it run on one thread, of which it warns; many equal points, of which it warns too, are expected.
        warnings.simplefilter("ignore", UserWarning)
        found = umap.UMAP(
            n_neighbors=min(_NEIGHBOURS, len(points) - 1), random_state=seed
        ).fit_transform(points)
    return np.asarray(found, np.float32)
