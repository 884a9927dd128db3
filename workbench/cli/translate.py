"""`workbench translate`: one line in, one line out, in order."""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import sys
import time
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

from workbench.cli.options import (
    SYSTEM,
    add_decoding,
    add_direction,
    add_early_stopping,
    load_systems,
    new_command,
)
from workbench.cli.output import ProgressLine, duration, note, whole_file
from workbench.errors import WorkbenchError
from workbench.wording import counted

#: Batches that are read at once: their lines are sorted by length, so that little is padding.
_BATCHES_AT_ONCE = 8
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
        help="written at the end, whole (default: standard output)",
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
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(_open_input(args.input))
        [model] = load_systems(args, [args.checkpoint])
        task = model.task(args.source, args.target)
        if args.output == "-":
            target: IO[bytes] = sys.stdout.buffer
        else:
            target = stack.enter_context(stack.enter_context(whole_file(args.output)).open("wb"))
        total = _count_lines(args.input)
        progress = stack.enter_context(ProgressLine("lines"))
        lines = Lines(source, args.input)
        # A person at a terminal waits for each line.
        chunk = (
            1
            if source is sys.stdin.buffer and sys.stdin.isatty()
            else args.batch_size * _BATCHES_AT_ONCE
        )
        rest, done, truncated = iter(lines), 0, 0
        began, compiling = time.monotonic(), 0.0
        while texts := list(islice(rest, chunk)):
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
            done += len(texts)
            truncated += sum(output.truncated for output in outputs)
            compiling += outputs[0].compile_seconds
            for text, output in zip(texts, outputs, strict=True):
                target.write(_record(text, output) if args.json else _line(output.text))
            target.flush()
            progress(done, total)
    lines.report()
    if truncated:
        note(
            f"warning: {counted(truncated, 'translation')} {'was' if truncated == 1 else 'were'} cut short by the"
            " length limit (--max-length)."
        )
    note(
        f"{counted(done, 'line')} in {duration(time.monotonic() - began)}, {compiling:.1f} s of it compiling."
    )


class Lines:
    r"""Lines of a byte stream as text: only \n ends one, bad bytes become U+FFFD and are reported."""

    def __init__(self, source: IO[bytes], name: str) -> None:
        self._source, self._name = source, "standard input" if name == "-" else name
        self._bad = 0

    def __iter__(self) -> Iterator[str]:
        try:
            for number, raw in enumerate(self._source, start=1):
                row = raw.removesuffix(b"\n").removesuffix(b"\r")
                if number == 1:
                    if row.startswith((b"\xff\xfe", b"\xfe\xff")):
                        raise WorkbenchError(f"{self._name} is UTF-16 text. Save it as UTF-8.")
                    row = row.removeprefix(b"\xef\xbb\xbf")
                yield self._decoded(row, number)
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


def _open_input(path: str) -> contextlib.AbstractContextManager[IO[bytes]]:
    if path == "-":
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
