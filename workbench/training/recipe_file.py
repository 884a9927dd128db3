"""Recipe files: TOML that may extend another file, values set from outside, and a recipe written down again."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError

#: The key by which a file names the one that it changes.
EXTENDS = "extends"
#: Keys whose value is a path.
PATHS = ("data.directory", "data.tokenizer", "run.start_from")


class RecipeError(WorkbenchError):
    """A recipe that cannot be followed."""


def read_table(path: str | Path) -> dict[str, Any]:
    """The table in a TOML file, laid over that of the file which its key `extends` names, and so on.

    That name is relative to the file it stands in. Tables are merged key by key; any other value replaces the
    one below it. A path is taken from the working directory; one that leads nowhere from there, but does from the
    directory of the file it stands in, from that.

    Raises:
        RecipeError: a file is missing, is not TOML, or extends itself in the end.
    """
    return _read(Path(path), ())


def with_settings(table: Mapping[str, Any], settings: Iterable[str]) -> dict[str, Any]:
    """A copy of the table with values replaced, each given as `model.encoder_routing=token`.

    The value is TOML; what is not, is taken as the text it is, so that words need no quotes.

    Raises:
        RecipeError: a setting is not of that form, or lies inside something that is no table.
    """
    for setting in settings:
        key, equals, text = setting.partition("=")
        path = [part.strip() for part in key.split(".")]
        if not equals or not all(path):
            raise RecipeError(
                f"--set {setting}: write a key of the recipe and its value, such as run.steps=200."
            )
        layer: dict[str, Any] = {path[-1]: _parsed(text.strip())}
        for index in range(len(path) - 2, -1, -1):
            layer = {path[index]: layer}
        for depth in range(1, len(path)):
            below: Any = table
            for part in path[:depth]:
                below = below.get(part, {})
            if not isinstance(below, Mapping):
                raise RecipeError(f"--set {setting}: {'.'.join(path[:depth])} is no table.")
        table = _merged(table, layer)
    return dict(table)


def to_toml(table: Mapping[str, Any]) -> str:
    """The table as TOML, values before the tables among them; reading it gives the table back."""
    lines = [f"{key} = {_value(v)}" for key, v in table.items() if not isinstance(v, Mapping)]
    for key, value in table.items():
        if isinstance(value, Mapping):
            lines += ["", f"[{key}]", *(f"{k} = {_value(v)}" for k, v in value.items())]
    return "\n".join(lines).lstrip("\n") + "\n"


def _read(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    by = f", which {above[-1]} extends" if above else ""
    if path.resolve() in [other.resolve() for other in above]:
        chain = " -> ".join(map(str, (*above, path)))
        raise RecipeError(f"The recipe {above[0]} extends itself in the end: {chain}.")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise RecipeError(f"Cannot read the recipe {path}{by}: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not TOML: {error}.") from error
    table = _found(table, path.parent)
    base = table.pop(EXTENDS, None)
    if base is None:
        return table
    if not isinstance(base, str) or not base:
        raise RecipeError(f"{EXTENDS} in {path} must name another recipe's file, got {base!r}.")
    return _merged(_read(path.parent / base, (*above, path)), table)


def _found(table: dict[str, Any], directory: Path) -> dict[str, Any]:
    """The table, its paths that exist only as seen from `directory` taken from there."""
    for part, key in (path.split(".") for path in PATHS):
        layer = table.get(part)
        place = layer.get(key) if isinstance(layer, Mapping) else None
        if isinstance(place, str) and place and not Path(place).exists():
            beside = directory / place
            if beside.exists():
                table = _merged(table, {part: {key: str(beside)}})
    return table


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(below)
    for key, value in above.items():
        old = found.get(key)
        both = isinstance(value, Mapping) and isinstance(old, Mapping)
        found[key] = _merged(old, value) if both else value  # type: ignore[arg-type]
    return found


def _parsed(text: str) -> Any:
    try:
        table = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return table["value"] if len(table) == 1 else text


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # JSON escapes a text as TOML does.
        lines = [json.dumps(line, ensure_ascii=False)[1:-1] for line in value.split("\n")]
        return f'"{lines[0]}"' if len(lines) == 1 else '"""\n' + "\n".join(lines) + '"""'
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    return repr(value)
