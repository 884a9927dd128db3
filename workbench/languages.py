"""The languages of FLORES-200 as NLLB writes them, and how a person may write them."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from workbench.errors import WorkbenchError

_RIGHT_TO_LEFT_SCRIPTS = frozenset({"Arab", "Hebr", "Syrc", "Thaa", "Nkoo", "Adlm"})
_LISTED_IN_ERRORS = 16  # codes; a checkpoint of 202 languages must not fill the screen


class UnknownLanguageError(WorkbenchError):
    """No language, or none of the checkpoint's, is written so."""


@dataclass(frozen=True)
class Language:
    """One written language: a FLORES-200 code names the language and its script."""

    code: str
    """FLORES-200 code, e.g. ``eng_Latn``."""
    name: str
    """English name, unique among `LANGUAGES`."""
    iso639_1: str | None
    """Two-letter code, of the macrolanguage where only that has one (``ar`` for ``arz_Arab``)."""
    iso639_3: str
    """Three-letter code, e.g. ``eng``."""
    script: str
    """ISO 15924 code, e.g. ``Latn``."""

    @property
    def right_to_left(self) -> bool:
        """Whether the script is written from right to left."""
        return self.script in _RIGHT_TO_LEFT_SCRIPTS


# Code, two-letter code or "-", name. Where several rows share a two-letter code or a macrolanguage,
# `_COMMONEST` says which one an unqualified name means.
_TABLE = """
ace_Arab -  Acehnese (Arabic script)
ace_Latn -  Acehnese
acm_Arab ar Mesopotamian Arabic
acq_Arab ar Ta'izzi-Adeni Arabic
aeb_Arab ar Tunisian Arabic
afr_Latn af Afrikaans
ajp_Arab ar South Levantine Arabic
aka_Latn ak Akan
als_Latn sq Tosk Albanian
amh_Ethi am Amharic
apc_Arab ar North Levantine Arabic
arb_Arab ar Modern Standard Arabic
ars_Arab ar Najdi Arabic
ary_Arab ar Moroccan Arabic
arz_Arab ar Egyptian Arabic
asm_Beng as Assamese
ast_Latn -  Asturian
awa_Deva -  Awadhi
ayr_Latn ay Central Aymara
azb_Arab az South Azerbaijani
azj_Latn az North Azerbaijani
bak_Cyrl ba Bashkir
bam_Latn bm Bambara
ban_Latn -  Balinese
bel_Cyrl be Belarusian
bem_Latn -  Bemba
ben_Beng bn Bengali
bho_Deva -  Bhojpuri
bjn_Arab -  Banjar (Arabic script)
bjn_Latn -  Banjar
bod_Tibt bo Standard Tibetan
bos_Latn bs Bosnian
bug_Latn -  Buginese
bul_Cyrl bg Bulgarian
cat_Latn ca Catalan
ceb_Latn -  Cebuano
ces_Latn cs Czech
cjk_Latn -  Chokwe
ckb_Arab ku Central Kurdish
crh_Latn -  Crimean Tatar
cym_Latn cy Welsh
dan_Latn da Danish
deu_Latn de German
dik_Latn -  Southwestern Dinka
dyu_Latn -  Dyula
dzo_Tibt dz Dzongkha
ell_Grek el Greek
eng_Latn en English
epo_Latn eo Esperanto
est_Latn et Estonian
eus_Latn eu Basque
ewe_Latn ee Ewe
fao_Latn fo Faroese
fij_Latn fj Fijian
fin_Latn fi Finnish
fon_Latn -  Fon
fra_Latn fr French
fur_Latn -  Friulian
fuv_Latn ff Nigerian Fulfulde
gaz_Latn om West Central Oromo
gla_Latn gd Scottish Gaelic
gle_Latn ga Irish
glg_Latn gl Galician
grn_Latn gn Guarani
guj_Gujr gu Gujarati
hat_Latn ht Haitian Creole
hau_Latn ha Hausa
heb_Hebr he Hebrew
hin_Deva hi Hindi
hne_Deva -  Chhattisgarhi
hrv_Latn hr Croatian
hun_Latn hu Hungarian
hye_Armn hy Armenian
ibo_Latn ig Igbo
ilo_Latn -  Ilocano
ind_Latn id Indonesian
isl_Latn is Icelandic
ita_Latn it Italian
jav_Latn jv Javanese
jpn_Jpan ja Japanese
kab_Latn -  Kabyle
kac_Latn -  Jingpho
kam_Latn -  Kamba
kan_Knda kn Kannada
kas_Arab ks Kashmiri
kas_Deva ks Kashmiri (Devanagari script)
kat_Geor ka Georgian
kaz_Cyrl kk Kazakh
kbp_Latn -  Kabiyè
kea_Latn -  Kabuverdianu
khk_Cyrl mn Halh Mongolian
khm_Khmr km Khmer
kik_Latn ki Kikuyu
kin_Latn rw Kinyarwanda
kir_Cyrl ky Kyrgyz
kmb_Latn -  Kimbundu
kmr_Latn ku Northern Kurdish
knc_Arab kr Central Kanuri (Arabic script)
knc_Latn kr Central Kanuri
kon_Latn kg Kikongo
kor_Hang ko Korean
lao_Laoo lo Lao
lij_Latn -  Ligurian
lim_Latn li Limburgish
lin_Latn ln Lingala
lit_Latn lt Lithuanian
lmo_Latn -  Lombard
ltg_Latn -  Latgalian
ltz_Latn lb Luxembourgish
lua_Latn -  Luba-Kasai
lug_Latn lg Ganda
luo_Latn -  Luo
lus_Latn -  Mizo
lvs_Latn lv Standard Latvian
mag_Deva -  Magahi
mai_Deva -  Maithili
mal_Mlym ml Malayalam
mar_Deva mr Marathi
min_Latn -  Minangkabau
mkd_Cyrl mk Macedonian
mlt_Latn mt Maltese
mni_Beng -  Meitei
mos_Latn -  Mossi
mri_Latn mi Maori
mya_Mymr my Burmese
nld_Latn nl Dutch
nno_Latn nn Norwegian Nynorsk
nob_Latn nb Norwegian Bokmål
npi_Deva ne Nepali
nso_Latn -  Northern Sotho
nus_Latn -  Nuer
nya_Latn ny Nyanja
oci_Latn oc Occitan
ory_Orya or Odia
pag_Latn -  Pangasinan
pan_Guru pa Eastern Panjabi
pap_Latn -  Papiamento
pbt_Arab ps Southern Pashto
pes_Arab fa Western Persian
plt_Latn mg Plateau Malagasy
pol_Latn pl Polish
por_Latn pt Portuguese
prs_Arab fa Dari
quy_Latn qu Ayacucho Quechua
ron_Latn ro Romanian
run_Latn rn Rundi
rus_Cyrl ru Russian
sag_Latn sg Sango
san_Deva sa Sanskrit
sat_Beng -  Santali
scn_Latn -  Sicilian
shn_Mymr -  Shan
sin_Sinh si Sinhala
slk_Latn sk Slovak
slv_Latn sl Slovenian
smo_Latn sm Samoan
sna_Latn sn Shona
snd_Arab sd Sindhi
som_Latn so Somali
sot_Latn st Southern Sotho
spa_Latn es Spanish
srd_Latn sc Sardinian
srp_Cyrl sr Serbian
ssw_Latn ss Swati
sun_Latn su Sundanese
swe_Latn sv Swedish
swh_Latn sw Swahili
szl_Latn -  Silesian
tam_Taml ta Tamil
taq_Latn -  Tamasheq
taq_Tfng -  Tamasheq (Tifinagh script)
tat_Cyrl tt Tatar
tel_Telu te Telugu
tgk_Cyrl tg Tajik
tgl_Latn tl Tagalog
tha_Thai th Thai
tir_Ethi ti Tigrinya
tpi_Latn -  Tok Pisin
tsn_Latn tn Tswana
tso_Latn ts Tsonga
tuk_Latn tk Turkmen
tum_Latn -  Tumbuka
tur_Latn tr Turkish
twi_Latn tw Twi
tzm_Tfng -  Central Atlas Tamazight
uig_Arab ug Uyghur
ukr_Cyrl uk Ukrainian
umb_Latn -  Umbundu
urd_Arab ur Urdu
uzn_Latn uz Northern Uzbek
vec_Latn -  Venetian
vie_Latn vi Vietnamese
war_Latn -  Waray
wol_Latn wo Wolof
xho_Latn xh Xhosa
ydd_Hebr yi Eastern Yiddish
yor_Latn yo Yoruba
yue_Hant -  Yue Chinese
zho_Hans zh Chinese (Simplified)
zho_Hant zh Chinese (Traditional)
zsm_Latn ms Standard Malay
zul_Latn zu Zulu
"""

