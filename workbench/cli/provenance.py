"""Provenance: the command, versions and files behind a checkpoint that a command writes."""

from __future__ import annotations

import hashlib
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = ("task-moe-workbench", "jax", "jaxlib", "flax", "numpy", "sentencepiece")


def made_by(command_line: str, seconds: float | None = None) -> dict[str, Any]:
    """The command that makes a checkpoint, when, for how long, and with which versions."""
    record: dict[str, Any] = {
        "command": command_line,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version(), **_versions()},
        "hardware": hardware(),
    }
    return record if seconds is None else record | {"seconds": round(seconds, 1)}


def sha256(*paths: Path) -> str:
    """The SHA-256 of a file, or of several one after the other, in hexadecimal."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
    return digest.hexdigest()


def hardware() -> str:
    """What JAX computes on, and how many processors there are."""
    from workbench.decoding.hardware import device_name, processors

    count = processors()
    threads = f"{count} thread" + "s" * (count > 1)
    return f"{device_name()}, {platform.machine()}, {threads}"


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
