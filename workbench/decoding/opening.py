"""Opening a checkpoint: its configuration and its tokenizer, which must belong together."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from workbench.checkpoint.directory import read_config
from workbench.config import ModelConfig
from workbench.errors import WorkbenchError
from workbench.text.tokenizer import Tokenizer

#: Rows of an embedding that no token has, as a share: published ones are rounded up a little.
_SPARE = 0.1


def open_checkpoint(directory: Path) -> tuple[ModelConfig, Tokenizer]:
    """Configuration and tokenizer of the checkpoint in `directory`; its weights are not looked at.

    A published model's languages are those of its tokenizer.

    Raises:
        WorkbenchError: one of them is missing or damaged, or they do not fit one another.
    """
    config = read_config(directory)
    tokenizer = Tokenizer.load(directory)
    check_fit(directory.name, config, tokenizer)
    if not config.languages:
        config = dataclasses.replace(config, languages=tokenizer.languages)
    return config, tokenizer


def check_fit(name: str, config: ModelConfig, tokenizer: Tokenizer) -> None:
    """Refuse a tokenizer that has more ids than the network has, or so few that it is another's.

    Raises:
        WorkbenchError: they do not fit, or a language of the network has no token.
    """
    tokens, rows = tokenizer.vocab_size, config.vocabulary
    if tokens > rows or tokens < (1 - _SPARE) * rows:
        only = "only " if tokens > rows else ""
        raise WorkbenchError(
            f"The tokenizer of {name} has {tokens} tokens, but the network's vocabulary {only}{rows}: they do"
            " not belong together."
        )
    for language in config.languages:
        if language not in tokenizer.languages:
            raise WorkbenchError(
                f"The network of {name} translates {language}, for which its tokenizer has no token: they do"
                " not belong together."
            )
