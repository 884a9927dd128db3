import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.languages import UnknownLanguageError
from workbench.text.tokenizer import CONFIG_FILE, HUB_FILE, MODEL_FILE, Tokenizer, TokenizerError


def test_ids_are_numbered_as_in_nllb(tokenizer):
    assert [tokenizer.token(i) for i in range(4)] == ["<s>", "<pad>", "</s>", "<unk>"]
    special = (tokenizer.bos_id, tokenizer.pad_id, tokenizer.eos_id, tokenizer.unk_id)
    assert special == (0, 1, 2, 3)
    assert tokenizer.vocab_size == 2000
    assert [tokenizer.token(i) for i in range(1991, 2000)] == [*tokenizer.languages, "<mask>"]
    assert tokenizer.languages == tuple(sorted(tokenizer.languages))
    assert len({tokenizer.token(i) for i in range(2000)}) == 2000


def test_a_language_is_known_by_any_of_its_names(tokenizer):
    expected = 1991 + tokenizer.languages.index("deu_Latn")
    assert {tokenizer.language_id(name) for name in ("deu_Latn", "de", "German")} == {expected}
    with pytest.raises(UnknownLanguageError, match="Polish"):
        tokenizer.encode_source("tak", "pl")


def test_a_text_lies_between_its_language_and_the_end(tokenizer):
    ids = tokenizer.encode_source("A man.", "en")
    assert [tokenizer.token(i) for i in ids] == ["eng_Latn", "▁A", "▁man", ".", "</s>"]
    assert tokenizer.encode_target("A man.", "fr") == [tokenizer.language_id("fr"), *ids[1:]]
    assert tokenizer.encode_source("", "en") == [tokenizer.language_id("en"), tokenizer.eos_id]
    assert tokenizer.encode_source(" \t\u3000", "en") == tokenizer.encode_source("", "en")


def test_many_texts_are_encoded_as_each_alone(tokenizer, lines_of):
    for code, lines in lines_of.items():
        assert tokenizer.encode_sources(lines, code) == [
            tokenizer.encode_source(line, code) for line in lines
        ]
        assert tokenizer.encode_targets(lines, code) == tokenizer.encode_sources(lines, code)
    assert tokenizer.encode_sources([], "en") == []


def test_captions_come_back_whole(tokenizer, lines_of):
    for code, lines in lines_of.items():
        for line, ids in zip(lines, tokenizer.encode_sources(lines, code), strict=True):
            assert tokenizer.unk_id not in ids
            assert tokenizer.decode(ids) == " ".join(unicodedata.normalize("NFKC", line).split())


@given(data=st.data())
def test_text_of_known_characters_comes_back_normalised(tokenizer, lines_of, data):
    known = {
        c for lines in lines_of.values() for c in unicodedata.normalize("NFKC", "".join(lines))
    }
    text = data.draw(st.text(st.sampled_from(sorted(known))))
    normalised = " ".join(unicodedata.normalize("NFKC", text).split())
    assert tokenizer.decode(tokenizer.encode_source(text, "en")) == normalised


@given(text=st.text(st.characters()))  # half characters too
def test_any_text_becomes_ids_that_come_back_as_themselves(tokenizer, text):
    ids = tokenizer.encode_target(text, "zh")
    assert (ids[0], ids[-1]) == (tokenizer.language_id("zho_Hans"), tokenizer.eos_id)
    assert all(tokenizer.unk_id <= i < tokenizer.language_id("arb_Arab") for i in ids[1:-1])
    if tokenizer.unk_id not in ids:
        assert tokenizer.encode_target(tokenizer.decode(ids), "zh") == ids


@pytest.mark.parametrize("unknown", ["👩‍👩‍👧‍👦", "🇩🇪", "❤️", "ཀ", "\ud83d", "\U0010ffff", "𝕏🎉"])
def test_unknown_characters_leave_the_rest_of_a_sentence(tokenizer, unknown):
    ids = tokenizer.encode_source(f"A man {unknown} sits {unknown}.", "en")
    assert "A man" in tokenizer.decode(ids)
    assert " sits" in tokenizer.decode(ids)
    assert tokenizer.decode(ids).endswith(".")


