import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.tasks import Task
from workbench.text.corpus import (
    CorpusError,
    CorpusWarning,
    ParallelCorpus,
    read_lines,
    read_parallel,
    read_tsv,
    split_lines,
)

EN_DE = Task("eng_Latn", "deu_Latn")
one_line = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]))


def write(path, text):
    data = text.encode() if isinstance(text, str) else text
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_lines_are_read_plain_or_compressed(tmp_path, name):
    path = write(tmp_path / name, "one\n\nthree \r\nfour")
    assert read_lines(path) == ["one", "", "three ", "four"]


def test_an_empty_file_has_no_lines():
    assert split_lines(b"", "a") == []
    assert split_lines(b"\n", "a") == [""]


def test_only_line_feeds_end_a_line():
    text = "a\u2028b\u2029c\x85d\x0be\x0cf\rg"
    assert split_lines(f"{text}\nnext\n".encode(), "a") == [text, "next"]


def test_a_byte_order_mark_is_dropped_and_another_encoding_is_named(tmp_path):
    assert split_lines("\ufeffone\n".encode(), "a") == ["one"]
    with pytest.raises(CorpusError, match=r"a\.txt is UTF-16 .* Save it as UTF-8"):
        split_lines("one\n".encode("utf-16"), "a.txt")


def test_a_bad_line_is_repaired_and_reported_with_its_number():
    with pytest.warns(CorpusWarning, match=r"a\.txt: not UTF-8 in lines 2, 4; .* U\+FFFD"):
        lines = split_lines("one\nzw\xf6lf\nthree\nsch\xf6n".encode("latin-1"), "a.txt")
    assert lines == ["one", "zw\ufffdlf", "three", "sch\ufffdn"]


def test_many_bad_lines_make_one_short_warning():
    with pytest.warns(CorpusWarning, match="lines 1, 2, 3, 4, 5 and 95 more") as caught:
        assert len(split_lines(b"\xff\n" * 100, "a")) == 100
    assert len(caught) == 1


@given(st.lists(one_line.filter(lambda line: not line.endswith("\r"))))
def test_lines_come_back_as_they_were_written(lines):
    data = "".join(f"{line}\n" for line in lines).encode()
    if not data.startswith(b"\xef\xbb\xbf"):
        assert split_lines(data, "a") == lines


@pytest.mark.filterwarnings("ignore::workbench.text.corpus.CorpusWarning")
@given(st.lists(st.binary().filter(lambda row: b"\n" not in row)), one_line)
def test_no_bad_line_fails_a_file_or_moves_a_good_one(rows, good):
    rows = [good.encode(), *rows, good.encode()]
    lines = split_lines(b"x\n" + b"\n".join(rows) + b"\n", "a")
    assert len(lines) == len(rows) + 1
    assert lines[1] == lines[-1] == good.removesuffix("\r")


def test_what_cannot_be_read_is_one_clear_error(tmp_path):
    with pytest.raises(CorpusError, match=r"Cannot read .*none\.en: No such file"):
        read_lines(tmp_path / "none.en")
    with pytest.raises(CorpusError, match=r"Cannot read .*: Is a directory"):
        read_lines(tmp_path)
    whole = gzip.compress(b"one\n" * 1000)
    for data in (whole[:-9], whole[:12] + b"\0" * 9 + whole[21:], b"one\n"):
        (tmp_path / "cut.gz").write_bytes(data)
        with pytest.raises(CorpusError, match="not a whole gzip file"):
            read_lines(tmp_path / "cut.gz")


def test_a_table_without_a_header_is_told_what_its_first_line_is_for(tmp_path):
    file = write(tmp_path / "a.tsv", "Two dogs.\tZwei Hunde.\n")
    with pytest.raises(CorpusError, match=r"a\.tsv, line 1: .* must name the language of each"):
        read_tsv(file)


