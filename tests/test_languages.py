import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.errors import WorkbenchError
from workbench.languages import LANGUAGES, UnknownLanguageError, find_language
from workbench.tasks import parse_task

CODES = [language.code for language in LANGUAGES]
languages = st.sampled_from(LANGUAGES)


def test_there_are_the_202_languages_of_nllb():
    nllb = pytest.importorskip("transformers.models.nllb.tokenization_nllb")
    assert sorted(nllb.FAIRSEQ_LANGUAGE_CODES) == CODES
    assert len(set(CODES)) == 202


def test_codes_names_and_scripts_are_well_formed():
    assert len({language.name for language in LANGUAGES}) == len(LANGUAGES)
    for language in LANGUAGES:
        assert language.code == f"{language.iso639_3}_{language.script}"
        assert len(language.iso639_3) == 3
        assert language.iso639_1 is None or len(language.iso639_1) == 2


@pytest.mark.parametrize("language", LANGUAGES, ids=CODES)
def test_every_code_and_name_finds_its_own_language(language):
    assert find_language(language.code) == language
    assert find_language(language.name) == language
    assert find_language(language.iso639_3).iso639_3 == language.iso639_3
    assert find_language(language.iso639_3, among=[language.code]) == language
    if language.iso639_1:
        assert find_language(language.iso639_1, among=[language.code]) == language


@given(languages, st.sampled_from([str.upper, str.lower, str.title, str.swapcase]))
def test_case_space_and_accents_do_not_matter(language, written):
    assert find_language(f" {written(language.code)} ") == language
    assert find_language(written(language.code).replace("_", "-")) == language
    assert find_language(written(language.name)) == language
    assert find_language(unicodedata.normalize("NFD", language.name)) == language


@pytest.mark.parametrize(
    ("alias", "code"),
    [
        ("en", "eng_Latn"),
        ("deu", "deu_Latn"),
        ("Farsi", "pes_Arab"),
        ("zh", "zho_Hans"),
        ("Chinese", "zho_Hans"),
        ("zh_Hant", "zho_Hant"),
        ("ar", "arb_Arab"),
        ("ara", "arb_Arab"),
        ("sr", "srp_Cyrl"),
        ("no", "nob_Latn"),
        ("ku", "kmr_Latn"),
        ("fa", "pes_Arab"),
        ("az", "azj_Latn"),
        ("ks", "kas_Arab"),
        ("kr", "knc_Latn"),
        ("ace", "ace_Latn"),
        ("qu", "quy_Latn"),
        ("gn", "grn_Latn"),
        ("ay", "ayr_Latn"),
        ("sw", "swh_Latn"),
        ("Kabiye", "kbp_Latn"),
        ("norwegian bokmal", "nob_Latn"),
        ("zh-CN", "zho_Hans"),
        ("zh_tw", "zho_Hant"),
        ("zh-HK", "zho_Hant"),
        ("pt-BR", "por_Latn"),
        ("es-419", "spa_Latn"),
    ],
)
def test_an_alias_means_the_commonest(alias, code):
    assert find_language(alias).code == code


def test_a_direction_is_no_language_with_a_region():
    with pytest.raises(UnknownLanguageError):
        find_language("en-de")
    assert str(parse_task("en-zh-CN")) == "eng_Latn-zho_Hans"


def test_every_two_letter_code_means_one_language_of_its_own():
    for iso639_1 in {language.iso639_1 for language in LANGUAGES if language.iso639_1}:
        assert find_language(iso639_1).iso639_1 == iso639_1


def test_an_alias_means_what_the_checkpoint_has():
    assert find_language("zh", among=["eng_Latn", "zho_Hant"]).code == "zho_Hant"
    assert find_language("ar", among=["ary_Arab", "arz_Arab"]).code == "arz_Arab"
    assert find_language("zh", among=["zho_Hant", "zho_Hans"]).code == "zho_Hans"


def test_a_checkpoint_may_have_codes_of_its_own():
    language = find_language("TOY_latn", among=["eng_Latn", "toy_Latn"])
    assert (language.code, language.name, language.script) == ("toy_Latn", "toy_Latn", "Latn")


def test_right_to_left():
    written = {code: find_language(code).right_to_left for code in ["ar", "he", "ur", "ydd", "en"]}
    assert written == {"ar": True, "he": True, "ur": True, "ydd": True, "en": False}
    assert not find_language("taq_Tfng").right_to_left
    assert not find_language("zh").right_to_left


def test_the_error_names_what_is_there_and_what_was_meant():
    with pytest.raises(UnknownLanguageError) as caught:
        find_language("ger", among=["eng_Latn", "deu_Latn"])
    assert str(caught.value) == (
        "Unknown language 'ger'. This checkpoint translates: eng_Latn, deu_Latn. "
        "Did you mean deu_Latn?"
    )
    with pytest.raises(UnknownLanguageError, match="Did you mean deu_Latn"):
        find_language("Germann")
    for written, code in (("Deutsch", "deu_Latn"), ("Español", "spa_Latn"), ("ua", "ukr_Cyrl")):
        with pytest.raises(UnknownLanguageError, match=f"Did you mean {code}"):
            find_language(written)
    with pytest.raises(
        UnknownLanguageError, match=r"Polish \(pol_Latn\) is not a language of this"
    ):
        find_language("pl", among=["eng_Latn", "deu_Latn"])
    with pytest.raises(UnknownLanguageError, match="and 186 more"):
        find_language("xx", among=CODES)
    assert issubclass(UnknownLanguageError, WorkbenchError)


@given(st.text(), st.none() | st.lists(st.sampled_from(CODES), max_size=4))
def test_any_text_is_a_language_or_a_one_line_error(text, among):
    try:
        message = ""
        code = find_language(text, among).code
    except UnknownLanguageError as error:
        message, code = str(error), None
    assert len(message.splitlines()) == 1 or code in (CODES if among is None else among)
