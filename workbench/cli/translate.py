"""`workbench translate`: one line in, one line out, in order."""

from __future__ import annotations

import argparse
import contextlib
import gzip
import hashlib
import json
import sys
import time
import zlib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from itertools import chain, islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from workbench.cli.options import (
    SYSTEM,
    add_decoding,
    add_direction,
    add_early_stopping,
    load_systems,
    new_command,
)
from workbench.cli.output import ProgressLine, check_file, note
from workbench.cli.partial import Done, Partial, Stream, partial_file
from workbench.errors import WorkbenchError
from workbench.wording import counted, duration

if TYPE_CHECKING:
    from workbench.tasks import Task

#: Batches that are read at once: their lines are sorted by length, so that little is padding. From the first number
#: up to the second as long as they are done within so many seconds: they are kept, or seen, together.
_BATCHES_AT_ONCE, _MOST_BATCHES, _SOON = 8, 32, 5.0
#: How the names of files end that make a network.
_NETWORK = (".safetensors", ".json", ".model")
#: Lines with bad bytes that are named one by one.
_NAMED_LINES = 10


def add_parser(commands: Any) -> None:
    """Add this command."""
    parser = new_command(
        commands, "translate", run, "Translate lines of text: one line in, one line out, in order."
    )
    parser.add_argument("checkpoint", metavar="CKPT", help=SYSTEM)
    add_direction(parser)
    parser.add_argument(
        "-i",
        "--input",
        default="-",
        metavar="FILE",
        help="UTF-8 text, plain or .gz (default: standard input)",
    )
    parser.add_argument(
        "-o",
        "--output",
        default="-",
        metavar="FILE",
        help="written whole at the end; if interrupted, what is done is kept beside it in a hidden file, and the same"
        " command goes on from there (default: standard output, as lines are done)",
    )
    add_decoding(parser)
    add_early_stopping(parser)
    parser.add_argument(
        "--by-sentence",
        action="store_true",
        help="translate the sentences of a line one by one and join them (default: only those of a line that is"
        " too long for the network)",
    )


def run(args: argparse.Namespace) -> None:
    """Translate a stream chunk by chunk."""
    if args.output != "-":
        check_file(args.output)
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(_open_input(args.input))
        [model] = load_systems(args, [args.checkpoint])
        task = model.task(args.source, args.target)
        output = stack.enter_context(_open_output(args, task))
        lines = Lines(source, args.input)
        if isinstance(output, Partial) and output.done.lines:
            if lines.skip(output.done.lines, output.done.sources):
                note(f"going on from line {output.done.lines + 1:,}: those before it are there.")
            else:
                output.start_anew("input")
        before, done = output.done.lines, output.done
        total = _count_lines(args.input)
        progress = stack.enter_context(ProgressLine("lines"))
        # A person at a terminal waits for each line.
        live = args.input == "-" and sys.stdin.isatty()
        batches, rest = _BATCHES_AT_ONCE, iter(lines)
        began, compiling = time.monotonic(), 0.0
        while texts := list(islice(rest, 1 if live else args.batch_size * batches)):
            asked = time.monotonic()
            outputs = model.translate(
                texts,
                task.source,
                task.target,
                beam_size=args.beam,
                batch_size=args.batch_size,
                max_length=args.max_length,
                with_scores=args.json,
                early_stopping=args.early_stopping,
                by_sentence=args.by_sentence,
            )
            if time.monotonic() - asked < _SOON:
                batches = min(2 * batches, _MOST_BATCHES)
            compiling += outputs[0].compile_seconds
            written = (
                _record(text, each) if args.json else _line(each.text)
                for text, each in zip(texts, outputs, strict=True)
            )
            truncated = done.truncated + sum(each.truncated for each in outputs)
            done = Done(done.lines + len(texts), truncated, lines.sha256)
            output.add(b"".join(written), done)
            # Without a total it says how fast, which those from before were not.
            progress(done.lines if total else done.lines - before, total)
    lines.report()
    if done.truncated:
        note(
            f"warning: {counted(done.truncated, 'translation')} {'was' if done.truncated == 1 else 'were'} cut short by"
            f" the length limit: --max-length, or the {model.config.max_positions} tokens that the network holds."
        )
    note(
        f"{counted(done.lines, 'line')}{f', {before:,} of them before,' if before else ''} in"
        f" {duration(time.monotonic() - began)}, {compiling:.1f} s of it compiling."
    )


