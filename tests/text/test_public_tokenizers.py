"""Tokenizers as published: M2M100's own, and `tokenizer.json` alone, against `transformers` itself."""

from __future__ import annotations

import io
import json
import shutil

import pytest
import sentencepiece

from workbench.text.hub_tokenizer import MASK, SPECIAL_TOKENS
from workbench.text.m2m100_tokenizer import LANGUAGE_CODES, M2M100Tokenizer, flores_code
from workbench.text.tokenizer import Tokenizer, TokenizerError

transformers = pytest.importorskip("transformers")

STRANGE = [
    "",
    " ",
    "A man 🎉🎉 rides",
    "Ein ཀ Hund",
    "ﬁ① ½",
    "  two  spaces",
    "x\u0301y",
    "</s> <pad>"[:3],
]


@pytest.fixture(scope="module")
def model(lines_of) -> bytes:
    """A SentencePiece BPE model that begins <unk> <s> </s>, as fairseq's do."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter([line for lines in lines_of.values() for line in lines]),
        model_writer=written,
        model_type="bpe",
        vocab_size=1200,
        character_coverage=1.0,
        minloglevel=2,
    )
    return written.getvalue()


@pytest.fixture(scope="module")
def m2m100(model, tmp_path_factory):
    """A directory as M2M100's are: ids of their own order, entries and pieces that have no counterpart."""
    path = tmp_path_factory.mktemp("m2m100")
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
    names = [pieces.IdToPiece(i) for i in range(3, len(pieces))]
    numbered = [*SPECIAL_TOKENS, "▁notapiece", "🎉🎉", *reversed(names[5:])]
    (path / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(numbered)}))
    (path / "sentencepiece.bpe.model").write_bytes(model)
    config = {"tokenizer_class": "M2M100Tokenizer", "language_codes": "m2m100"}
    (path / "tokenizer_config.json").write_text(json.dumps(config))
    return path


def test_m2m100_gives_the_same_ids_and_texts(m2m100, lines_of):
    ours, theirs = Tokenizer.load(m2m100), transformers.M2M100Tokenizer.from_pretrained(m2m100)
    assert isinstance(ours, M2M100Tokenizer)
    assert ours.vocab_size == len(theirs.encoder) + 100 + 8
    for code, iso in (("eng_Latn", "en"), ("deu_Latn", "de"), ("zho_Hans", "zh")):
        theirs.src_lang = theirs.tgt_lang = iso
        lines = [*lines_of[code], *STRANGE]
        for line, ids in zip(lines, ours.encode_sources(lines, code), strict=True):
            assert ids == theirs(line).input_ids == theirs(text_target=line).input_ids, line
            # `transformers` joins what stands around an <unk>, and shows what no piece can write.
            if ours.unk_id not in ids and "🎉" not in line:
                assert ours.decode(ids) == theirs.decode(ids[1:-1]).strip()


def test_m2m100_names_its_tokens_as_there(m2m100):
    ours, theirs = Tokenizer.load(m2m100), transformers.M2M100Tokenizer.from_pretrained(m2m100)
    first = len(theirs.encoder)
    assert [ours.token(i) for i in range(first + 100)] == theirs.convert_ids_to_tokens(
        range(first + 100)
    )
    assert ours.token(first + 107) == "madeupword7"
    assert ours.token(ours.language_id("de")) == "__de__"
    assert ours.language_id("deu_Latn") == theirs.get_lang_id("de")
    with pytest.raises(TokenizerError, match="no token"):
        ours.token(first + 108)


