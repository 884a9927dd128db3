"""A SentencePiece model rebuilt from `tokenizer.json`, for checkpoints that come without theirs.

`transformers` since version 5 saves `tokenizer.json` alone. It holds all of a SentencePiece BPE model: the
pieces, the order of their merges and the normaliser. What holds something else is refused: so no other library
is needed to read it, and what is read gives the same ids.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sentencepiece import sentencepiece_model_pb2

from workbench.text import TokenizerError
from workbench.text.added_tokens import check_words
from workbench.text.hub_tokenizer import MASK, SPACE, SPECIAL_TOKENS

#: What the parts of `tokenizer.json` must be called; others would cut text otherwise.
_FIXED = {"type": "BPE", "dropout": None, "unk_token": "<unk>", "fuse_unk": True}
_PASSED_OVER = ("Precompiled", "Replace", "Strip")


def rebuild_model(path: Path) -> tuple[bytes, list[str]]:
    """A serialised SentencePiece model, and the language codes and the mask in the order of their ids.

    Raises:
        TokenizerError: the file is damaged, or its tokenizer is not a SentencePiece BPE model whose ids are
            `SPECIAL_TOKENS`, the pieces, then the languages and the mask.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        return _rebuilt(table, path)
    except OSError as error:
        raise TokenizerError(f"Cannot read {path}: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        if isinstance(error, TokenizerError):
            raise
        raise TokenizerError(
            f"{path} is damaged: it is not a tokenizer's JSON ({error!r})."
        ) from error


def _rebuilt(table: Mapping[str, Any], path: Path) -> tuple[bytes, list[str]]:
    model = table["model"]
    for key, accepted in _FIXED.items():
        if model.get(key) != accepted:
            raise TokenizerError(
                f"{path}: its model's {key} is {model.get(key)!r}, not {accepted!r}."
            )
    if model.get("byte_fallback"):
        raise TokenizerError(f"{path}: its model falls back to bytes, which NLLB's do not.")
    check_words(table["added_tokens"], path)
    added = {token["content"]: token["id"] for token in table["added_tokens"]}
    vocabulary: dict[str, int] = model["vocab"]
    pieces = sorted((i, piece) for piece, i in vocabulary.items() if piece not in added)
    extra = sorted((i, token) for token, i in added.items() if token not in SPECIAL_TOKENS)
    named = [(vocabulary.get(t, added.get(t)), t) for t in SPECIAL_TOKENS] + pieces + extra
    for position, (i, token) in enumerate(named):
        if i != position:
            raise TokenizerError(
                f"{path}: {token!r} has id {i} where {position} is expected. Accepted are tokenizers whose ids"
                f" are {' '.join(SPECIAL_TOKENS)}, the pieces, the languages and {MASK}."
            )
    ranks = _ranks(model["merges"], {piece for _, piece in pieces}, path)
    proto = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
    kinds = proto.SentencePiece
    for token in SPECIAL_TOKENS:
        kind = kinds.UNKNOWN if token == "<unk>" else kinds.CONTROL
        proto.pieces.add(piece=token, score=0.0, type=kind)
    last = len(ranks)
    for _, piece in pieces:
        # Of two pairs SentencePiece joins first the one whose result scores higher.
        proto.pieces.add(piece=piece, score=-float(ranks.get(piece, last)), type=kinds.NORMAL)
    proto.trainer_spec.model_type = proto.trainer_spec.BPE
    for name, i in (("bos", 0), ("pad", 1), ("eos", 2), ("unk", 3)):
        setattr(proto.trainer_spec, f"{name}_id", i)
        setattr(proto.trainer_spec, f"{name}_piece", SPECIAL_TOKENS[i])
    proto.trainer_spec.vocab_size = len(proto.pieces)
    proto.normalizer_spec.name = "nmt_nfkc"
    proto.normalizer_spec.precompiled_charsmap = _charsmap(table, path)
    proto.normalizer_spec.add_dummy_prefix = True
    proto.normalizer_spec.remove_extra_whitespaces = True
    proto.normalizer_spec.escape_whitespaces = True
    return proto.SerializeToString(), [token for _, token in extra]


def _ranks(merges: Sequence[Any], pieces: set[str], path: Path) -> dict[str, int]:
    """When each piece is put together: 0 first.

    SentencePiece puts a piece together from any two others that make it, so all of these must be among the
    merges, and those of one piece must follow one another.
    """
    ranks: dict[str, int] = {}
    splits: dict[str, set[tuple[str, str]]] = {}
    latest = ""
    for merge in merges:
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        piece = left + right
        if piece != latest and piece in ranks:
            raise _not_sentencepiece(path, piece)
        ranks.setdefault(piece, len(ranks))
        splits.setdefault(piece, set()).add((left, right))
        latest = piece
    for piece in pieces:
        if splits.get(piece, set()) != set(_splits(piece, pieces)):
            raise _not_sentencepiece(path, piece)
    return ranks


def _splits(piece: str, pieces: set[str]) -> Iterator[tuple[str, str]]:
    for i in range(1, len(piece)):
        if piece[:i] in pieces and piece[i:] in pieces:
            yield piece[:i], piece[i:]


def _charsmap(table: Mapping[str, Any], path: Path) -> bytes:
    """The normaliser's table of characters."""
    normalizer = table["normalizer"]
    steps = normalizer["normalizers"] if normalizer["type"] == "Sequence" else [normalizer]
    strange = [step["type"] for step in steps if step["type"] not in _PASSED_OVER]
    tables = [step["precompiled_charsmap"] for step in steps if step["type"] == "Precompiled"]
    before = table["pre_tokenizer"]
    parts = before["pretokenizers"] if before["type"] == "Sequence" else [before]
    strange += [p["type"] for p in parts if p["type"] not in ("Metaspace", "WhitespaceSplit")]
    if strange or len(tables) != 1 or parts[-1].get("replacement") != SPACE:
        raise TokenizerError(
            f"{path}: its normaliser and pre-tokenizer are not SentencePiece's (one Precompiled, Metaspace"
            f" {SPACE}){': ' + ', '.join(strange) if strange else ''}."
        )
    try:
        return base64.b64decode(tables[0], validate=True)
    except binascii.Error as error:
        raise TokenizerError(f"{path}: its precompiled_charsmap is damaged ({error}).") from error


def _not_sentencepiece(path: Path, piece: str) -> TokenizerError:
    return TokenizerError(
        f"{path}: the merges that make {piece!r} are not those of a SentencePiece model. Put its"
        " sentencepiece.bpe.model beside it."
    )
