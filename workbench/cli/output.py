"""What commands write: progress on standard error, files that appear whole or not at all."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Seconds between reports where standard error is a file or a pipe.
_QUIET_SECONDS = 10.0


class ProgressLine:
    """Progress on standard error: one line that changes on a terminal, now and then a line elsewhere."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._began = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._last = self._began
        self._width = 0

    def __call__(self, done: int, total: int | None = None, what: str | None = None) -> None:
        """Report `done` of `total`; without a total, `done` and how fast."""
        now = time.monotonic()
        if now - self._last < (0.1 if self._terminal else _QUIET_SECONDS):
            return
        self._last = now
        elapsed = now - self._began
        of = f" of {total:,}" if total else ""
        text = f"{what or self._what}: {done:,}{of}"
        if total and done:
            text += f", {duration(elapsed / done * (total - done))} left"
        elif done:
            text += f", {done / elapsed:,.1f} a second"
        self.show(text)

    def show(self, text: str) -> None:
        """Show a text in the place of the one before."""
        if self._terminal:
            print(f"\r{text:<{self._width}}", end="", file=sys.stderr, flush=True)
            self._width = len(text)
        else:
            print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Take the line away."""
        if self._terminal and self._width:
            print("\r" + " " * self._width + "\r", end="", file=sys.stderr, flush=True)
            self._width = 0

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def duration(seconds: float) -> str:
    """Hours and minutes, or minutes and seconds: `1 h 05 min`, `2 min 30 s`, `12 s`."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"


def note(text: str) -> None:
    """A line for the person, on standard error."""
    print(f"workbench: {text}", file=sys.stderr, flush=True)


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A place to write to that becomes `path` at the end; if anything fails, `path` is as it was.

    A path that is no plain file, such as /dev/stdout, is written to directly.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        if target.is_dir():
            raise IsADirectoryError(21, "is a directory, give the name of a file", str(path))
        yield Path(path)
        return
    if not target.parent.is_dir():
        raise FileNotFoundError(2, f"there is no directory {target.parent}", str(path))
    handle, name = tempfile.mkstemp(
        prefix=f".{target.name}-", suffix=target.suffix, dir=target.parent
    )
    os.close(handle)
    staging = Path(name)
    try:
        yield staging
        staging.chmod(target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask())
        staging.replace(target)
    finally:
        staging.unlink(missing_ok=True)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