# What an unqualified alias means, the commonest written form first: macrolanguages of ISO 639-3,
# names without their qualifier, and other names in use.
_COMMONEST = {
    "ace|acehnese": "ace_Latn ace_Arab",
    "ar|ara|arabic": "arb_Arab arz_Arab apc_Arab ary_Arab ars_Arab acm_Arab aeb_Arab ajp_Arab "
    "acq_Arab",
    "aym|aymara": "ayr_Latn",
    "az|aze|azerbaijani": "azj_Latn azb_Arab",
    "bjn|banjar": "bjn_Latn bjn_Arab",
    "chinese|mandarin|mandarin chinese|zh|zho|cmn": "zho_Hans zho_Hant",
    "cantonese": "yue_Hant",
    "simplified chinese|zh_cn|zh_sg": "zho_Hans",
    "traditional chinese|zh_tw|zh_hk|zh_mo": "zho_Hant",
    "din|dinka": "dik_Latn",
    "fa|fas|farsi|persian": "pes_Arab prs_Arab",
    "fil|filipino": "tgl_Latn",
    "ful|fulfulde|fula|fulah": "fuv_Latn",
    "flemish": "nld_Latn",
    "gaelic": "gla_Latn",
    "haitian": "hat_Latn",
    "kas|kashmiri|ks": "kas_Arab kas_Deva",
    "kau|kanuri|knc|kr": "knc_Latn knc_Arab",
    "central kanuri": "knc_Latn knc_Arab",
    "kirghiz": "kir_Cyrl",
    "ku|kur|kurdish": "kmr_Latn ckb_Arab",
    "kurmanji": "kmr_Latn",
    "lav|latvian": "lvs_Latn",
    "mlg|malagasy": "plt_Latn",
    "mon|mongolian": "khk_Cyrl",
    "msa|malay": "zsm_Latn",
    "nep": "npi_Deva",
    "no|nor|norwegian": "nob_Latn nno_Latn",
    "bokmal": "nob_Latn",
    "nynorsk": "nno_Latn",
    "ori|oriya": "ory_Orya",
    "orm|oromo": "gaz_Latn",
    "panjabi|punjabi": "pan_Guru",
    "pus|pashto": "pbt_Arab",
    "que|quechua": "quy_Latn",
    "sepedi": "nso_Latn",
    "slovene": "slv_Latn",
    "sorani": "ckb_Arab",
    "sqi|albanian": "als_Latn",
    "swa": "swh_Latn",
    "taq|tamasheq": "taq_Latn taq_Tfng",
    "tibetan": "bod_Tibt",
    "uzb|uzbek": "uzn_Latn",
    "yid|yiddish": "ydd_Hebr",
    "chichewa": "nya_Latn",
    "castilian": "spa_Latn",
}

