"""Directories that `transformers` wrote, for the tests that change them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """A directory of each kind, as written."""
    from tests.checkpoint.published import published, write

    root = tmp_path_factory.mktemp("published")
    for kind in ("m2m_100", "nllb-moe"):
        write(published(kind), root / kind)
    return root


@pytest.fixture
def changed(tables, tmp_path):
    """A function that copies the directory of a kind and changes its config.json."""

    def change(kind: str, **values) -> Path:
        path = shutil.copytree(tables / kind, tmp_path / "changed", dirs_exist_ok=True)
        table = json.loads((path / "config.json").read_text())
        table |= values
        (path / "config.json").write_text(
            json.dumps({k: v for k, v in table.items() if v != "absent"})
        )
        return path

    return change
