"""A checkpoint whose weights are written as they are read from its parent's: all but these weights."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.config import ModelConfig
    from workbench.text.tokenizer import Tokenizer


@contextmanager
def whole_part(
    args: argparse.Namespace,
    operation: str,
    directory: Path,
    parent: str,
    config: ModelConfig,
    tokenizer: Tokenizer,
    made: str,
    facts: dict[str, Any],
) -> Iterator[Path]:
    """The place to write the weights of the part to; once they are, and nothing fails, it becomes `args.output`.

    directory, parent: where the parent lies, and its name. config: of the part. made: what its card says of how it was
    made. facts: of its provenance, besides what every command puts there.
    """
    from workbench.checkpoint import CARD, CONFIG, PROVENANCE
    from workbench.checkpoint.hub_config import to_json
    from workbench.checkpoint.staging import whole_directory
    from workbench.checkpoint.tensor_files import weight_files
    from workbench.cli.provenance import made_by
    from workbench.subnetworks.lineage import card_with_parent

    with whole_directory(Path(args.output)) as place:
        tokenizer.save(place)
        write_json(place / CONFIG, to_json(config))
        old = directory / PROVENANCE
        files = weight_files(directory)
        record = {
            "operation": operation,
            "tasks": [str(task) for task in config.directions],
            **facts,
            **made_by(args.command_line),
            "parents": [
                {
                    "name": parent,
                    # Of the headers, which name every tensor: hashing the weights would read them all.
                    "headers_sha256": _headers_sha256(files),
                    "bytes": sum(file.stat().st_size for file in files),
                    "provenance": json.loads(old.read_text(encoding="utf-8"))
                    if old.exists()
                    else {},
                }
            ],
        }
        write_json(place / PROVENANCE, record)
        card = directory / CARD
        text = card.read_text(encoding="utf-8", errors="replace") if card.exists() else ""
        name = Path(args.output).resolve().name
        (place / CARD).write_text(
            card_with_parent(name, made, text, config.directions), encoding="utf-8"
        )
        yield place


def write_json(path: Path, value: Any) -> None:
    """Write a table of a checkpoint."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _headers_sha256(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            size = file.read(8)
            digest.update(size + file.read(int.from_bytes(size, "little")))
    return digest.hexdigest()
