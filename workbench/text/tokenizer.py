"""The tokenizer: text to token ids and back, as NLLB numbers them."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import sentencepiece

from workbench.languages import find_language
from workbench.text import TokenizerError
from workbench.text.added_tokens import CONFIG_FILE, HUB_FILE, check_order, read_extra_tokens
from workbench.text.hub_tokenizer import (
    MASK,
    SPECIAL_TOKENS,
    tokenizer_config,
    tokenizer_json,
    with_mask,
)
from workbench.text.rebuilt_model import rebuild_model

MODEL_FILE = "sentencepiece.bpe.model"

#: Texts that are encoded sooner one by one: starting threads takes as long as encoding this many.
_FEW = 24

_HALF_CHARACTERS = re.compile("[\ud800-\udfff]")  # lone surrogates, which UTF-8 cannot write


class Tokenizer:
    """SentencePiece BPE, whose ids are ``<s> <pad> </s> <unk>``, the pieces, one token for each
    language and ``<mask>``, in this order.

    Text is normalised first (NFKC; whitespace collapsed and stripped). A run of characters that
    no piece can write becomes one ``<unk>`` and leaves the rest of the sentence as it is. Special
    tokens are never read out of a text: ``</s>`` typed by a person is four characters.

    `transformers` gives the same ids for what `save` wrote, but for three of its ways: it adds a
    ``▁`` for a space at the end, it loses an accent that follows a character which normalisation
    rewrites (``①`` and U+0308), and it does read special tokens out of a text.
    """

    bos_id = 0
    """Id of ``<s>``."""
    pad_id = 1
    """Id of ``<pad>``."""
    eos_id = 2
    """Id of ``</s>``, which ends a sentence and begins what the decoder reads."""
    unk_id = 3
    """Id of ``<unk>``."""

    def __init__(self, model: bytes, languages: Sequence[str]) -> None:
        """Takes a serialised SentencePiece model and the language codes in the order of their ids.

        ``<mask>`` comes after them, unless it stands among them: `transformers` 5 puts it before.

        Raises:
            TokenizerError: the model is damaged or begins otherwise, or there is no language.
        """
        self._model = model
        self._pieces = sentencepiece.SentencePieceProcessor()
        try:
            self._pieces.LoadFromSerializedProto(model)
            first = tuple(self._pieces.IdToPiece(i) for i in range(len(SPECIAL_TOKENS)))
        except (RuntimeError, ValueError, IndexError) as error:
            raise TokenizerError(f"The SentencePiece model is damaged ({error}).") from error
        if first == SPECIAL_TOKENS:
            self._shift = 0
        elif first[:3] == ("<unk>", "<s>", "</s>"):  # as published: every piece is one id further
            self._shift = 1
        else:
            raise TokenizerError(
                f"The SentencePiece model begins with {' '.join(first)}; accepted are models that "
                f"begin with {' '.join(SPECIAL_TOKENS)} (ours) or <unk> <s> </s> (NLLB)."
            )
        self._languages = tuple(code for code in languages if code != MASK)
        if not self._languages:
            raise TokenizerError("A tokenizer needs at least one language, e.g. eng_Latn.")
        self._first_language_id = len(self._pieces) + self._shift
        self._extra_tokens = with_mask(languages)
        self._language_ids = {
            code: self._first_language_id + self._extra_tokens.index(code)
            for code in self._languages
        }

    @classmethod
    def train(
        cls,
        lines: Iterable[str],
        vocab_size: int,
        languages: Sequence[str],
        character_coverage: float = 1.0,
    ) -> Tokenizer:
        """Learns the pieces from `lines`; the same lines give the same tokenizer.

        Args:
            lines: text in all the languages, mixed as the pieces shall be shared.
            vocab_size: number of ids in all, special tokens and languages included.
            languages: written in any way that `find_language` takes.
            character_coverage: share of the characters in `lines` that get a piece of their own;
                the rest become ``<unk>``.

        Raises:
            TokenizerError: there is too little text for so large a vocabulary, or too small a
                vocabulary for the characters of the text.
        """
        codes = sorted({find_language(language).code for language in languages})
        texts = [line for line in map(_encodable, lines) if line.strip()]
        if not texts:
            raise TokenizerError("There is no text to train a tokenizer on: all lines are empty.")
        model = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.Train(
                sentence_iterator=iter(texts),
                model_writer=model,
                model_type="bpe",
                vocab_size=vocab_size - len(codes) - 1,
                character_coverage=character_coverage,
                normalization_rule_name="nmt_nfkc",
                bos_id=0,
                pad_id=1,
                eos_id=2,
                unk_id=3,
                max_sentence_length=1 << 20,  # bytes; longer lines would be left out in silence
                num_threads=1,
                minloglevel=2,
            )
        except (RuntimeError, ValueError, OSError) as error:
            reason = " ".join(str(error).split())
            raise TokenizerError(
                f"Cannot train a tokenizer of {vocab_size} ids, {len(codes)} of them languages. "
                f"Give more text or another size. SentencePiece says: {reason}"
            ) from error
        return cls(model.getvalue(), codes)

    @classmethod
    def load(cls, directory: str | Path) -> Tokenizer:
        """Reads what `save` wrote, or the tokenizer of a published checkpoint of NLLB or M2M100.

        NLLB's is a SentencePiece model with a list of languages, or `tokenizer.json` alone; M2M100's is a
        SentencePiece model beside `vocab.json`.

        Raises:
            TokenizerError: a file is missing, damaged or of another kind.
        """
        directory = Path(directory)
        check_order(directory)
        if (directory / "vocab.json").exists():
            from workbench.text.m2m100_tokenizer import M2M100Tokenizer

            return M2M100Tokenizer.read(directory)
        if not (directory / MODEL_FILE).exists() and (directory / HUB_FILE).exists():
            return cls._rebuilt(directory / HUB_FILE)
        try:
            model = (directory / MODEL_FILE).read_bytes()
        except OSError as error:
            raise TokenizerError(
                f"Cannot read {directory / MODEL_FILE}: {error.strerror}. A checkpoint's tokenizer "
                f"is {MODEL_FILE} and {CONFIG_FILE}, of NLLB's kind: copy them from the model it was made from."
            ) from error
        extra, ids = read_extra_tokens(directory)
        if not extra:
            raise TokenizerError(
                f"{directory / CONFIG_FILE} lists no languages. It should have their codes, in the "
                'order of their ids, under "extra_special_tokens".'
            )
        tokenizer = cls(model, extra)
        tokenizer._check_ids(ids, directory)
        return tokenizer

    @classmethod
    def _rebuilt(cls, path: Path) -> Tokenizer:
        model, languages = rebuild_model(path)
        if languages in ([], [MASK]):
            raise TokenizerError(f"{path} has no language codes among its added tokens.")
        return cls(model, languages)

    def save(self, directory: str | Path) -> None:
        """Writes the SentencePiece model, and beside it what `transformers` reads."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        (directory / MODEL_FILE).write_bytes(self._model)
        extra = self._languages if self._extra_tokens[-1] == MASK else self._extra_tokens
        _write_json(directory / CONFIG_FILE, tokenizer_config(extra), indent=2)
        _write_json(directory / HUB_FILE, tokenizer_json(self._model, extra))

    def encode_source(self, text: str, language: str) -> list[int]:
        """The ids of `text` as the encoder reads it: ``[language, *pieces, eos]``."""
        return self.encode_sources([text], language)[0]

    def encode_target(self, text: str, language: str) -> list[int]:
        """The ids of `text` as the decoder writes it: ``[language, *pieces, eos]``.

        What the decoder reads is ``[eos] + ids[:-1]``.
        """
        return self.encode_targets([text], language)[0]

    def encode_sources(self, texts: Sequence[str], language: str) -> list[list[int]]:
        """`encode_source` of many texts at once, which is faster.

        Raises:
            UnknownLanguageError: `language` is none of the tokenizer's.
        """
        language_id = self.language_id(language)
        encoded = self._ids([_encodable(text) for text in texts])
        return [[language_id, *ids, self.eos_id] for ids in encoded]

    def encode_targets(self, texts: Sequence[str], language: str) -> list[list[int]]:
        """`encode_target` of many texts at once, which is faster.

        Raises:
            UnknownLanguageError: `language` is none of the tokenizer's.
        """
        return self.encode_sources(texts, language)  # NLLB writes both sides alike

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`; special tokens, languages and ids past the vocabulary are left out."""
        first, last = len(SPECIAL_TOKENS), self._first_language_id
        pieces = self._piece_ids([int(i) for i in ids if first <= i < last])
        return self._pieces.DecodeIds(pieces).strip()

    def token(self, token_id: int) -> str:
        """The token with this id, e.g. ``▁man``, ``</s>`` or ``deu_Latn``.

        Raises:
            TokenizerError: there is none.
        """
        if not 0 <= token_id < self.vocab_size:
            raise TokenizerError(
                f"There is no token {token_id}. The vocabulary has ids 0 to {self.vocab_size - 1}."
            )
        if token_id < len(SPECIAL_TOKENS):
            return SPECIAL_TOKENS[token_id]
        if token_id < self._first_language_id:
            return self._pieces.IdToPiece(int(token_id) - self._shift)
        return self._extra_tokens[token_id - self._first_language_id]

    def language_id(self, language: str) -> int:
        """The id of the token of a language, written in any way that `find_language` takes.

        Raises:
            UnknownLanguageError: it is none of the tokenizer's.
        """
        if language not in self._language_ids:
            language = find_language(language, among=self._languages).code
        return self._language_ids[language]

    def same_as(self, other: Tokenizer) -> bool:
        """Whether the two give the same ids for every text."""
        return type(self) is type(other) and (self._model, self._language_ids) == (
            other._model,
            other._language_ids,
        )

    @property
    def languages(self) -> tuple[str, ...]:
        """FLORES-200 codes, in the order of their ids."""
        return self._languages

    @property
    def vocab_size(self) -> int:
        """Number of ids: special tokens, pieces, languages and the mask."""
        return self._first_language_id + len(self._extra_tokens)

    def _check_ids(self, stated: Mapping[str, int], directory: Path) -> None:
        """Refuse ids of added tokens other than those that follow from the pieces. Raises TokenizerError."""
        for i, token in enumerate(self._extra_tokens, start=self._first_language_id):
            if stated.get(token, i) != i:
                raise TokenizerError(
                    f"The tokenizer in {directory} gives {token} the id {stated[token]}, but after its pieces it has"
                    f" {i}: its files do not belong together."
                )

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of texts, without the language and the end."""
        encoded: list[list[int]] = each_of(texts, self._pieces.EncodeAsIds)
        if self._shift:
            return [[i + 1 if i else self.unk_id for i in ids] for ids in encoded]
        return encoded

    def _piece_ids(self, ids: Sequence[int]) -> list[int]:
        """The SentencePiece model's own numbers for the ids of pieces."""
        return [i - self._shift for i in ids]


def each_of(texts: Sequence[str], encode: Callable[[Any], Any]) -> Any:
    """What SentencePiece's `encode` gives for each text."""
    return [encode(text) for text in texts] if len(texts) <= _FEW else encode(texts)


def _encodable(text: str) -> str:
    """`text` with U+FFFD for half characters, which broken JSON or UTF-16 can leave in a string."""
    return _HALF_CHARACTERS.sub("\ufffd", text)


def _write_json(path: Path, value: object, indent: int | None = None) -> None:
    separators = None if indent else (",", ":")
    text = json.dumps(value, ensure_ascii=False, indent=indent, separators=separators)
    path.write_text(text + "\n", encoding="utf-8")
