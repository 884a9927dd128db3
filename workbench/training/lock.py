"""One run a directory, one process a run: a lock on it, which ends with the process, however that ends."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from workbench.checkpoint import CONFIG
from workbench.errors import WorkbenchError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

#: In the run's directory; what stands in it is for people, the lock is the system's.
LOCK = ".lock"
_TRIES, _PAUSE = 10, 0.1
_WEIGHTS = ("*.safetensors", "*.bin")
#: What `train` and `distill` write first.
_BEGUN = ("metrics.jsonl", "state", "distilled")


@contextmanager
def held(output: Path) -> Iterator[None]:
    """Hold the run in `output`, which is made if need be. Where the file system has no locks, nothing is held.

    Raises:
        WorkbenchError: another process holds it.
    """
    output.mkdir(parents=True, exist_ok=True)
    with (output / LOCK).open("a+", encoding="utf-8") as file:
        for tries_left in reversed(range(_TRIES)):
            try:
                _lock(file, shared=False)
                break
            except BlockingIOError as error:
                if not tries_left:
                    raise _taken(output) from error
                time.sleep(_PAUSE)  # `is_held` has it for a moment when it looks
            except OSError:  # no locks here
                break
        with suppress(OSError):  # a full disk is for others to say
            file.truncate(0)
            file.write(json.dumps({"process": os.getpid(), "host": platform.node()}))
            file.flush()
        yield


def check_free(output: Path) -> None:
    """Raise WorkbenchError where another process is known to hold the run in `output`."""
    if is_held(output):
        raise _taken(output)


def check_no_checkpoint(output: Path) -> None:
    """Refuse to begin a run among the files of a checkpoint.

    Raises:
        WorkbenchError: `output` holds one, and none of what a run begins with.
    """
    weights = (path for kind in _WEIGHTS for path in output.glob(kind))
    if not (output / CONFIG).is_file() or next(weights, None) is None:
        return
    if not any((output / name).exists() for name in _BEGUN):
        raise WorkbenchError(
            f"{output} is a checkpoint: a run among its files would spoil it. Choose another directory with -o."
        )


def is_held(output: Path) -> bool | None:
    """Whether a process holds the run in `output`; None where that cannot be told, as from another machine."""
    path = output / LOCK
    if fcntl is None or _content(path).get("host") != platform.node():
        return None
    try:
        with path.open("a", encoding="utf-8") as file:
            _lock(file, shared=True)  # so that those who look are not in each other's way
    except BlockingIOError:
        return True
    except OSError:
        return None
    return False


def _lock(file: Any, shared: bool) -> None:
    if fcntl is not None:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)


def _content(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _taken(output: Path) -> WorkbenchError:
    found = _content(output / LOCK)
    by = (
        f"process {found['process']} on {found.get('host')}"
        if "process" in found
        else "another process"
    )
    return WorkbenchError(
        f"{output} is being written by {by}: wait until that ends, or choose another directory."
    )
