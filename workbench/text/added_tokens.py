"""Added tokens: what a published tokenizer has besides the pieces of its SentencePiece model, and under which ids."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from workbench.text import TokenizerError
from workbench.text.hub_tokenizer import MASK, SPECIAL_TOKENS

CONFIG_FILE = "tokenizer_config.json"
HUB_FILE = "tokenizer.json"
LEGACY_FILE = "special_tokens_map.json"  # where published NLLB checkpoints list their languages

#: How languages are written among added tokens. That nobody writes so makes them harmless where they are not special.
_LANGUAGE = re.compile(r"[a-z]{3}_[A-Z][a-z]{3}|__[a-z]{2,3}__")


def read_extra_tokens(directory: Path) -> tuple[list[str], dict[str, int]]:
    """The languages and the mask in the order of their ids, and those of these ids that a file states.

    Which languages there are is for the configuration to say, else for `special_tokens_map.json`. `tokenizer_config.json`
    from 4.34 to 4.57 of `transformers`, or `tokenizer.json`, says how they are numbered: languages that were added to a
    published tokenizer may come after its mask. Nothing is listed where no file has a list.

    Raises:
        TokenizerError: a file is damaged, or has an added word.
    """
    files = (directory / CONFIG_FILE, directory / LEGACY_FILE)
    listed = next(filter(None, map(_listed, files)), [])
    ids = read_ids(directory) if listed else {}
    if not set(ids) - {MASK}:
        return listed, ids
    return [*ids, *(token for token in listed if token not in ids)], ids


def read_ids(directory: Path) -> dict[str, int]:
    """Added token -> id in the order of the ids, those of `SPECIAL_TOKENS` left out; empty where no file states them.

    Raises:
        TokenizerError: a file is damaged, or has an added word.
    """
    path = directory / CONFIG_FILE
    decoder = read_table(path).get("added_tokens_decoder")
    if not decoder:
        path = directory / HUB_FILE
    try:
        tokens = (
            [{**token, "id": int(i)} for i, token in decoder.items()]
            if decoder
            else read_table(path).get("added_tokens", [])
        )
        check_words(tokens, path)
        ids = sorted((int(token["id"]), str(token["content"])) for token in tokens)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, TokenizerError):
            raise
        raise TokenizerError(
            f"{path} is damaged: it does not number its tokens ({error!r})."
        ) from error
    return {token: i for i, token in ids if token not in SPECIAL_TOKENS}


def check_order(directory: Path) -> None:
    """Refuse a tokenizer that puts the language after the text.

    Raises:
        TokenizerError: it is so, or the configuration is damaged.
    """
    path = directory / CONFIG_FILE
    if read_table(path).get("legacy_behaviour"):
        raise TokenizerError(
            f"{path}: legacy_behaviour is True, which puts the language after the text. Accepted: False (it comes"
            " first here)."
        )


def check_words(tokens: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Refuse an added word: it is cut out of texts before they are split into pieces, as SentencePiece cuts out none.

    Raises:
        TokenizerError: there is one, in the file `path`.
    """
    for token in tokens:
        if not token.get("special") and not _LANGUAGE.fullmatch(token["content"]):
            raise TokenizerError(
                f"{path}: {token['content']!r} is an added word, which no SentencePiece model can read. Accepted are"
                " added languages and special tokens."
            )


def read_table(path: Path) -> dict[str, Any]:
    """The JSON object in a file; an empty one where there is no file.

    Raises:
        TokenizerError: the file cannot be read, or holds something else.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise TokenizerError(f"Cannot read {path}: {error.strerror}.") from error
    except ValueError as error:
        raise TokenizerError(f"{path} is damaged: it is not JSON ({error}).") from error
    if not isinstance(table, dict):
        raise TokenizerError(f"{path} is damaged: it holds {type(table).__name__}, not an object.")
    return table


def _listed(path: Path) -> list[str]:
    config = read_table(path)
    tokens = config.get("extra_special_tokens", config.get("additional_special_tokens", []))
    try:
        codes = [token if isinstance(token, str) else token["content"] for token in tokens]
    except (KeyError, TypeError) as error:
        raise TokenizerError(
            f"{path} is damaged: it does not list language codes ({error})."
        ) from error
    found = [code for code in codes if code not in SPECIAL_TOKENS]
    return found if found != [MASK] else []
