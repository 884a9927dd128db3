"""The `workbench` command: finds the command that was asked for, runs it, and turns errors into one line."""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import signal
import sys
import warnings
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from workbench.cli import (
    app,
    bench,
    compare,
    convert,
    data,
    distill,
    export,
    extract,
    figures,
    info,
    merge,
    prune,
    quantize,
    routes,
    train,
    translate,
    upcycle,
    usage,
)
from workbench.errors import WorkbenchError
from workbench.text.corpus import CorpusWarning
from workbench.training.interrupts import Terminated, default_signals, raise_on_signals

COMMANDS = (
    info,
    translate,
    routes,
    usage,
    extract,
    prune,
    merge,
    compare,
    bench,
    figures,
    data,
    train,
    upcycle,
    distill,
    quantize,
    convert,
    export,
    app,
)
#: Set this variable to see where an error comes from.
TRACEBACK = "WORKBENCH_TRACEBACK"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; its exit code: 0; 1 failed; 2 usage; 130 interrupted; 141 closed pipe; 143 terminated.

    argv: None for those of this process, whose entry this then is: SIGTERM ends it as Ctrl-C does, and both end
        it at once, when files are cleaned up and the last line is written.
    """
    if argv is not None:
        return _run(list(argv))
    _fill_streams()
    raise_on_signals()
    try:
        return _run(sys.argv[1:], own=True)
    finally:
        default_signals()


def _run(arguments: list[str], own: bool = False) -> int:
    try:
        args = make_parser().parse_args(arguments)
    except SystemExit as end:  # argparse has said what it has to say
        return end.code if isinstance(end.code, int) else 2
    args.command_line = shlex.join(["workbench", *arguments])
    with warnings.catch_warnings():
        warnings.simplefilter("always", CorpusWarning)
        warnings.showwarning = lambda message, *_: _say(f"warning: {message}")  # type: ignore[assignment]
        try:
            status = args.run(args)
            if sys.stdout is not None:  # closed, which who needs it has said
                sys.stdout.flush()
            return status or 0
        except KeyboardInterrupt as end:
            terminated = isinstance(end, Terminated)
            _say("terminated." if terminated else "interrupted.")
            status = 128 + (signal.SIGTERM if terminated else signal.SIGINT)
            if own and not _is_joined():
                # XLA may still be compiling in threads, under which Python must not be torn down.
                with contextlib.suppress(OSError, ValueError, AttributeError):
                    sys.stdout.flush()
                os._exit(status)
            return status
        except BrokenPipeError:
            # Whoever read the output has left; so that Python's own last flush does not complain:
            _silence_stdout()
            return 128 + getattr(signal, "SIGPIPE", 13)
        except Exception as error:
            if os.environ.get(TRACEBACK):
                raise
            _say(f"error: {_one_line(error, hasattr(args, 'batch_size'))}")
            return 1


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="workbench",
        description="See, cut out, prove, measure and ship the part of a Mixture-of-Experts translation model"
        " that one task needs.",
        epilog="Languages are written as FLORES-200 codes (eng_Latn), ISO codes (en, deu) or English names.",
    )
    parser.add_argument("--version", action="version", version=f"workbench {_version()}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(commands)
    return parser


def _is_joined() -> bool:
    """Whether this is one of several processes, of which JAX takes leave when Python ends."""
    jax = sys.modules.get("jax")
    distributed = getattr(jax, "distributed", None)
    return distributed is not None and bool(distributed.is_initialized())


def _version() -> str:
    try:
        return version("task-moe-workbench")
    except PackageNotFoundError:
        return "(not installed)"


def _one_line(error: Exception, has_batches: bool) -> str:
    if isinstance(error, WorkbenchError):
        text = str(error)
    elif isinstance(error, OSError):
        reason = error.strerror or str(error) or type(error).__name__
        text = f"{error.filename}: {reason}." if error.filename else f"{reason}."
    elif "RESOURCE_EXHAUSTED" in str(error) or isinstance(error, MemoryError):
        smaller = ": give a smaller --batch-size, or shorter lines" if has_batches else " for this"
        text = f"There is not enough memory{smaller}."
    else:
        text = (
            f"This should not happen ({type(error).__name__}: {error}). Please report it; with"
            f" {TRACEBACK}=1 in the environment the traceback is shown."
        )
    return " ".join(text.split())


def _say(message: str) -> None:
    print(f"workbench: {message}", file=sys.stderr, flush=True)


def _fill_streams() -> None:
    """Put nothing in the place of streams that are closed, so that no file is opened as one of them; errors go there."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


def _silence_stdout() -> None:
    with contextlib.suppress(OSError, ValueError):  # a stdout that is no file, as in tests
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
