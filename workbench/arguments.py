"""Arguments that are one thing or many."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from numbers import Integral
from typing import Any

from workbench.errors import WorkbenchError


def as_list(given: object, kinds: type | tuple[type, ...], name: str, noun: str) -> list[Any]:
    """`given` as a list: one of `kinds` alone, or many of them in order.

    name: of the argument, and noun: what one of it is, as messages put it.

    Raises:
        WorkbenchError: it is something else, holds something else, or has no order.
    """
    if isinstance(given, kinds):
        return [given]
    if isinstance(given, Set | Mapping):
        kind = type(given).__name__
        raise WorkbenchError(f"{name} is a {kind}, which has no order: give a list.")
    if not isinstance(given, Iterable) or isinstance(given, str | bytes | bytearray):
        raise WorkbenchError(f"{name} is {_shown(given)}: give {noun}, or a list of them.")
    found = list(given)
    for place, one in enumerate(found):
        if not isinstance(one, kinds):
            raise WorkbenchError(f"{name}[{place}] is {_shown(one)}: it must be {noun}.")
    return found


def as_texts(given: str | Iterable[str], name: str) -> list[str]:
    """One text or many as a list. Raises WorkbenchError as `as_list` does."""
    return as_list(given, str, name, "a text")


def as_count(given: object, name: str, least: int = 1) -> int:
    """`given` if it is a whole number of at least `least`, else WorkbenchError."""
    whole = isinstance(given, Integral) and not isinstance(given, bool)
    if not whole or given < least:  # type: ignore[operator]
        raise WorkbenchError(
            f"{name} is {given!r:.40}: it must be a whole number, at least {least}."
        )
    return int(given)  # type: ignore[call-overload, no-any-return]


def _shown(value: object) -> str:
    """What a message calls a value: `None`, `1.5 (float)`."""
    return "None" if value is None else f"{value!r:.40} ({type(value).__name__})"
