"""The `workbench` command: finds the command, and turns errors into one line and an exit code."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

#: Command -> what it does; each is a module of this package with `add_arguments` and `run`.
COMMANDS = {
    "info": "architecture, languages, tasks, experts, parameters, bytes and licence of a checkpoint",
    "translate": "translate standard input or a file, one line in, one line out",
    "routes": "the tidy table of which experts every token went to",
    "usage": "how often each task uses each expert",
    "extract": "cut out the sub-network of a task, with proof",
    "compare": "quality, significance and speed of checkpoints in one table",
    "bench": "latency and throughput alone",
    "train": "train a checkpoint by a recipe; run again to resume",
    "app": "serve the app",
}


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command and all its sub-commands."""
    parser = argparse.ArgumentParser(
        prog="workbench",
        description="See, cut, prove, measure and ship the part of a translation model that a task needs.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, does in COMMANDS.items():
        module = importlib.import_module(f"workbench.cli.{name}")
        description = does[0].upper() + does[1:] + "."
        command = commands.add_parser(name, help=does, description=description)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Exit code 0; 1: failed, one line on stderr says why; 2: wrong usage; 130: interrupted."""
    options = make_parser().parse_args(argv)
    from workbench.errors import WorkbenchError

    warnings.showwarning = _show_warning
    if getattr(options, "device", None):
        os.environ["JAX_PLATFORMS"] = {"gpu": "cuda"}.get(options.device, options.device)
    try:
        check_device(options)
        return int(options.run(options) or 0)
    except WorkbenchError as error:
        return _fail(str(error))
    except BrokenPipeError:
        # Whoever read us has left; what is still buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("workbench: interrupted", file=sys.stderr)
        return 130
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}")


def check_device(options: argparse.Namespace) -> None:
    """Refuse a device that is not there, before anything is loaded. Raises WorkbenchError."""
    if not getattr(options, "device", None):
        return
    import jax

    from workbench.errors import WorkbenchError

    try:
        jax.devices()
    except RuntimeError as error:
        raise WorkbenchError(
            f"This machine, or this jax, has no {options.device}: use --device cpu, or install jax for it."
        ) from error


def _fail(message: str) -> int:
    print("workbench: error: " + " ".join(message.split()), file=sys.stderr)
    return 1


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"workbench: warning: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
