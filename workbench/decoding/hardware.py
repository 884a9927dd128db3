"""What this process may compute on."""

from __future__ import annotations

import os

import jax


def device_name() -> str:
    """What JAX computes on, e.g. `cpu` or `NVIDIA H100 80GB HBM3`."""
    return str(jax.devices()[0].device_kind)


def processors() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
