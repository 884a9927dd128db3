"""The same tokenizer as `transformers` and `tokenizers` read it: tokenizer.json and its config."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sentencepiece import sentencepiece_model_pb2

SPACE = "▁"  # how SentencePiece writes a space
SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>")  # ids 0 to 3
MASK = "<mask>"


def tokenizer_json(model: bytes, languages: Sequence[str]) -> dict[str, Any]:
    """What ``tokenizer.json`` says, for a SentencePiece BPE model and its language codes.

    Ids are `SPECIAL_TOKENS`, the pieces, the languages, the mask. The merges are every way to put a
    piece together from two others, in the order of the pieces, because SentencePiece merges the
    pair whose result ranks first, whichever pair that is.
    """
    proto = sentencepiece_model_pb2.ModelProto.FromString(model)  # type: ignore[attr-defined]
    pieces = [piece.piece for piece in proto.pieces if piece.piece not in SPECIAL_TOKENS]
    vocabulary = {token: i for i, token in enumerate((*SPECIAL_TOKENS, *pieces))}
    charsmap = base64.b64encode(proto.normalizer_spec.precompiled_charsmap).decode()
    space = {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": "always", "split": True}
    extra = {token: len(vocabulary) + i for i, token in enumerate(with_mask(languages))}
    added = {token: vocabulary[token] for token in SPECIAL_TOKENS} | extra
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added_token(token, i) for token, i in added.items()],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Precompiled", "precompiled_charsmap": charsmap},
                {"type": "Replace", "pattern": {"Regex": "^ +| +$"}, "content": ""},
                {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "},
            ],
        },
        "pre_tokenizer": space,
        "post_processor": _template(_default(languages), added),
        "decoder": space,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocabulary,
            "merges": list(_merges(vocabulary)),
        },
    }


def tokenizer_config(languages: Sequence[str]) -> dict[str, Any]:
    """What ``tokenizer_config.json`` says; ids are read from ``tokenizer.json``."""
    return {
        "tokenizer_class": "NllbTokenizer",
        "bos_token": "<s>",
        "cls_token": "<s>",
        "eos_token": "</s>",
        "sep_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "mask_token": MASK,
        "extra_special_tokens": list(languages),
        "src_lang": _default(languages),
        "tgt_lang": None,
        "legacy_behaviour": False,
        "clean_up_tokenization_spaces": False,
    }


def with_mask(languages: Sequence[str]) -> tuple[str, ...]:
    """What follows the pieces: the languages and the mask, which comes last unless it stands among them."""
    return tuple(languages) if MASK in languages else (*languages, MASK)


def _default(languages: Sequence[str]) -> str:
    """The language that is meant where a caller names none, as in NLLB."""
    known = [code for code in languages if code != MASK]
    return "eng_Latn" if "eng_Latn" in known else known[0]


def _added_token(token: str, token_id: int) -> dict[str, Any]:
    return {
        "id": token_id,
        "content": token,
        "single_word": False,
        "lstrip": token == MASK,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }


def _template(language: str, ids: Mapping[str, int]) -> dict[str, Any]:
    """The post-processor that puts the language before the text and ``</s>`` after it."""
    before, after = ({"SpecialToken": {"id": t, "type_id": 0}} for t in (language, "</s>"))
    first, second = ({"Sequence": {"id": side, "type_id": 0}} for side in "AB")
    return {
        "type": "TemplateProcessing",
        "single": [before, first, after],
        "pair": [before, first, second, after],
        "special_tokens": {
            token: {"id": token, "ids": [ids[token]], "tokens": [token]}
            for token in (language, "</s>")
        },
    }


def _merges(vocabulary: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    for piece in vocabulary:
        if piece not in SPECIAL_TOKENS:
            for i in range(1, len(piece)):
                if piece[:i] in vocabulary and piece[i:] in vocabulary:
                    yield piece[:i], piece[i:]