# Bibliographic codes of ISO 639-2, codes of countries, and languages' own names for themselves: not accepted, but worth
# a suggestion.
_MEANT = {
    "alb": "als_Latn", "arm": "hye_Armn", "baq": "eus_Latn", "bur": "mya_Mymr", "chi": "zho_Hans",
    "cze": "ces_Latn", "dut": "nld_Latn", "fre": "fra_Latn", "geo": "kat_Geor", "ger": "deu_Latn",
    "gre": "ell_Grek", "ice": "isl_Latn", "mac": "mkd_Cyrl", "mao": "mri_Latn", "may": "zsm_Latn",
    "per": "pes_Arab", "rum": "ron_Latn", "slo": "slk_Latn", "tib": "bod_Tibt", "wel": "cym_Latn",
    "cn": "zho_Hans", "cz": "ces_Latn", "dk": "dan_Latn", "gr": "ell_Grek", "jp": "jpn_Jpan",
    "kr": "kor_Hang", "se": "swe_Latn", "ua": "ukr_Cyrl",
    "cesky": "ces_Latn", "cestina": "ces_Latn", "deutsch": "deu_Latn", "espanol": "spa_Latn",
    "francais": "fra_Latn", "italiano": "ita_Latn", "nederlands": "nld_Latn", "polski": "pol_Latn",
    "portugues": "por_Latn",
}  # fmt: skip


def _read_table() -> tuple[Language, ...]:
    languages = []
    for row in _TABLE.strip().splitlines():
        code, two_letters, name = row.split(maxsplit=2)
        iso639_1 = None if two_letters == "-" else two_letters
        languages.append(Language(code, name, iso639_1, *code.split("_")))
    return tuple(languages)


