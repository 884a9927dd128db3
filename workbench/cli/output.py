"""What commands write: progress on standard error, files that appear whole or not at all."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workbench.wording import duration

#: Seconds between reports where standard error is a file or a pipe.
_QUIET_SECONDS = 10.0
#: Seconds that items are watched together, how much of the older ones still counts after each such lap, and
#: seconds in all before anything is said.
_LAP, _KEPT, _ENOUGH = 0.5, 0.9, 3.0


class Pace:
    """Seconds an item, of which the newest count most and the first reported ones, which compile, do not."""

    def __init__(self) -> None:
        self._at: tuple[float, int] | None = None
        self._seconds = self._items = self._watched = 0.0

    def add(self, now: float, done: int) -> None:
        """So many items are done by now."""
        if not done:
            return
        if self._at is None:
            self._at = now, done
            return
        seconds, items = now - self._at[0], done - self._at[1]
        if items > 0 and seconds >= _LAP:
            self._seconds = _KEPT * self._seconds + seconds
            self._items = _KEPT * self._items + items
            self._watched += seconds
            self._at = now, done

    def left(self, items: int) -> float | None:
        """Seconds that so many more items take; None before some have been watched for long enough."""
        if self._watched < _ENOUGH:
            return None
        return self._seconds / self._items * items


class ProgressLine:
    """Progress on standard error: one line that changes on a terminal, now and then a line elsewhere."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._began = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._last = self._began
        self._width = 0
        self._pace, self._paced = Pace(), what

    def __call__(self, done: int, total: int | None = None, what: str | None = None) -> None:
        """Report `done` of `total`; without a total, `done` and how fast."""
        now = time.monotonic()
        if (what or self._what) != self._paced:
            self._pace, self._paced = Pace(), what or self._what
        self._pace.add(now, done)
        if now - self._last < (0.1 if self._terminal else _QUIET_SECONDS):
            return
        self._last = now
        elapsed = now - self._began
        of = f" of {total:,}" if total else ""
        text = f"{what or self._what}: {done:,}{of}"
        left = self._pace.left(total - done) if total else None
        if left is not None:
            text += f", {duration(left)} left"
        elif done and not total:
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


def note(text: str) -> None:
    """A line for the person, on standard error."""
    print(f"workbench: {text}", file=sys.stderr, flush=True)


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A place to write to that becomes `path` at the end; if anything fails, `path` is as it was.

    A path that is no plain file, such as /dev/stdout, is written to directly.
    """
    target = plain_file(path)
    if target is None:
        yield Path(path)
        return
    staging = _staging(target, path)
    try:
        yield staging
        put_in_place(staging, target)
    finally:
        staging.unlink(missing_ok=True)


def check_file(path: str | Path | None) -> None:
    """Refuse what `whole_file` could not write, before the work and not after it. None: there is no such file."""
    target = None if path is None else plain_file(path)
    if path is not None and target is not None:
        _staging(target, path).unlink()


def check_directory(directory: str | Path, path: str | Path) -> None:
    """Refuse a directory, there or to be made, in which nothing can be written; errors name `path`."""
    place = Path(directory)
    while not os.path.exists(place):  # unlike Path.exists it says no where one may not look
        place = place.parent
    try:
        Path(tempfile.mkdtemp(prefix=".", dir=place)).rmdir()
    except OSError as error:
        raise _not_writable(error, place, path) from error


def plain_file(path: str | Path) -> Path | None:
    """Where the file `path` lies or will lie; None for what is there and no plain file.

    Raises:
        OSError: it is a directory, or its directory is not there.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        if target.is_dir():
            raise IsADirectoryError(21, "is a directory, give the name of a file", str(path))
        return None
    if not target.parent.is_dir():
        raise FileNotFoundError(
            2, f"there is no directory {target.parent}: make it, or give another place", str(path)
        )
    return target


def put_in_place(staging: Path, target: Path) -> None:
    """Give a file that is whole the name and the permissions of the one it replaces, or those of a new one."""
    staging.chmod(target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask())
    staging.replace(target)


def _staging(target: Path, path: str | Path) -> Path:
    """A new file beside `target`; errors name `path`, which was asked for."""
    try:
        handle, name = tempfile.mkstemp(
            prefix=f".{target.name}-", suffix=target.suffix, dir=target.parent
        )
    except OSError as error:
        raise _not_writable(error, target.parent, path) from error
    os.close(handle)
    return Path(name)


def _not_writable(error: OSError, place: Path, path: str | Path) -> OSError:
    why = f"nothing can be written in {place} ({error.strerror or error}): give another place"
    return OSError(error.errno or 5, why, str(path))


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
