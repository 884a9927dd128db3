"""`workbench translate`: one line in, one line out, in order."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from itertools import islice
from typing import IO

from workbench.cli.options import add_checkpoint, add_direction, add_run, output, positive, progress

#: Lines read before they are translated: enough to sort by length, few enough to see results early.
CHUNK = 1024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_checkpoint(parser)
    add_direction(parser)
    parser.add_argument("-i", "--input", metavar="FILE", help="UTF-8 text; default standard input")
    parser.add_argument("-o", "--output", metavar="FILE", help="default standard output")
    parser.add_argument("--beam", type=positive, default=1, metavar="N", help="default 1, greedy")
    parser.add_argument("--batch-size", type=positive, default=32, metavar="N", help="default 32")
    parser.add_argument(
        "--max-length",
        type=positive,
        metavar="N",
        help="tokens of a translation at most; default twice its source's plus 32",
    )
    add_run(parser)


def run(options: argparse.Namespace) -> None:
    """Translate everything."""
    import workbench as wb

    model = wb.load(options.checkpoint)
    model.task(options.source, options.target)  # before anything is read or written
    with _input(options.input) as source, output(options.output) as target:
        lines = read_lines(source, options.input or "standard input")
        report, before = progress("translated"), 0
        while chunk := list(islice(lines, CHUNK)):
            made = model.translate(
                chunk,
                options.source,
                options.target,
                beam_size=options.beam,
                batch_size=options.batch_size,
                max_length=options.max_length,
                progress=lambda done, total, before=before: report(before + done, before + total),
            )
            for number, (line, translation) in enumerate(zip(chunk, made, strict=True), before + 1):
                if translation.truncated:
                    print(
                        f"workbench: warning: line {number} was cut at its longest length",
                        file=sys.stderr,
                    )
                # A translation is one line, whatever it says.
                text = " ".join(translation.text.splitlines())
                if options.json:
                    score = round(translation.score, 5) if translation.token_ids else None
                    text = json.dumps(
                        {"source": line, "translation": text, "score": score}, ensure_ascii=False
                    )
                target.write(text.encode("utf-8", errors="replace") + b"\n")
            target.flush()
            before += len(chunk)


def _input(path: str | None) -> IO[bytes]:
    return sys.stdin.buffer if path is None or path == "-" else open(path, "rb")  # noqa: SIM115


def read_lines(file: IO[bytes], name: str) -> Iterator[str]:
    r"""The lines of a UTF-8 stream, ended by `\n` or `\r\n` alone; bad bytes become U+FFFD, with a warning."""
    for number, raw in enumerate(file, start=1):
        line = raw.removesuffix(b"\n").removesuffix(b"\r")
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError:
            print(
                f"workbench: warning: {name}, line {number} is not UTF-8; bad bytes became U+FFFD",
                file=sys.stderr,
            )
            yield line.decode("utf-8", errors="replace")
