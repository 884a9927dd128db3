"""Our ids against those of `transformers` and `tokenizers`, which are the reference."""

import io
import json
import os
import random

import pytest
import sentencepiece

from workbench.text.corpus import read_parallel
from workbench.text.hub_tokenizer import MASK
from workbench.text.tokenizer import Tokenizer

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

SPACES = " \t\xa0\u3000\u2009\u200b\ufeff\u2028\x0b\r\n\u1680\x85"
EMOJI = ["👩‍👩‍👧‍👦", "🇩🇪", "👍🏽", "❤️", "☕", "1️⃣", "🎉"]
INVALID = ["\ufffd", "\0", "\x01", "\x7f", "\uffff", "\U0010ffff", "\u202e", "\ue000"]
REWRITTEN = ["ﬁ", "①", "㈱", "ｶﾞ", "½", "…", "™", "e\u0301", "u\u0308", "각", "ﷺ", "Ａ"]


@pytest.fixture(scope="module")
def directory(tokenizer, tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save(path)
    return path


@pytest.fixture(scope="module")
def reference(directory):
    return transformers.AutoTokenizer.from_pretrained(directory)


def assert_same(tokenizer, reference, lines, code):
    ours = tokenizer.encode_sources(lines, code)
    reference.src_lang = reference.tgt_lang = code
    for theirs in (reference(lines).input_ids, reference(text_target=lines).input_ids):
        differing = [
            (line, [tokenizer.token(i) for i in a], reference.convert_ids_to_tokens(b))
            for line, a, b in zip(lines, ours, theirs, strict=True)
            if a != b
        ]
        assert not differing
    for ids in ours:
        assert tokenizer.decode(ids) == reference.decode(ids, skip_special_tokens=True).strip()


def strange_lines(kind, count=300):
    """Lines of known words and of strange characters, without a space at either end."""
    choose = random.Random(0)
    words = ["man", "Hund", "el", ".", "一个", "Жінка", "ولد"]
    return [
        "".join(choose.choice([*words, *kind, " "]) for _ in range(choose.randint(1, 12))) + "a"
        for _ in range(count)
    ]


@pytest.mark.parametrize("model_type", [None, "m2m_100", "nllb-moe"])
def test_transformers_opens_it_with_the_same_vocabulary(directory, tokenizer, tmp_path, model_type):
    tokenizer.save(tmp_path)
    if model_type:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    reference = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert isinstance(reference, transformers.NllbTokenizer)
    assert len(reference) == tokenizer.vocab_size
    ids = range(tokenizer.vocab_size)
    assert reference.convert_ids_to_tokens(ids) == [tokenizer.token(i) for i in ids]
    assert (reference.bos_token_id, reference.pad_token_id) == (0, 1)
    assert (reference.eos_token_id, reference.unk_token_id) == (2, 3)
    assert reference.mask_token == MASK


def test_captions_have_the_same_ids(tokenizer, reference, lines_of):
    for code, lines in lines_of.items():
        assert_same(tokenizer, reference, lines, code)


@pytest.mark.parametrize("kind", [SPACES, EMOJI, INVALID, REWRITTEN, "ab", "▁_<>/\\\"'"])
def test_strange_lines_have_the_same_ids(tokenizer, reference, kind):
    assert_same(tokenizer, reference, strange_lines(kind), "eng_Latn")


def test_lines_of_any_known_characters_have_the_same_ids(tokenizer, reference, lines_of):
    choose = random.Random(0)
    characters = sorted({c for lines in lines_of.values() for line in lines for c in line} - {" "})
    lines = ["".join(choose.choices(characters, k=choose.randint(1, 30))) for _ in range(500)]
    assert_same(tokenizer, reference, lines, "deu_Latn")


def test_transformers_differs_only_where_the_tokenizer_says_so(tokenizer, reference):
    """When `transformers` mends its ways, this fails: then mend the docstring of `Tokenizer`."""
    reference.src_lang = "eng_Latn"
    plain = tokenizer.encode_source("A man", "en")
    space = reference.convert_tokens_to_ids("▁")
    assert tokenizer.encode_source("A man ", "en") == plain
    assert reference("A man ").input_ids == [*plain[:-1], space, tokenizer.eos_id]
    assert tokenizer.encode_source("1\u0308", "en")[-2] == tokenizer.unk_id
    assert reference("①\u0308").input_ids == tokenizer.encode_source("1", "en")
    assert reference("</s>").input_ids[1:] == [tokenizer.eos_id] * 2


def test_the_rust_tokenizer_agrees_on_spaces_too(tokenizer, directory):
    rust = tokenizers.Tokenizer.from_file(str(directory / "tokenizer.json"))
    lines = ["", " ", " A man ", "\tA  man\u3000", *strange_lines(SPACES)]
    lines += [f"\x85{line}\n" for line in lines]
    assert [encoding.ids for encoding in rust.encode_batch(lines)] == tokenizer.encode_sources(
        lines, "eng_Latn"
    )


@pytest.fixture(scope="module")
def published(lines_of, tmp_path_factory):
    """A directory as NLLB's are published: pieces numbered from <unk>, no tokenizer.json."""
    path = tmp_path_factory.mktemp("published")
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter([line for lines in lines_of.values() for line in lines]),
        model_writer=model,
        model_type="bpe",
        vocab_size=1500,
        character_coverage=1.0,
        minloglevel=2,
    )
    (path / "sentencepiece.bpe.model").write_bytes(model.getvalue())
    config = {"tokenizer_class": "NllbTokenizer", "src_lang": None, "mask_token": MASK}
    (path / "tokenizer_config.json").write_text(json.dumps(config))
    languages = {"additional_special_tokens": ["zho_Hans", "eng_Latn", "deu_Latn"]}
    (path / "special_tokens_map.json").write_text(json.dumps(languages))
    return path


def test_a_published_checkpoint_has_the_same_pieces(published, lines_of, tmp_path):
    tokenizer = Tokenizer.load(published)
    assert tokenizer.languages == ("zho_Hans", "eng_Latn", "deu_Latn")
    assert tokenizer.vocab_size == 1 + 1500 + 3 + 1
    assert tokenizer.token(1501) == "zho_Hans"
    reference = transformers.NllbTokenizer.from_pretrained(published)
    for lines in (*lines_of.values(), ["🎉 A man 🎉", "Ein ཀ Hund"]):
        ours, theirs = tokenizer.encode_sources(lines, "en"), reference(lines).input_ids
        assert [ids[1:] for ids in ours] == [ids[1:] for ids in theirs]
    tokenizer.save(tmp_path)  # as a part cut out of the checkpoint is saved
    rewritten = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert Tokenizer.load(tmp_path).languages == tokenizer.languages
    assert_same(Tokenizer.load(tmp_path), rewritten, lines_of["eng_Latn"], "deu_Latn")


@pytest.mark.skipif("MULTI30K" not in os.environ, reason="MULTI30K names no directory of Multi30k")
def test_the_validation_lines_of_multi30k_have_the_same_ids(tmp_path):
    languages = ["en", "de", "fr", "cs", "es", "uk", "ar", "zh"]
    train = read_parallel(os.environ["MULTI30K"], "train", languages)
    lines = [line for code in train.languages for line in train.lines[code]]
    Tokenizer.train(lines, 8192, languages).save(tmp_path)
    tokenizer = Tokenizer.load(tmp_path)
    reference = transformers.AutoTokenizer.from_pretrained(tmp_path)
    val = read_parallel(os.environ["MULTI30K"], "val", languages)
    for code in val.languages:
        assert_same(tokenizer, reference, [line.strip() for line in val.lines[code]], code)