def test_special_tokens_are_never_read_out_of_a_text(tokenizer):
    ids = tokenizer.encode_source("</s> <pad> deu_Latn <mask>", "en")
    assert all(2 < i < tokenizer.language_id("arb_Arab") for i in ids[1:-1])


def test_decoding_leaves_out_whatever_is_no_piece(tokenizer):
    ids = tokenizer.encode_source("A man.", "en")
    assert tokenizer.decode([0, 1, 3, *ids, 1, 1999, 2000, 10**6]) == "A man."
    assert tokenizer.decode([]) == ""
    for i in (-1, 2000):
        with pytest.raises(TokenizerError, match=r"ids 0 to 1999"):
            tokenizer.token(i)


def test_the_same_lines_give_the_same_tokenizer(tokenizer, lines_of, tmp_path):
    lines = (line for lines in lines_of.values() for line in lines)
    Tokenizer.train(lines, 2000, ["en", "de", "fr", "cs", "es", "uk", "ar", "zh"]).save(tmp_path)
    tokenizer.save(tmp_path / "other")
    for path in (tmp_path / "other").iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_training_is_quiet(lines_of, capfd):
    Tokenizer.train(lines_of["eng_Latn"], 300, ["en"])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("lines", "size", "reason"),
    [
        ([], 100, "no text"),
        ([" "], 100, "no text"),
        (["one two"], 1000, "too high"),
        (["a man walks over a bridge"], 10, "smaller than required_chars"),
    ],
)
def test_an_impossible_vocabulary_is_one_clear_error(lines, size, reason):
    with pytest.raises(TokenizerError, match=reason) as caught:
        Tokenizer.train(lines, size, ["en"])
    assert len(str(caught.value).splitlines()) == 1


def test_a_saved_tokenizer_is_loaded_without_its_json(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "new" / "place")
    (tmp_path / "new" / "place" / "tokenizer.json").unlink()
    loaded = Tokenizer.load(tmp_path / "new" / "place")
    assert (loaded.languages, loaded.vocab_size) == (tokenizer.languages, tokenizer.vocab_size)
    assert loaded.encode_source("Zwei Hunde.", "de") == tokenizer.encode_source("Zwei Hunde.", "de")


@pytest.mark.parametrize(
    ("file", "data", "reason"),
    [
        (MODEL_FILE, None, f"Cannot read .*{MODEL_FILE}: No such file"),
        (MODEL_FILE, b"", "damaged"),
        (MODEL_FILE, b"\x0a\xff half a model", "damaged"),
        (CONFIG_FILE, None, "lists no languages"),
        (CONFIG_FILE, b"{}", "lists no languages"),
        (CONFIG_FILE, b"{", f"{CONFIG_FILE} is damaged"),
        (CONFIG_FILE, b"[1]", f"{CONFIG_FILE} is damaged"),
        (CONFIG_FILE, b"\xff", f"{CONFIG_FILE} is damaged"),
        (CONFIG_FILE, b'{"extra_special_tokens": [1]}', f"{CONFIG_FILE} is damaged"),
        (CONFIG_FILE, b'{"extra_special_tokens": null}', f"{CONFIG_FILE} is damaged"),
    ],
)
def test_a_missing_or_damaged_file_is_one_clear_error(tokenizer, tmp_path, file, data, reason):
    tokenizer.save(tmp_path)
    (tmp_path / HUB_FILE).unlink()  # which could stand in for the model
    if data is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_bytes(data)
    with pytest.raises(TokenizerError, match=reason) as caught:
        Tokenizer.load(tmp_path)
    assert len(str(caught.value).splitlines()) == 1


def test_a_model_of_another_kind_is_named(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    model = (tmp_path / MODEL_FILE).read_bytes()
    (tmp_path / MODEL_FILE).write_bytes(model.replace(b"<pad>", b"<PAD>"))
    with pytest.raises(TokenizerError, match=r"begins with <s> <PAD> </s> <unk>; accepted"):
        Tokenizer.load(tmp_path)


def test_the_configuration_is_plain_json(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    config = json.loads((tmp_path / CONFIG_FILE).read_text(encoding="utf-8"))
    assert config["tokenizer_class"] == "NllbTokenizer"
    assert tuple(config["extra_special_tokens"]) == tokenizer.languages
    assert config["src_lang"] == "eng_Latn"