LANGUAGES: tuple[Language, ...] = _read_table()
"""The 202 languages of NLLB-200, sorted by code."""

_BY_CODE = {language.code: language for language in LANGUAGES}


#: A language's code with a region. In small letters it would rather be a direction: en-de.
_WITH_REGION = re.compile(r"([a-z]{2,3})[-_]([A-Z]{2}|\d{3})")


def _folded(text: str) -> str:
    """`text` without case, accents and surplus space, and with ``-`` written ``_``."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return " ".join(plain.casefold().replace("-", "_").split())


def _read_aliases() -> dict[str, tuple[str, ...]]:
    aliases: dict[str, list[str]] = {}

    def add(alias: str, code: str) -> None:
        codes = aliases.setdefault(_folded(alias), [])
        if code not in codes:
            codes.append(code)

    for language in LANGUAGES:
        add(language.code, language.code)
        add(language.name, language.code)
        if language.iso639_1:
            add(f"{language.iso639_1}_{language.script}", language.code)
    for spellings, codes in _COMMONEST.items():
        for alias in spellings.split("|"):
            for code in codes.split():
                add(alias, code)
    for language in LANGUAGES:  # last, so that `_COMMONEST` decides who comes first
        add(language.iso639_3, language.code)
        if language.iso639_1:
            add(language.iso639_1, language.code)
    return {alias: tuple(codes) for alias, codes in aliases.items()}


_BY_ALIAS = _read_aliases()


def find_language(text: str, among: Sequence[str] | None = None) -> Language:
    """Gives the language that a person means by `text`.

    Args:
        text: a FLORES-200 code, an ISO 639-1 or 639-3 code or an English name, in any case. A code may have
            a region in capitals, as in BCP 47 (``pt-BR``), which decides Chinese's script and nothing else.
        among: the codes that a checkpoint knows. Where an alias fits several languages (``zh``,
            ``ar``), the commonest of those is meant. Its codes may lie outside `LANGUAGES`.

    Raises:
        UnknownLanguageError: nothing, or nothing in `among`, is written so; or it is no text.
    """
    if not isinstance(text, str):
        raise UnknownLanguageError(
            f"{text!r:.40} is not a language: give text, e.g. en, eng_Latn or English."
        )
    if among is not None and text in among:
        return _language_of(text)
    alias = _folded(text)
    candidates = _BY_ALIAS.get(alias, ())
    if not candidates and (found := _WITH_REGION.fullmatch(text.strip())):
        candidates = _BY_ALIAS.get(found[1], ())
    for code in candidates:
        if among is None or code in among:
            return _BY_CODE[code]
    for code in among or ():
        if _folded(code) == alias:
            return _language_of(code)
    raise UnknownLanguageError(_complaint(text, candidates, among))


def _language_of(code: str) -> Language:
    """The language of a checkpoint's code, which may be one that FLORES-200 does not have."""
    if code in _BY_CODE:
        return _BY_CODE[code]
    iso639_3, _, script = code.partition("_")
    return Language(code, code, None, iso639_3, script)


def _complaint(text: str, candidates: Sequence[str], among: Sequence[str] | None) -> str:
    shown = text if len(text) <= 40 else text[:37] + "..."
    if among is None:
        accepted = (
            "Accepted are FLORES-200 codes (eng_Latn), ISO 639 codes (en, eng) and English names "
            "(English)."
        )
    else:
        listed = ", ".join(among[:_LISTED_IN_ERRORS])
        more = len(among) - _LISTED_IN_ERRORS
        accepted = f"This checkpoint translates: {listed}" + (
            f" and {more} more." if more > 0 else "."
        )
    if candidates:
        known = _BY_CODE[candidates[0]]
        return f"{known.name} ({known.code}) is not a language of this checkpoint. {accepted}"
    nearest = _nearest(text, among)
    hint = f" Did you mean {nearest}?" if nearest else ""
    return f"Unknown language {shown!r}. {accepted}{hint}"


def _nearest(text: str, among: Sequence[str] | None) -> str | None:
    """The code whose spelling is most like `text`, if any is."""
    alias = _folded(text)[:40]
    if alias in _MEANT:
        code = _MEANT[alias]
        return code if among is None or code in among else None
    spellings = {
        spelling: code
        for spelling, codes in _BY_ALIAS.items()
        for code in codes
        if among is None or code in among
    }
    spellings |= {_folded(code): code for code in among or ()}
    close = difflib.get_close_matches(alias, spellings, n=1, cutoff=0.65)
    return spellings[close[0]] if close else None
