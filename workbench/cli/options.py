"""Options and output that several commands share."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


def add_checkpoint(parser: argparse.ArgumentParser, many: bool = False) -> None:
    """The checkpoint, or several."""
    if many:
        parser.add_argument("checkpoints", metavar="CKPT", nargs="+", help="checkpoint directory")
    else:
        parser.add_argument("checkpoint", metavar="CKPT", help="checkpoint directory")


def add_direction(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Source and target language."""
    parser.add_argument(
        "-s", "--source", required=required, metavar="SRC", help="code, alias or name"
    )
    parser.add_argument(
        "-t", "--target", required=required, metavar="TGT", help="code, alias or name"
    )


def add_run(parser: argparse.ArgumentParser) -> None:
    """Device, type and machine-readable output."""
    parser.add_argument(
        "--device", choices=("cpu", "gpu", "tpu"), help="default: the best there is"
    )
    parser.add_argument("--dtype", choices=("float32",), default="float32", help="type computed in")
    add_json(parser)


def add_json(parser: argparse.ArgumentParser) -> None:
    """Machine-readable output."""
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def positive(text: str) -> int:
    """A whole number from 1 on, for argparse."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return number


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def progress(what: str) -> Callable[[int, int], None]:
    """A callback (done, in all) that keeps a line on stderr up to date; silent for quick work."""
    began = time.monotonic()
    shown = [began + 0.5]

    def report(done: int, total: int) -> None:
        now = time.monotonic()
        if now < shown[0] and done < total:
            return
        if done >= total and now < began + 1:
            return
        shown[0] = now + (0.5 if sys.stderr.isatty() else 10)
        left = (now - began) / max(1, done) * (total - done)
        end = "\r" if sys.stderr.isatty() and done < total else "\n"
        print(
            f"{what}: {done} of {total}, {left:.0f} s left   ", end=end, file=sys.stderr, flush=True
        )

    return report


@contextmanager
def output(path: str | None) -> Iterator[IO[bytes]]:
    """Standard output, or the file at `path`, which appears only once it is whole."""
    if path is None or path == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    place = Path(path)
    handle, name = tempfile.mkstemp(prefix=f".{place.name}-", dir=place.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)
        os.replace(name, place)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