class Lines:
    r"""Lines of a byte stream as text: only \n ends one, bad bytes become U+FFFD and are reported."""

    def __init__(self, source: IO[bytes], name: str) -> None:
        self._source, self._name = source, "standard input" if name == "-" else name
        self._start = source.tell() if source.seekable() else None
        self._rows: Iterator[bytes] = self._read()
        self._number, self._bad = 0, 0
        self._digest = hashlib.sha256()

    def __iter__(self) -> Iterator[str]:
        for raw in self._rows:
            self._digest.update(raw)
            self._number += 1
            row = raw.removesuffix(b"\n").removesuffix(b"\r")
            if self._number == 1:
                if row.startswith((b"\xff\xfe", b"\xfe\xff")):
                    raise WorkbenchError(f"{self._name} is UTF-16 text. Save it as UTF-8.")
                row = row.removeprefix(b"\xef\xbb\xbf")
            yield self._decoded(row, self._number)

    @property
    def sha256(self) -> str:
        """Of the bytes of all lines so far."""
        return self._digest.hexdigest()

    def skip(self, count: int, sha256: str) -> bool:
        """Pass over the first `count` lines if this is their SHA-256, else over none; whether it is."""
        held = []
        for raw in islice(self._rows, count):
            self._digest.update(raw)
            if self._start is None:
                held.append(raw)
        if self.sha256 == sha256:
            self._number = count
            return True
        self._digest = hashlib.sha256()
        if self._start is None:
            self._rows = chain(held, self._rows)
        else:
            self._source.seek(self._start)
            self._rows = self._read()
        return False

    def _read(self) -> Iterator[bytes]:
        try:
            # Unlike the stream itself this is not closed along with a generator that yields from it.
            yield from iter(self._source.readline, b"")
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise WorkbenchError(f"{self._name} is not a whole gzip file ({error}).") from error

    def _decoded(self, row: bytes, number: int) -> str:
        try:
            return row.decode("utf-8")
        except UnicodeDecodeError:
            self._bad += 1
            if self._bad <= _NAMED_LINES:
                note(
                    f"warning: {self._name}, line {number}: not UTF-8; the bad bytes became U+FFFD."
                )
            return row.decode("utf-8", errors="replace")

    def report(self) -> None:
        """Say how many bad lines were not named."""
        if self._bad > _NAMED_LINES:
            more = self._bad - _NAMED_LINES
            were = "line was" if more == 1 else "lines were"
            note(f"warning: {self._name}: {more} more {were} not UTF-8.")


def _open_output(args: argparse.Namespace, task: Task) -> contextlib.AbstractContextManager[Stream]:
    """Where lines go: for a file with all that they depend on, besides how they are batched and on which device."""
    if args.output == "-":
        if sys.stdout is None:
            raise WorkbenchError("Standard output is closed: give a file with -o.")
        return contextlib.nullcontext(Stream(sys.stdout.buffer))
    from workbench.checkpoint.hub import find_checkpoint
    from workbench.engines.loading import split_engine

    path, engine = split_engine(args.checkpoint)
    directory = find_checkpoint(path)
    files = [
        (file.name, file.stat().st_size, file.stat().st_mtime_ns)
        for file in sorted(directory.iterdir())
        if file.suffix in _NETWORK and not file.name.startswith(".")
    ]
    made_of = {
        "checkpoint": [str(directory.resolve()), files],
        "engine": engine,
        "direction": str(task),
        "version of the workbench": _version(),
        **{
            f"--{name.replace('_', '-')}": getattr(args, name)
            for name in ("beam", "max_length", "early_stopping", "by_sentence", "dtype", "json")
        },
    }
    return partial_file(args.output, made_of)


def _version() -> str | None:
    try:
        return version("task-moe-workbench")
    except PackageNotFoundError:
        return None


def _open_input(path: str) -> contextlib.AbstractContextManager[IO[bytes]]:
    if path == "-":
        if sys.stdin is None:  # as a scheduler may leave it
            raise WorkbenchError("Standard input is closed: give a file with -i.")
        return contextlib.nullcontext(sys.stdin.buffer)
    if path.endswith(".gz"):
        return gzip.open(path, "rb")  # type: ignore[return-value]
    return Path(path).open("rb")


def _count_lines(path: str) -> int | None:
    """Lines of a plain file; None where they cannot be counted without using them up."""
    if path == "-" or path.endswith(".gz") or not Path(path).is_file():
        return None
    with Path(path).open("rb") as file:
        return sum(1 for _ in file)


def _line(text: str) -> bytes:
    return text.replace("\n", " ").replace("\r", " ").encode("utf-8", errors="replace") + b"\n"


def _record(source: str, output: Any) -> bytes:
    record = {
        "source": source,
        "translation": output.text,
        "score": round(output.score, 6),
        "tokens": list(output.tokens),
        "truncated": output.truncated,
    }
    return (json.dumps(record, ensure_ascii=False) + "\n").encode("utf-8", errors="replace")