def test_a_parallel_corpus_is_found_under_any_alias(tmp_path):
    write(tmp_path / "train.en.gz", "one\ntwo\n")
    write(tmp_path / "train.deu_Latn", "eins\nzwei\n")
    write(tmp_path / "train.French.txt", "un\ndeux\n")
    write(tmp_path / "train.log", "not a language\n")
    write(tmp_path / "val.en", "three\n")
    corpus = read_parallel(tmp_path, "train")
    assert set(corpus.languages) == {"eng_Latn", "deu_Latn", "fra_Latn"}
    assert len(corpus) == 2
    assert len(corpus.tasks) == 6
    assert corpus.direction(EN_DE) == (["one", "two"], ["eins", "zwei"])
    chosen = read_parallel(tmp_path, "train", ["de", "English"])
    assert chosen.languages == ("deu_Latn", "eng_Latn")


def test_a_file_means_the_script_that_is_asked_for(tmp_path):
    write(tmp_path / "train.zh", "一\n")
    write(tmp_path / "train.en", "one\n")
    assert "zho_Hans" in read_parallel(tmp_path, "train").languages
    assert "zho_Hant" in read_parallel(tmp_path, "train", ["zho_Hant", "en"]).languages


def test_what_is_not_parallel_is_named(tmp_path):
    write(tmp_path / "train.en", "one\ntwo\n")
    write(tmp_path / "train.de", "eins\n")
    with pytest.raises(CorpusError, match=r"train\.\w+ has \d lines but .*train\.\w+ has \d\."):
        read_parallel(tmp_path, "train")
    with pytest.raises(CorpusError, match=r"lacks train\.fra_Latn\[\.gz\] .* in: .*eng_Latn"):
        read_parallel(tmp_path, "train", ["en", "fr"])
    with pytest.raises(
        CorpusError, match=r"as train\.ja, .*Japanese\)\. .* in: deu_Latn, eng_Latn\."
    ):
        read_parallel(tmp_path, "train", ["en", "ja"])
    with pytest.raises(CorpusError, match=r"lacks test\.LANGUAGE"):
        read_parallel(tmp_path, "test")
    with pytest.raises(CorpusError, match="is not a directory"):
        read_parallel(tmp_path / "none", "train")
    write(tmp_path / "train.eng_Latn", "one\ntwo\n")
    with pytest.raises(CorpusError, match=r"two files for eng_Latn: train\.en and train\.eng_Latn"):
        read_parallel(tmp_path, "train")


def test_a_corpus_without_a_line_is_an_error(tmp_path):
    for name in ("test.en", "test.de"):
        (tmp_path / name).touch()
    with pytest.raises(CorpusError, match=r"has no line of text in test\.de, test\.en\.$"):
        read_parallel(tmp_path, "test")
    with pytest.raises(CorpusError, match=r"has no line of text below its first\.$"):
        read_tsv(write(tmp_path / "a.tsv", "en\tde\n"))


def test_a_direction_that_is_not_there_is_named():
    corpus = ParallelCorpus({"eng_Latn": ["one"], "fra_Latn": ["un"]})
    with pytest.raises(CorpusError, match=r"no deu_Latn, .*It has: eng_Latn, fra_Latn"):
        corpus.direction(EN_DE)


def test_a_table_is_read_by_its_head_or_by_given_columns(tmp_path):
    rows = 'one "two\teins\nthree\tdrei\n'
    path = write(tmp_path / "a.tsv", f"en\tGerman\n{rows}")
    expected = {"eng_Latn": ['one "two', "three"], "deu_Latn": ["eins", "drei"]}
    assert read_tsv(path).lines == expected
    assert read_tsv(write(tmp_path / "b.tsv.gz", rows), ["eng_Latn", "de"]).lines == expected


def test_a_bad_row_is_left_out_and_reported_with_its_number(tmp_path):
    path = write(
        tmp_path / "a.tsv", "en\tde\none\teins\ntwo\nthree\t \nfour\tvier\tx\nfive\tfünf\n"
    )
    with pytest.warns(CorpusWarning, match="left out lines 3, 4, 5"):
        corpus = read_tsv(path)
    assert corpus.lines == {"eng_Latn": ["one", "five"], "deu_Latn": ["eins", "fünf"]}


@pytest.mark.parametrize("text", ["", "en\n", "en\teng_Latn\na\tb\n"])
def test_a_table_without_two_languages_is_an_error(tmp_path, text):
    with pytest.raises(CorpusError, match="columns"):
        read_tsv(write(tmp_path / "a.tsv", text))
