from pathlib import Path

import pytest

import workbench
from workbench.text.corpus import read_lines
from workbench.text.tokenizer import Tokenizer

CAPTIONS = Path(next(iter(workbench.__path__))) / "data" / "captions"

# Lines in further scripts, with marks that no caption has: questions, a vowel sign in Arabic.
MORE_LINES = {
    "spa_Latn": [
        "Un niño pequeño salta en un charco.",
        "¿Dónde está la niña del sombrero rojo?",
        "Dos perros corren por la playa.",
        "Una mujer toca la guitarra en la calle.",
    ],
    "ukr_Cyrl": [
        "Маленький хлопчик стрибає у калюжу.",
        "Двоє собак біжать пляжем.",
        "Жінка грає на гітарі на вулиці.",
        "Дівчина в червоному капелюсі їсть яблуко.",
    ],
    "arb_Arab": [
        "يقفز ولد صغير في بركة ماء.",
        "كلبان يركضان على الشاطئ.",
        "امرأةٌ تعزف على الجيتار في الشارع.",
        "هل تأكل الفتاة تفاحة؟",
    ],
    "zho_Hans": [
        "一个小男孩跳进水坑。",
        "两只狗在海滩上奔跑。",
        "一个女人在街上弹吉他。",
        "戴红帽子的女孩在吃苹果，喝水。",
    ],
}


@pytest.fixture(scope="session")
def lines_of() -> dict[str, list[str]]:
    """FLORES-200 code -> lines in that language."""
    codes = ("ces_Latn", "deu_Latn", "eng_Latn", "fra_Latn")
    return {code: read_lines(CAPTIONS / f"captions.{code}.txt") for code in codes} | MORE_LINES


@pytest.fixture(scope="session")
def tokenizer(lines_of) -> Tokenizer:
    lines = [line for lines in lines_of.values() for line in lines]
    return Tokenizer.train(lines, 2000, list(lines_of))
