"""Pairs of each direction: which file serves which direction, and what is said when none does."""

import gzip

import pytest

from workbench.tasks import Task
from workbench.text.corpus import CorpusError, ParallelCorpus
from workbench.text.pairs import Pairs, listed, pairs_of, read_pairs

EN_DE, DE_EN = Task("eng_Latn", "deu_Latn"), Task("deu_Latn", "eng_Latn")
EN_FR, FR_EN = Task("eng_Latn", "fra_Latn"), Task("fra_Latn", "eng_Latn")


def write(directory, **files):
    """Files by name, in which `_` stands for `-` and `__` for `.`."""
    for name, lines in files.items():
        name = name.replace("__", ".").replace("_", "-")
        text = "".join(f"{line}\n" for line in lines).encode()
        (directory / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)


def test_each_direction_has_its_own_lines_and_a_pair_serves_both_ways(tmp_path):
    write(tmp_path, train__en_de__en__gz=["one", "two"], train__en_de__de=["eins", "zwei"])
    write(tmp_path, train__fra_eng__fr=["un"], train__fra_eng__en=["uno"])
    pairs = read_pairs(tmp_path, "train", [DE_EN, EN_DE, EN_FR, FR_EN])
    assert pairs.direction(EN_DE) == (["one", "two"], ["eins", "zwei"])
    assert pairs.direction(DE_EN) == (["eins", "zwei"], ["one", "two"])
    assert pairs.direction(EN_FR) == (["uno"], ["un"])
    # Nothing is held twice: four texts for four directions.
    assert [code for code, _ in pairs.texts()] == ["deu_Latn", "eng_Latn", "eng_Latn", "fra_Latn"]


def test_a_file_for_the_opposite_direction_goes_first(tmp_path):
    write(tmp_path, t__en_de__en=["one"], t__en_de__de=["eins"])
    write(tmp_path, t__de_en__de=["zwei", "drei"], t__de_en__en=["two", "three"])
    pairs = read_pairs(tmp_path, "t", [EN_DE, DE_EN])
    assert pairs.direction(EN_DE) == (["one"], ["eins"])
    assert pairs.direction(DE_EN) == (["zwei", "drei"], ["two", "three"])


def test_directions_without_files_of_their_own_share_the_text(tmp_path):
    write(tmp_path, t__en=["one", "two"], t__de=["eins", "zwei"], t__fr_en__fr=["un"])
    write(tmp_path, t__fr_en__en=["uno"])
    pairs = read_pairs(tmp_path, "t", [EN_DE, FR_EN])
    assert pairs.direction(EN_DE) == (["one", "two"], ["eins", "zwei"])
    assert pairs.direction(FR_EN) == (["un"], ["uno"])
    assert read_pairs(tmp_path, "t", [EN_DE, DE_EN]).direction(DE_EN)[1] == ["one", "two"]


def test_what_is_missing_or_not_parallel_is_named(tmp_path):
    with pytest.raises(CorpusError, match=r"none is not a directory.*t\.SOURCE-TARGET\.LANGUAGE"):
        read_pairs(tmp_path / "none", "t", [EN_DE])
    with pytest.raises(CorpusError, match=r"lacks t\.eng_Latn\[\.gz\], t\.deu_Latn"):
        read_pairs(tmp_path, "t", [EN_DE])
    write(tmp_path, t__en_de__en=["one", "two"])
    with pytest.raises(
        CorpusError, match=r"has t\.en-de\.en but no t\.eng_Latn-deu_Latn\.deu_Latn"
    ):
        read_pairs(tmp_path, "t", [EN_DE])
    write(tmp_path, t__en_de__de=["eins"])
    with pytest.raises(CorpusError, match=r"t\.en-de\.en has 2 lines but .*t\.en-de\.de has 1\."):
        read_pairs(tmp_path, "t", [EN_DE])
    with pytest.raises(CorpusError, match=r"no text for fra_Latn-eng_Latn: give t\.fra_Latn-eng_L"):
        read_pairs(tmp_path, "t", [EN_DE, FR_EN])
    write(tmp_path, t__eng_deu__en=["one"])
    with pytest.raises(CorpusError, match="two files for eng_Latn of eng_Latn-deu_Latn"):
        read_pairs(tmp_path, "t", [EN_DE])


def test_the_same_text_in_all_languages_as_pairs():
    corpus = ParallelCorpus({"eng_Latn": ["one", "two"], "deu_Latn": ["eins", "zwei"]})
    pairs = pairs_of(corpus, [EN_DE])
    assert pairs.tasks == (EN_DE,)
    assert pairs.direction(EN_DE)[0] is corpus.lines["eng_Latn"]
    assert pairs.head(1).direction(EN_DE) == (["one"], ["eins"])
    with pytest.raises(CorpusError, match=r"no pairs for deu_Latn-eng_Latn\. There are for: eng_"):
        pairs.direction(DE_EN)


def test_long_lists_of_directions_are_cut():
    assert listed([EN_DE, DE_EN, EN_FR, FR_EN, EN_DE]).endswith("fra_Latn-eng_Latn and 1 more")
    assert Pairs({}).tasks == ()