def test_m2m100s_languages_are_those_of_the_reference():
    from transformers.models.m2m_100.tokenization_m2m_100 import FAIRSEQ_LANGUAGE_CODES

    assert {name: list(codes) for name, codes in LANGUAGE_CODES.items()} == FAIRSEQ_LANGUAGE_CODES
    codes = [flores_code(code) for code in LANGUAGE_CODES["m2m100"]]
    assert len(set(codes)) == 100
    assert all(len(code) == 8 and code[3] == "_" for code in codes)
    some = {
        "no": "nob_Latn",
        "fa": "pes_Arab",
        "ns": "nso_Latn",
        "br": "bre_Latn",
        "zh": "zho_Hans",
    }
    assert {iso: flores_code(iso) for iso in some} == some


def test_m2m100_comes_back_from_disk_and_is_opened_there(m2m100, tmp_path, lines_of):
    ours = Tokenizer.load(m2m100)
    ours.save(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "m2m_100"}')
    again, theirs = Tokenizer.load(tmp_path), transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert type(theirs).__name__ == "M2M100Tokenizer"
    lines = lines_of["deu_Latn"]
    theirs.src_lang = "de"
    ids = ours.encode_sources(lines, "de")
    assert again.encode_sources(lines, "de") == theirs(lines).input_ids == ids
    # `decode` leaves the language out, as a translation begins with it.
    assert theirs.decode(ids[0], skip_special_tokens=True) == again.decode(ids[0])


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("vocab.json", "{", "vocab.json is damaged"),
        ("vocab.json", "[]", "holds list, not an object"),
        ("vocab.json", '{"<s>": 0, "<pad>": 2}', "from 0 on, each once and without a gap"),
        ("vocab.json", '{"a": 0, "b": 1}', "<s> has id None, expected 0"),
        ("tokenizer_config.json", '{"language_codes": "x"}', "Accepted: m2m100, wmt21"),
        ("tokenizer_config.json", '{"num_madeup_words": -1}', "num_madeup_words is -1"),
        ("tokenizer_config.json", '{"added_tokens_decoder": [1]}', "does not number its tokens"),
        (
            "tokenizer.json",
            '{"added_tokens": [{"id": 7, "content": "zebra"}]}',
            "'zebra' is an added",
        ),
        (
            "tokenizer.json",
            '{"added_tokens": [{"id": 7, "content": "__de__", "special": true}]}',
            "gives __de__ the id 7, but after its pieces it has",
        ),
        ("sentencepiece.bpe.model", "x", "SentencePiece model is damaged"),
    ],
)
def test_a_damaged_m2m100_tokenizer_is_refused(m2m100, tmp_path, file, text, says):
    for source in m2m100.iterdir():
        (tmp_path / source.name).write_bytes(source.read_bytes())
    (tmp_path / file).write_text(text)
    with pytest.raises(TokenizerError, match=says) as caught:
        Tokenizer.load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def alone(model, tmp_path_factory):
    """What `transformers` 5 saves of an NLLB tokenizer: tokenizer.json and a configuration, no model."""
    path = tmp_path_factory.mktemp("alone")
    (path / "before").mkdir()
    (path / "before" / "sentencepiece.bpe.model").write_bytes(model)
    languages = ["ces_Latn", "deu_Latn", "eng_Latn", "zho_Hans"]
    tokenizer = transformers.NllbTokenizer.from_pretrained(
        path / "before", additional_special_tokens=languages
    )
    tokenizer.save_pretrained(path)
    assert not (path / "sentencepiece.bpe.model").exists()
    return path


def test_tokenizer_json_alone_gives_the_same_ids(alone, lines_of, tmp_path):
    ours, theirs = Tokenizer.load(alone), transformers.AutoTokenizer.from_pretrained(alone)
    assert ours.languages == ("ces_Latn", "deu_Latn", "eng_Latn", "zho_Hans")
    assert ours.vocab_size == len(theirs)
    theirs.src_lang = "deu_Latn"
    lines = [line for lines in lines_of.values() for line in lines]
    lines += [line for line in STRANGE if line.strip() == line and "\u0301" not in line]
    ids = ours.encode_sources(lines, "deu_Latn")
    assert ids == theirs(lines).input_ids
    for row in ids[:50]:
        assert ours.decode(row) == theirs.decode(row, skip_special_tokens=True).strip()
    ours.save(tmp_path)  # and from then on there is a model again
    assert (tmp_path / "sentencepiece.bpe.model").exists()
    assert Tokenizer.load(tmp_path).encode_sources(lines, "deu_Latn") == ids
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path, src_lang="deu_Latn")
    assert theirs(lines).input_ids == ids


