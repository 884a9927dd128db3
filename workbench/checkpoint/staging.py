"""A new directory that appears whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workbench.checkpoint import CheckpointError


@contextmanager
def whole_directory(directory: Path) -> Iterator[Path]:
    """A place beside `directory` to write to, which becomes it at the end; if anything fails, nothing is left.

    Raises:
        CheckpointError: `directory` exists and is not empty, or is a file, or the disk refuses.
    """
    if directory.exists() and not directory.is_dir():
        raise CheckpointError(f"{directory} is a file: choose another place.")
    if directory.exists() and any(directory.iterdir()):
        raise CheckpointError(f"{directory} exists and is not empty: choose another place.")
    staging: Path | None = None
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
        yield staging
        staging.chmod(0o755)
        if directory.exists():
            directory.rmdir()
        staging.rename(directory)
    except OSError as error:
        raise CheckpointError(f"Cannot write {directory}: {error.strerror or error}.") from error
    finally:
        if staging is not None and staging.exists():
            shutil.rmtree(staging, ignore_errors=True)
