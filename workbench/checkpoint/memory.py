"""Memory: whether there is enough of it for a network, before a load begins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import jax

from workbench.checkpoint import CheckpointError


def check_memory(name: str, needed: Mapping[str, int], dtype: str) -> None:
    """Refuse a network that cannot fit on the first device.

    name: of the checkpoint. needed: bytes of its weights, by the type they could be held in; dtype: the type
    that they shall be held in.

    Raises:
        CheckpointError: there is too little memory, as far as that is known.
    """
    free = free_memory()
    if free is None or needed[dtype] <= free:
        return
    others = [kind for kind, size in needed.items() if size <= free]
    advice = (
        f"Load it as {others[0]}, which needs {in_words(needed[others[0]])}."
        if others
        else "Use a machine with more, or a smaller checkpoint."
    )
    raise CheckpointError(
        f"{name} needs {in_words(needed[dtype])} of memory in {dtype}, but {in_words(free)} are free"
        f" ({jax.devices()[0].platform}). {advice}"
    )


def free_memory() -> int | None:
    """Bytes that are free on the first device; None where nobody says."""
    device = jax.devices()[0]
    if device.platform == "cpu":
        return _available()
    statistics = device.memory_stats() or {}
    if "bytes_limit" not in statistics:
        return None
    return statistics["bytes_limit"] - statistics.get("bytes_in_use", 0)


def in_words(size: int) -> str:
    """Bytes for a person: `12.3 GB` (10^9), `4.2 MB`."""
    return f"{size / 1e9:.1f} GB" if size >= 10**9 else f"{size / 1e6:.1f} MB"


def _available() -> int | None:
    """What Linux says can be had without swapping, less where a container allows less."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        available = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return None
    free = available * 1024
    try:
        group = Path("/sys/fs/cgroup")
        limit = (group / "memory.max").read_text(encoding="ascii").strip()
        if limit != "max":
            used = int((group / "memory.current").read_text(encoding="ascii"))
            statistics = (group / "memory.stat").read_text(encoding="ascii").split()
            # Files that are merely kept at hand are given up when memory is wanted.
            kept = int(statistics[statistics.index("inactive_file") + 1])
            free = min(free, int(limit) - used + kept)
    except (OSError, ValueError):
        pass
    return free