def test_our_own_tokenizer_json_alone_gives_the_same_ids(tokenizer, lines_of, tmp_path):
    tokenizer.save(tmp_path)
    (tmp_path / "sentencepiece.bpe.model").unlink()
    again = Tokenizer.load(tmp_path)
    assert again.languages == tokenizer.languages
    for code, lines in lines_of.items():
        assert again.encode_sources(lines, code) == tokenizer.encode_sources(lines, code)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t["model"].update(type="Unigram"), "type is 'Unigram', not 'BPE'"),
        (lambda t: t["model"].update(unk_token=None), "unk_token is None"),
        (lambda t: t["model"].update(byte_fallback=True), "falls back to bytes"),
        (lambda t: t["model"]["merges"].pop(), "are not those of a SentencePiece model"),
        (lambda t: t["model"]["merges"].append(t["model"]["merges"][0]), "are not those"),
        (lambda t: t["model"]["vocab"].update({"<s>": 1}), "'<s>' has id 1 where 0 is expected"),
        (lambda t: t["added_tokens"].pop(4), "where .* is expected"),
        (lambda t: t.update(normalizer={"type": "NFC"}), "normaliser .* not SentencePiece's"),
        (lambda t: t.update(pre_tokenizer={"type": "ByteLevel"}), "ByteLevel"),
        (lambda t: t.pop("model"), "is damaged"),
        (lambda t: t.update(added_tokens=[7]), "is damaged"),
        (lambda t: t["normalizer"]["normalizers"][0].update(precompiled_charsmap="?"), "charsmap"),
    ],
)
def test_a_tokenizer_json_of_another_kind_is_refused(alone, tmp_path, change, says):
    table = json.loads((alone / "tokenizer.json").read_text())
    change(table)
    (tmp_path / "tokenizer.json").write_text(json.dumps(table))
    with pytest.raises(TokenizerError, match=says) as caught:
        Tokenizer.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_tokenizer_json_that_is_cut_short_is_refused(alone, tmp_path):
    text = (alone / "tokenizer.json").read_text()
    (tmp_path / "tokenizer.json").write_text(text[: len(text) // 2])
    with pytest.raises(TokenizerError, match="is damaged"):
        Tokenizer.load(tmp_path)


def test_a_tokenizer_json_without_languages_is_refused(alone, tmp_path):
    table = json.loads((alone / "tokenizer.json").read_text())
    basic = (*SPECIAL_TOKENS, MASK)
    kept = [token for token in table["added_tokens"] if token["content"] in basic]
    kept[-1]["id"] = len(table["model"]["vocab"])
    table["added_tokens"] = kept
    (tmp_path / "tokenizer.json").write_text(json.dumps(table))
    with pytest.raises(TokenizerError, match="no language codes"):
        Tokenizer.load(tmp_path)


# What was added to a published tokenizer.


@pytest.fixture(scope="module")
def grown(tokenizer, tmp_path_factory):
    """A tokenizer with a language that was added after its mask, as `transformers` saves it, and its model."""
    path = tmp_path_factory.mktemp("grown")
    tokenizer.save(path / "before")
    theirs = transformers.AutoTokenizer.from_pretrained(
        path / "before", extra_special_tokens=[*tokenizer.languages, "myv_Cyrl"]
    )
    theirs.save_pretrained(path / "it")
    shutil.copy(path / "before" / "sentencepiece.bpe.model", path / "it")
    return path / "it"


@pytest.mark.parametrize("version", [4, 5])
def test_a_language_that_was_added_after_the_mask_has_the_id_that_was_trained(
    grown, tokenizer, version, tmp_path
):
    theirs = transformers.AutoTokenizer.from_pretrained(grown)
    path = shutil.copytree(grown, tmp_path / "it")
    if version == 4:  # whose configuration numbers them itself
        config = json.loads((path / "tokenizer_config.json").read_text())
        config["additional_special_tokens"] = config.pop("extra_special_tokens")
        config["added_tokens_decoder"] = {
            str(i): {"content": token.content, "special": token.special}
            for i, token in reversed(theirs.added_tokens_decoder.items())
        }
        (path / "tokenizer_config.json").write_text(json.dumps(config))
        (path / "tokenizer.json").unlink()
    ours = Tokenizer.load(path)
    assert ours.languages == (*tokenizer.languages, "myv_Cyrl")
    assert ours.vocab_size == len(theirs)
    for i in range(ours.vocab_size):
        assert ours.token(i) == theirs.convert_ids_to_tokens(i)
    assert ours.language_id("myv_Cyrl") == theirs.convert_tokens_to_ids("myv_Cyrl")
    ours.save(tmp_path / "again")
    again = Tokenizer.load(tmp_path / "again")
    assert again.same_as(ours)
    assert not again.same_as(Tokenizer(ours._model, ours.languages))  # the mask last


def test_a_model_and_a_numbering_of_two_tokenizers_are_refused(grown, model, tmp_path):
    path = shutil.copytree(grown, tmp_path / "it")
    (path / "sentencepiece.bpe.model").write_bytes(model)
    with pytest.raises(TokenizerError, match=r"gives \w+ the id \d+, but after its pieces it has"):
        Tokenizer.load(path)


@pytest.mark.parametrize(
    "files", [("tokenizer.json",), ("tokenizer.json", "model"), ("decoder", "model")]
)
def test_an_added_word_is_refused(files, tokenizer, tmp_path):
    """`transformers` cuts it out of texts, whatever pieces it has."""
    path, word = tmp_path / "it", {"id": tokenizer.vocab_size, "content": "zebra", "special": False}
    tokenizer.save(path)
    if "model" not in files:
        (path / "sentencepiece.bpe.model").unlink()
    name = "tokenizer_config.json" if "decoder" in files else "tokenizer.json"
    table = json.loads((path / name).read_text())
    if "decoder" in files:
        table["added_tokens_decoder"] = {"9000": word}
    else:
        table["added_tokens"].append(word)
    (path / name).write_text(json.dumps(table))
    with pytest.raises(TokenizerError, match=f"{name}: 'zebra' is an added word"):
        Tokenizer.load(path)


def test_a_tokenizer_that_puts_the_language_last_is_refused(alone, tmp_path):
    path = shutil.copytree(alone, tmp_path / "it")
    config = json.loads((path / "tokenizer_config.json").read_text())
    (path / "tokenizer_config.json").write_text(json.dumps(config | {"legacy_behaviour": True}))
    theirs = transformers.AutoTokenizer.from_pretrained(path, src_lang="deu_Latn")
    assert theirs("Ein Hund").input_ids[-1] == theirs.convert_tokens_to_ids("deu_Latn")
    with pytest.raises(TokenizerError, match="legacy_behaviour is True"):
        Tokenizer.load(path)


def test_m2m100_tokenizers_of_other_numbers_are_not_the_same(m2m100, tmp_path):
    ours = Tokenizer.load(m2m100)
    assert ours.same_as(Tokenizer.load(m2m100))
    path = shutil.copytree(m2m100, tmp_path / "it")
    numbers = json.loads((path / "vocab.json").read_text())
    first, second = list(numbers)[10:12]
    numbers[first], numbers[second] = numbers[second], numbers[first]
    (path / "vocab.json").write_text(json.dumps(numbers))
    assert not Tokenizer.load(path).same_as(ours)
