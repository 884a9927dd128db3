"""Arguments that are one thing or many, or that stand in a file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Set
from numbers import Integral, Real
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
    if hasattr(given, "columns"):  # a data frame, whose elements are the names of its columns
        raise WorkbenchError(f"{name} is a {type(given).__name__}: give one of its columns.")
    if not isinstance(given, Iterable) or isinstance(given, str | bytes | bytearray):
        raise WorkbenchError(f"{name} is {_shown(given)}: give {noun}, or a list of them.")
    found = list(given)
    for place, one in enumerate(found):
        if not isinstance(one, kinds):
            raise WorkbenchError(f"{name}[{place}] is {_shown(one)}: it must be {noun}.")
    return found


def as_one(given: object, kinds: type | tuple[type, ...], name: str, noun: str) -> Any:
    """`given` if it is one of `kinds`, else WorkbenchError; `name` and `noun` as in `as_list`."""
    if not isinstance(given, kinds):
        raise WorkbenchError(f"{name} is {_shown(given)}: give {noun}.")
    return given


def as_texts(given: str | Iterable[str], name: str) -> list[str]:
    """One text or many as a list. Raises WorkbenchError as `as_list` does."""
    return as_list(given, str, name, "a text")


def as_whole(given: object, name: str) -> int:
    """`given` if it is a whole number, else WorkbenchError."""
    if type(given) is int:
        return given
    if not isinstance(given, Integral) or isinstance(given, bool):
        raise WorkbenchError(f"{name} is {_shown(given)}: it must be a whole number, at least 1.")
    return int(given)


def as_number_of(given: object, name: str) -> int:
    """`given` if it is a whole number, 0 or above, else WorkbenchError."""
    whole = isinstance(given, Integral) and not isinstance(given, bool)
    if not whole or given < 0:  # type: ignore[operator]
        raise WorkbenchError(f"{name} is {_shown(given)}: it must be a whole number, 0 or more.")
    return int(given)  # type: ignore[call-overload,no-any-return]


def as_count(given: object, name: str) -> int:
    """`given` if it is a whole number above 0, else WorkbenchError."""
    number = as_whole(given, name)
    if number < 1:
        raise WorkbenchError(f"{name} is {number}: it must be a whole number, at least 1.")
    return number


def as_fraction(given: object, name: str, noun: str) -> float:
    """`given` if it is a number above 0 and up to 1, else WorkbenchError; noun: what it is a fraction of."""
    is_number = isinstance(given, Real) and not isinstance(given, bool)
    if not is_number or not 0 < given <= 1:  # type: ignore[operator]
        shown = f"{given:g}" if is_number else _shown(given)
        raise WorkbenchError(
            f"{name} is {shown}: give the fraction of {noun}, above 0 and up to 1."
        )
    return given  # type: ignore[return-value]


def as_json(data: bytes, name: str) -> Any:
    """What `data` say in JSON, else WorkbenchError. name: what it calls them."""
    try:
        return json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise WorkbenchError(f"{name} is not valid JSON: {error}.") from error


def _shown(value: object) -> str:
    """What a message calls a value, in one line: `None`, `1.5 (float)`."""
    text = " ".join(repr(value).split())
    return "None" if value is None else f"{text:.40} ({type(value).__name__})"
