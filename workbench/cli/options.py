"""Options that several commands share, and what they set in motion."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.cli.output import check_directory, note
from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    from workbench.decoding.system import System
    from workbench.decoding.translator import Translator

#: What JAX calls them; the CPU stays at hand beside an accelerator.
_PLATFORMS = {"cpu": "cpu", "gpu": "cuda,cpu", "tpu": "tpu,cpu"}

#: What a command that only uses a checkpoint can compute in, and which commands do; all others compute in float32.
_DTYPES = ("float32", "bfloat16")
_USING = ("translate", "routes", "usage", "figures", "compare", "bench", "prune", "merge")

#: Bytes from which a load is announced.
_LARGE = 10**8


#: What commands that only translate say of their checkpoints.
SYSTEM = (
    "checkpoint directory or hub id; a dense one with @ctranslate2, @ctranslate2-int8 or @transformers after"
    " it runs under that engine"
)


def new_command(
    commands: Any, name: str, run: Any, summary: str, **more: Any
) -> argparse.ArgumentParser:
    """A parser for the command `name`, which calls `run`, with the options that all commands have."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, **{"description": summary, **more}
    )
    parser.add_argument("--json", action="store_true", help="machine-readable result on stdout")
    parser.add_argument(
        "--device", choices=_PLATFORMS, help="where to compute (default: JAX's choice)"
    )
    parser.add_argument(
        "--dtype",
        choices=_DTYPES if name in _USING else _DTYPES[:1],
        default="float32",
        help="what to compute in (default: float32"
        + ("; in bfloat16 a translation may depend on its batch)" if name in _USING else ")"),
    )
    parser.set_defaults(run=run)
    return parser


def add_direction(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """`--source` and `--target`."""
    parser.add_argument("-s", "--source", required=required, metavar="SRC", help="source language")
    parser.add_argument("-t", "--target", required=required, metavar="TGT", help="target language")


def add_decoding(parser: argparse.ArgumentParser) -> None:
    """`--beam`, `--batch-size` and `--max-length`."""
    parser.add_argument(
        "--beam",
        type=positive,
        default=1,
        metavar="N",
        help="rows of the beam search (default: 1, greedy)",
    )
    parser.add_argument(
        "--batch-size",
        type=positive,
        default=32,
        metavar="N",
        help="sentences at once (default: 32)",
    )
    parser.add_argument(
        "--max-length",
        type=positive,
        metavar="N",
        help="tokens of a translation, at most (default: twice its source's and 32)",
    )


def add_early_stopping(parser: argparse.ArgumentParser) -> None:
    """`--early-stopping`."""
    parser.add_argument(
        "--early-stopping",
        action="store_true",
        help="end a beam search once as many translations as it has rows are finished, as CTranslate2 does"
        " (default: once none can get better, as transformers does)",
    )


def positive(text: str) -> int:
    """A whole number from 1 on, for argparse."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return number


def positives(text: str) -> list[int]:
    """Whole numbers from 1 on with commas between, for argparse."""
    return [positive(part) for part in text.split(",")]


class _Flat(argparse.Action):
    """Lists one after the other as one list: `1 8 64`, `1,8,64` and `1,8 64` are the same."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        setattr(namespace, self.dest, [number for part in values for number in part])


def add_batch_sizes(parser: argparse.ArgumentParser, default: list[int]) -> None:
    """`--batch-sizes`, after the checkpoints."""
    parser.add_argument(
        "--batch-sizes",
        type=positives,
        nargs="+",
        action=_Flat,
        default=default,
        metavar="N",
        help=f"sentences in a timed batch, {' '.join(map(str, default))} if not given; give them after the"
        " checkpoints",
    )


def choose_device(args: argparse.Namespace) -> None:
    """Make JAX compute where `--device` says. Call before anything makes an array.

    Raises:
        WorkbenchError: there is no such device.
    """
    if args.device is None:
        return
    os.environ["JAX_PLATFORMS"] = _PLATFORMS[args.device]
    import jax

    jax.config.update("jax_platforms", _PLATFORMS[args.device])
    try:
        found = jax.devices()[0].platform
    except RuntimeError as error:
        raise WorkbenchError(_no_device(args.device)) from error
    if found != args.device:
        raise WorkbenchError(_no_device(args.device))


def load_systems(args: argparse.Namespace, names: Sequence[str]) -> list[System]:
    """The checkpoints that `names` mean, each under the engine after its `@`, on the chosen device in the chosen type."""
    choose_device(args)
    from workbench.engines.loading import check_engine, load, split_engine

    chosen = [split_engine(name) for name in names]
    for _, engine in chosen:  # before anything is loaded
        if engine:
            check_engine(engine)
    systems: list[System] = []
    for path, engine in chosen:
        _announce(path, args.dtype)
        systems.append(load(path, args.dtype, engine=engine) if engine else load(path, args.dtype))
    return systems


def _announce(path: str, dtype: str) -> None:
    """Say beforehand what a large checkpoint needs."""
    from workbench.checkpoint.directory import read_config
    from workbench.checkpoint.hub import find_checkpoint
    from workbench.checkpoint.memory import in_words
    from workbench.checkpoint.weights import memory_needed

    needed = memory_needed(read_config(find_checkpoint(path)), dtype)
    if needed >= _LARGE:
        note(f"{path}: its weights need {in_words(needed)} of memory in {dtype}; loading them.")


def load_model(args: argparse.Namespace) -> Translator:
    """The one checkpoint of a command, a directory or hub id, on the chosen device in the chosen type."""
    choose_device(args)
    from workbench.decoding.translator import Translator

    _announce(args.checkpoint, args.dtype)
    return Translator.load(args.checkpoint, args.dtype)


def read_input(path: str) -> list[str]:
    """The lines of a text file, plain or .gz; of standard input where `path` is "-"."""
    from workbench.text.corpus import read_lines, split_lines

    if path == "-":
        return split_lines(sys.stdin.buffer.read(), "standard input")
    return read_lines(path)


def check_free(path: str) -> None:
    """Refuse a directory that is taken or cannot be made, before the work and not after it."""
    place = Path(path)
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise WorkbenchError(f"{path} exists and is not empty: choose another place with -o.")
    check_directory(place.parent, path)


def _no_device(device: str) -> str:
    extra = {"gpu": "jax[cuda13]", "tpu": "jax[tpu]"}.get(device, "jax")
    return (
        f"JAX finds no {device} here, or has already begun on another device. Leave --device out, or install"
        f" what it needs: pip install '{extra}'."
    )
