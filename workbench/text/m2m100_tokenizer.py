"""M2M100's own tokenizer: ids from `vocab.json`, language tokens such as `__en__` after them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.languages import find_language
from workbench.text import TokenizerError
from workbench.text.added_tokens import CONFIG_FILE, read_ids, read_table
from workbench.text.hub_tokenizer import SPECIAL_TOKENS
from workbench.text.tokenizer import MODEL_FILE, Tokenizer, each_of

VOCABULARY_FILE = "vocab.json"

#: The languages of a model in the order of their ids, by the name of the list in its configuration.
LANGUAGE_CODES = {
    name: tuple(codes.split())
    for name, codes in {
        "m2m100": "af am ar ast az ba be bg bn br bs ca ceb cs cy da de el en es et fa ff fi fr fy ga gd gl gu"
        " ha he hi hr ht hu hy id ig ilo is it ja jv ka kk km kn ko lb lg ln lo lt lv mg mk ml mn mr ms my ne"
        " nl no ns oc or pa pl ps pt ro ru sd si sk sl so sq sr ss su sv sw ta th tl tn tr uk ur uz vi wo xh yi"
        " yo zh zu",
        "wmt21": "en ha is ja cs ru zh de",
    }.items()
}
#: What its codes mean where FLORES-200 has no such language, or this one goes by another code.
_OTHERWISE = {"br": "bre_Latn", "fy": "fry_Latn", "ns": "nso_Latn"}


class M2M100Tokenizer(Tokenizer):
    """SentencePiece pieces numbered by `vocab.json`, then one token a language, then a few made-up words.

    Languages go by their FLORES-200 codes here too (`eng_Latn` is its `__en__`). A piece that `vocab.json`
    lacks is ``<unk>``.
    """

    def __init__(
        self,
        model: bytes,
        vocabulary: Mapping[str, int],
        language_codes: str = "m2m100",
        made_up: int = 8,
    ) -> None:
        """Takes a SentencePiece model, its numbering, the name of a list of languages and spare words.

        Raises:
            TokenizerError: the model is damaged, the numbering has gaps, or the list is unknown.
        """
        if language_codes not in LANGUAGE_CODES:
            raise TokenizerError(
                f"language_codes is {language_codes!r}. Accepted: {', '.join(LANGUAGE_CODES)}."
            )
        codes = LANGUAGE_CODES[language_codes]
        super().__init__(model, [flores_code(code) for code in codes])
        _check_numbering(vocabulary)
        self._vocabulary = dict(vocabulary)
        self._names = sorted(vocabulary, key=vocabulary.__getitem__)
        self._known = {self._pieces.IdToPiece(i): i for i in range(len(self._pieces))}
        self._list, self._made_up = language_codes, made_up
        self._first_language_id = len(vocabulary)
        self._extra_tokens = (
            *(f"__{code}__" for code in codes),
            *(f"madeupword{i}" for i in range(made_up)),
        )
        self._language_ids = {
            code: self._first_language_id + i for i, code in enumerate(self._languages)
        }

    @classmethod
    def read(cls, directory: Path) -> M2M100Tokenizer:
        """The tokenizer of a published M2M100 checkpoint. Raises TokenizerError."""
        vocabulary = read_table(directory / VOCABULARY_FILE)
        config = read_table(directory / CONFIG_FILE)
        try:
            model = (directory / MODEL_FILE).read_bytes()
        except OSError as error:
            raise TokenizerError(
                f"Cannot read {directory / MODEL_FILE}: {error.strerror}. Copy it from the model that the"
                " checkpoint was made from."
            ) from error
        made_up = config.get("num_madeup_words", 8)
        if type(made_up) is not int or made_up < 0:
            raise TokenizerError(
                f"{directory / CONFIG_FILE}: num_madeup_words is {made_up!r}, not a whole number."
            )
        tokenizer = cls(model, vocabulary, config.get("language_codes", "m2m100"), made_up)
        tokenizer._check_ids(read_ids(directory), directory)
        return tokenizer

    def save(self, directory: str | Path) -> None:
        """Writes the three files that `transformers` reads as an `M2M100Tokenizer`."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        (directory / MODEL_FILE).write_bytes(self._model)
        config = {
            "tokenizer_class": "M2M100Tokenizer",
            "bos_token": "<s>",
            "eos_token": "</s>",
            "sep_token": "</s>",
            "pad_token": "<pad>",
            "unk_token": "<unk>",
            "language_codes": self._list,
            "num_madeup_words": self._made_up,
            # Without them `transformers` 5 leaves languages in translations, and CTranslate2's converter fails.
            "additional_special_tokens": [f"__{code}__" for code in LANGUAGE_CODES[self._list]],
            "src_lang": "en",
            "tgt_lang": None,
        }
        for name, table in ((VOCABULARY_FILE, self._vocabulary), (CONFIG_FILE, config)):
            text = json.dumps(table, ensure_ascii=False, indent=2)
            (directory / name).write_text(text + "\n", encoding="utf-8")

    def token(self, token_id: int) -> str:
        """The token with this id, e.g. ``▁man``, ``</s>`` or ``__de__``. Raises TokenizerError."""
        if len(SPECIAL_TOKENS) <= token_id < self._first_language_id:
            return self._names[token_id]
        return super().token(token_id)

    def same_as(self, other: Tokenizer) -> bool:
        """Whether the two give the same ids for every text."""
        return (
            isinstance(other, M2M100Tokenizer)
            and super().same_as(other)
            and self._vocabulary == other._vocabulary
        )

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        number, unknown = self._vocabulary, self.unk_id
        rows = each_of(texts, self._pieces.EncodeAsPieces)
        return [[number.get(piece, unknown) for piece in row] for row in rows]

    def _piece_ids(self, ids: Sequence[int]) -> list[int]:
        names = (self._names[i] for i in ids)
        return [self._known[name] for name in names if name in self._known]


def flores_code(code: str) -> str:
    """The FLORES-200 code of one of M2M100's languages; one made like it where FLORES-200 lacks it."""
    return _OTHERWISE.get(code) or find_language(code).code


def _check_numbering(vocabulary: Any) -> None:
    if not isinstance(vocabulary, Mapping) or sorted(
        i for i in vocabulary.values() if type(i) is int
    ) != list(range(len(vocabulary))):
        raise TokenizerError(
            f"{VOCABULARY_FILE} does not number its pieces from 0 on, each once and without a gap."
        )
    for i, token in enumerate(SPECIAL_TOKENS):
        if vocabulary.get(token) != i:
            raise TokenizerError(
                f"{VOCABULARY_FILE}: {token} has id {vocabulary.get(token)}, expected {i}."
            )
