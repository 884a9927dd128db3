"""Maps of sentences: UMAP itself, on points whose neighbours are known."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.errors import WorkbenchError
from workbench.routing.projection import project


@pytest.mark.slow
def test_what_is_alike_lies_together_and_a_seed_gives_the_same_map() -> None:
    made = np.random.default_rng(0)
    centres = np.repeat(np.eye(3, 6), 12, axis=0)
    points = (centres + 0.01 * made.random((36, 6))).astype(np.float32)
    found = project(points)
    assert found.shape == (36, 2) and found.dtype == np.float32
    distances = np.linalg.norm(found[:, None] - found, axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (distances.argmin(axis=1) // 12 == np.arange(36) // 12).all()
    assert (project(points) == found).all()


def test_a_handful_of_points_has_no_map() -> None:
    with pytest.raises(WorkbenchError, match="8 of them or more; there are 3"):
        project(np.zeros((3, 2)))
