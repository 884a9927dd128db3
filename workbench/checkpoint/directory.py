"""The checkpoint directory: reading and writing it as a whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.checkpoint import CARD, CONFIG, PROVENANCE, RESULT, CheckpointError
from workbench.checkpoint.hub_config import (
    OWN_MODEL_TYPE,
    from_json,
    layout_in,
    layout_of,
    model_type,
    to_json,
)
from workbench.checkpoint.memory import check_memory
from workbench.checkpoint.model_card import placed_card
from workbench.checkpoint.placement import Placement
from workbench.checkpoint.staging import whole_directory
from workbench.checkpoint.tensor_names import Layout
from workbench.checkpoint.weights import (
    IN_MEMORY,
    ON_DISK,
    WORDS,
    find_weights,
    memory_needed,
    read_network,
    write_network,
)
from workbench.config import ConfigError, ModelConfig
from workbench.nn.network import TranslationNetwork


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint directory holds, its tokenizer apart.

    card: the model card, Markdown. provenance: parents, command, versions and hashes.
    """

    config: ModelConfig
    network: TranslationNetwork
    card: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)


def read_checkpoint(
    directory: Path, dtype: str = "float32", placement: Placement | None = None
) -> Checkpoint:
    """The checkpoint in `directory`.

    dtype: float32 or bfloat16, how its weights are held in memory, however they are stored. placement: where
    its parameters lie, if not all on the first device.

    Raises:
        CheckpointError: a file is missing, cut short, of another kind or does not fit the others, or there is
            too little memory.
    """
    if dtype not in IN_MEMORY:
        raise CheckpointError(f"Cannot hold weights as {dtype!r}: use {' or '.join(IN_MEMORY)}.")
    config, layout = _read_description(directory)
    find_weights(directory, config, layout)
    if placement is None:
        check_memory(
            directory.name, {kind: memory_needed(config, kind) for kind in IN_MEMORY}, dtype
        )
    provenance = _read_json(directory / PROVENANCE) if (directory / PROVENANCE).exists() else {}
    card = directory / CARD
    return Checkpoint(
        config,
        read_network(directory, config, layout, dtype, placement),
        card.read_text(encoding="utf-8", errors="replace") if card.exists() else "",
        provenance if isinstance(provenance, dict) else {},
    )


def read_config(directory: Path) -> ModelConfig:
    """The configuration of the checkpoint in `directory`; of a published model, without its languages.

    Raises:
        CheckpointError: there is none, or none that a network here can have.
    """
    return _read_description(directory)[0]


def check_weights(directory: Path, config: ModelConfig) -> tuple[str, ...]:
    """The types that the weights in `directory` are stored as, e.g. `("bfloat16",)`.

    Only headers are read, whatever the files' size: enough to know that every tensor of `config` is there,
    whole and of the right shape.

    Raises:
        CheckpointError: a file is missing, cut short, or does not fit `config`.
    """
    places = find_weights(directory, config, _read_description(directory)[1])
    return tuple(sorted({WORDS[place.stored.dtype] for place in places}))


def write_checkpoint(
    directory: Path,
    checkpoint: Checkpoint,
    write_tokenizer: Callable[[Path], None],
    dtype: str = "float32",
) -> None:
    """Write `directory`, which must not exist or be empty; if anything fails, nothing is left behind.

    dtype: float32, bfloat16 or int8, how the weights are stored. No other library reads our int8, so such a
    directory does not say that it is one of theirs.

    Raises:
        CheckpointError: the directory is taken, or the disk refuses.
    """
    if dtype not in ON_DISK:
        raise CheckpointError(f"Cannot store weights as {dtype!r}: use {', '.join(ON_DISK)}.")
    config = checkpoint.config
    kind = OWN_MODEL_TYPE if dtype == "int8" else model_type(config)
    with whole_directory(directory) as staging:
        write_tokenizer(staging)
        write_network(staging, checkpoint.network, config, layout_of(kind), dtype)
        _write_json(staging / CONFIG, to_json(config, kind))
        _write_json(staging / PROVENANCE, checkpoint.provenance)
        (staging / CARD).write_text(placed_card(checkpoint.card, directory), encoding="utf-8")


def _read_description(directory: Path) -> tuple[ModelConfig, Layout]:
    if not directory.is_dir():
        raise CheckpointError(f"There is no checkpoint directory {directory}.")
    inside = directory / RESULT
    if not (directory / CONFIG).exists() and (inside / CONFIG).is_file():
        raise CheckpointError(
            f"{directory} is a run, not a checkpoint: its checkpoint is {inside}."
        )
    table = _read_json(directory / CONFIG)
    try:
        return from_json(table), layout_in(table)
    except ConfigError as error:
        raise CheckpointError(f"{directory}: {error}") from error


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path.parent} has no {path.name}: it is not a checkpoint."
        ) from error
    except OSError as error:
        raise CheckpointError(f"Cannot read {path}: {error.strerror}.") from error
    except ValueError as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}.") from error


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
