"""The packages that this room needs, asked for before anything is done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from workbench.errors import WorkbenchError


class EngineError(WorkbenchError):
    """An engine is not installed, or cannot run this network."""


#: What must be importable for an engine; converting to CTranslate2 goes through transformers.
PACKAGES = {
    "ctranslate2": ("ctranslate2", "transformers", "torch"),
    "transformers": ("transformers", "torch"),
}

#: How CTranslate2 may store the weights.
QUANTIZATIONS = (
    "float32",
    "float16",
    "bfloat16",
    "int16",
    "int8",
    "int8_float32",
    "int8_float16",
    "int8_bfloat16",
)


def missing(engine: str) -> list[str]:
    """The packages of `engine` that are not installed."""
    return [name for name in PACKAGES[engine] if find_spec(name) is None]


def need(engine: str) -> None:
    """Refuse to go on without the packages of `engine`.

    Raises:
        EngineError: some are not installed; the line has the command that installs them.
    """
    if lacking := missing(engine):
        raise EngineError(
            f"{' and '.join(lacking)} must be installed for this: pip install"
            " 'task-moe-workbench[engines]'."
        )


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Keep transformers from drawing progress bars on the terminal."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
