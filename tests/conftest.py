"""What every test shares: the devices that JAX sees, its compilation cache, and the browser's fixtures."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# All of this must stand before the first test module imports JAX.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / f".cache/jax-{version('jaxlib')}"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")

pytest_plugins = ["tests.browser"]

MAPS = Path("/proc/self/maps")
#: Memory maps with which a process forgets its programs. Linux allows 65,530, and XLA then ends with a fault.
MOST_MAPS = 25_000


@pytest.fixture(scope="module", autouse=True)
def _few_programs() -> Iterator[None]:
    """Forget compiled programs after a module, once they are many: each has memory maps of its own."""
    yield
    if "jax" in sys.modules and MAPS.exists():
        with MAPS.open("rb") as lines:
            many = sum(1 for _ in lines) > MOST_MAPS
        if many:
            sys.modules["jax"].clear_caches()
            gc.collect()
