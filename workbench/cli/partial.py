"""An output of lines that keeps what is done while it is not whole, for the same command to go on from."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

from workbench.cli.output import check_file, note, plain_file, put_in_place
from workbench.errors import WorkbenchError
from workbench.wording import counted

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

#: Seconds between two records of what is done.
_SECONDS = 2.0


class Done(NamedTuple):
    """What is done: lines, how many of them were cut short, the SHA-256 of their sources, and what they occupy."""

    lines: int = 0
    truncated: int = 0
    sources: str = ""
    bytes: int = 0


class Stream:
    """An output that lines go to as they are done, and that keeps nothing."""

    done = Done()

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def add(self, lines: bytes, done: Done) -> None:
        """Write the next lines, with which so much is done."""
        self._file.write(lines)
        self._file.flush()
        self.done = done


class Partial(Stream):
    """The hidden file `.NAME.partial` beside an output, and `.NAME.partial.json`, which says of what it is made.

    done: at first what an earlier command with the same `made_of` left.
    """

    def __init__(self, file: IO[bytes], place: Path, path: str, made_of: dict[str, Any]) -> None:
        super().__init__(file)
        self._place, self._record = place, place.with_name(f"{place.name}.json")
        self._staging = place.with_name(f"{place.name}.json.new")
        self._path, self._made_of = path, json.loads(json.dumps(made_of))
        self._recorded = time.monotonic()
        self._read()
        self._cut()

    def add(self, lines: bytes, done: Done) -> None:
        """Write the next lines, with which so much is done; now and then record that."""
        rest = memoryview(lines)
        while rest:
            rest = rest[self._file.write(rest) :]
        # At once, as an interruption may come between any two assignments.
        self.done = done._replace(bytes=self.done.bytes + len(lines))
        if time.monotonic() - self._recorded >= _SECONDS:
            self.record()

    def record(self) -> None:
        """Put down what is done, so that it outlasts this process and this machine's next failure."""
        os.fsync(self._file.fileno())
        table = {"made_of": self._made_of, "done": self.done._asdict()}
        with self._staging.open("w", encoding="utf-8") as file:
            json.dump(table, file, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        self._staging.replace(self._record)
        self._recorded = time.monotonic()

    def start_anew(self, other: str) -> None:
        """Drop what is done: it was made of another of these."""
        note(
            f"{counted(self.done.lines, 'line')} of {self._path} from before {_are(self.done.lines)} of another"
            f" {other}: starting anew."
        )
        self.done = Done()
        self._cut()

    def finish(self, target: Path) -> None:
        """All is done: the file takes its name."""
        os.fsync(self._file.fileno())
        put_in_place(self._place, target)
        self._forget()

    def leave(self) -> None:
        """Not all is done: keep what is, and say so."""
        if self.done.lines:
            with suppress(OSError):  # a full disk: what was recorded before is kept
                self.record()
            self._read()
        if self.done.lines:
            note(
                f"{counted(self.done.lines, 'line')} of {self._path} {_are(self.done.lines)} kept: the same command"
                " goes on from there."
            )
        else:
            self._place.unlink(missing_ok=True)
            self._forget()

    def _read(self) -> None:
        """Take what is recorded for what is done."""
        self.done = Done()
        try:
            table = json.loads(self._record.read_text(encoding="utf-8"))
            found, made_of = Done(**table["done"]), table["made_of"]
            others = [name for name, value in self._made_of.items() if made_of.get(name) != value]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return
        if found.bytes <= os.fstat(self._file.fileno()).st_size:
            self.done = found
            if others:
                self.start_anew(", ".join(others))

    def _cut(self) -> None:
        """Take away what was written and not recorded."""
        os.ftruncate(self._file.fileno(), self.done.bytes)
        self._file.seek(self.done.bytes)
        if not self.done.lines:
            self._forget()

    def _forget(self) -> None:
        for path in (self._record, self._staging):
            path.unlink(missing_ok=True)


@contextmanager
def partial_file(path: str, made_of: dict[str, Any]) -> Iterator[Stream]:
    """An output that appears at `path` once it is whole; if anything fails, what is done is kept beside it.

    made_of: what the lines depend on besides their sources, by the name that a person knows it by. What was kept
        is gone on from where all of it is the same.
    A path that is no plain file, such as /dev/stdout, is written to directly.

    Raises:
        WorkbenchError: another process writes it.
    """
    target = plain_file(path)
    if target is None:
        with Path(path).open("wb") as special:
            yield Stream(special)
        return
    check_file(path)
    place = target.with_name(f".{target.name}.partial")
    with ExitStack() as stack:
        file = stack.enter_context(open(os.open(place, os.O_RDWR | os.O_CREAT, 0o600), "r+b", 0))
        _hold(file, place, path)
        partial = Partial(file, place, path, made_of)
        try:
            yield partial
            partial.finish(target)
        except BaseException:
            partial.leave()
            raise


def _hold(file: IO[bytes], place: Path, path: str) -> None:
    """Lock the file until it is closed; where the file system has no locks, nothing is held."""
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise _taken(path) from error
    except OSError:
        return
    # Whoever held it may just have put it in its place.
    if not place.exists() or not os.path.samestat(place.stat(), os.fstat(file.fileno())):
        raise _taken(path)


def _taken(path: str) -> WorkbenchError:
    return WorkbenchError(
        f"{path} is being written by another process: wait until that ends, or choose another place with -o."
    )


def _are(lines: int) -> str:
    return "is" if lines == 1 else "are"
