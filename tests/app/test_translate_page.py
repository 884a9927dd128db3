"""The Translate page: links, examples, long texts in pages, and what-ifs that are undone."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect
from streamlit.testing.v1 import AppTest

from app.jobs import Job
from app.widgets import tokens, translating
from app.widgets.typed import example
from tests.app.test_pages import PAGES, ended, opened, press
from workbench.config import RouterConfig

TASK = "captions-task-moe"


def linked(**address: str | list[str]) -> AppTest:
    """The page as a link opens it."""
    test = AppTest.from_file(str(PAGES / "translate.py"), default_timeout=120)
    for key, value in address.items():
        test.query_params[key] = value
    test.run()
    assert not test.exception, test.exception
    return test


def drawn(test: AppTest) -> list[str]:
    """The HTML of sentences, a piece a checkpoint."""
    found = [each.proto.body for each in test.get("html")]
    pieces = [body.partition("</style>")[2] for body in found if "data-testid" in body]
    if not pieces or "moe-grid" not in pieces[0]:
        return pieces
    (count,) = map(int, re.findall(r"--columns:(\d)", pieces[0]))
    cells = pieces[0].split('<div><div class="moe-who">')[1:]
    return ["".join(cells[column::count]) for column in range(count)]


def test_what_a_link_asks_for_in_vain_is_said_in_one_line() -> None:
    test = linked(**{"with": "nonexistent", "from": "xxx", "to": "yyy", "beam": "3"})
    (said,) = test.warning
    assert "`with=nonexistent`, `from=xxx`, `to=yyy`, `beam=3`" in said.value
    assert test.multiselect(key="with").value == [TASK]
    assert not test.query_params
    assert not test.run().warning


def test_a_link_may_name_a_checkpoint_twice_or_more_than_have_room() -> None:
    names = ["captions-dense", "captions-dense", TASK, "captions-token-moe", "captions-distilled"]
    test = linked(**{"with": names})
    kept = ["captions-dense", TASK, "captions-token-moe"]
    assert test.multiselect(key="with").value == test.query_params["with"] == kept
    assert test.warning[0].value.startswith("captions-distilled of the address: left out, at most")
    assert not test.run().warning


def test_a_page_that_is_loaded_anew_has_its_text_and_its_translation() -> None:
    text = "A dog." + " " * 1000  # longer than an address has room for
    test = linked()
    test.text_area[0].set_value(text).run()
    ended(press(test, "Translate"), "translating")
    again = linked(**test.query_params)
    assert again.text_area[0].value == text
    assert drawn(again) == drawn(test) and len(drawn(again)) == 1
    strange = linked(**test.query_params, beam="0")
    assert "`beam=0`" in strange.warning[0].value and drawn(strange) == drawn(test)
    assert not any("asked before" in caption.value for caption in again.caption)
    again.text_area[0].set_value("A cat.").run()
    assert any("asked before. Press Translate" in caption.value for caption in again.caption)
    assert not drawn(linked(text="A cat."))


def test_a_link_may_name_languages_as_people_do() -> None:
    test = linked(**{"from": "en", "to": "French", "beam": "4", "with": ["captions-dense", TASK]})
    assert not test.warning
    assert [test.selectbox(key=key).value for key in ("from", "to")] == ["eng_Latn", "fra_Latn"]
    assert dict(test.query_params) == {
        "to": "fra_Latn",
        "beam": "4",
        "with": ["captions-dense", TASK],
    }


def test_an_example_is_in_the_source_language_until_a_person_types() -> None:
    test = opened("translate")
    test.selectbox(key="from").set_value("deu_Latn").run()
    assert test.text_area[0].value == example("deu_Latn") != example("eng_Latn")
    assert "text" not in test.query_params
    test.text_area[0].set_value("Ein Hund.").run()
    test.selectbox(key="from").set_value("fra_Latn").run()
    assert test.text_area[0].value == "Ein Hund."
    assert linked(**{"from": "ces_Latn"}).text_area[0].value == example("ces_Latn")
    assert example("jpn_Jpan") is None


def test_without_a_checkpoint_nothing_can_be_translated() -> None:
    test = opened("translate")
    test.multiselect(key="with").set_value([]).run()
    assert "at least one checkpoint" in test.info[0].value
    assert [b.disabled for b in test.button if b.label == "Translate"] == [True]
    assert test.multiselect(key="with").value == []


def test_many_sentences_are_drawn_in_pages_and_tinted_by_the_layer_of_a_link() -> None:
    test = linked(tint="encoder-1")
    test.text_area[0].set_value("\n".join(f"{n} dogs." for n in range(120))).run()
    ended(press(test, "Translate"), "translating")
    (piece,) = drawn(test)
    assert piece.count('class="moe-source"') == 50 and "eng_Latn" in piece
    assert 'tabindex="0"' in piece
    captions = [text.value for text in test.caption]
    assert captions.count("Sentences 1 to 50 of 120") == 2  # above and below
    assert any("greedy, float32" in text for text in captions)
    assert any(text.startswith("Encoder routed by target language") for text in captions)
    for _ in range(2):
        test.button(key="Next sentence above").click().run()
    (piece,) = drawn(test)
    assert piece.count('class="moe-source"') == 20 and ">119 dogs.<" in piece
    assert test.button(key="Next sentence below").disabled
    test.segmented_control(key="tint").set_value("decoder-1").run()
    assert "tint" not in test.query_params
    assert ">119 dogs.<" in drawn(test)[0] and "deu_Latn" in drawn(test)[0]
    ended(press(test, "Translate"), "translating")
    assert ">0 dogs.<" in drawn(test)[0]


def test_the_beam_that_was_asked_for_stands_with_the_numbers() -> None:
    test = linked(beam="2", text="A dog.")
    ended(press(test, "Translate"), "translating")
    assert any("beam of 2, float32" in text.value for text in test.caption)
    test.selectbox(key="beam").set_value("1").run()
    assert "beam" not in test.query_params
    assert any("asked before" in text.value for text in test.caption)


def test_a_what_if_marks_what_differs_and_is_undone() -> None:
    test = linked(**{"with": [TASK, "captions-dense"]})
    ended(press(test, "Translate"), "translating")
    names = [TASK, "captions-dense"]
    assert [found.value for found in test.subheader] == names
    test.selectbox(key=f"what-if decoder {TASK}").set_value("fra_Latn").run()
    ended(press(test, "Translate again"), "translating")
    original, changed = drawn(test)
    assert original.count("moe-source") == changed.count("moe-source") == 3
    differ = int(re.match(r"(\d) of 3 differ", test.markdown[0].value)[1])
    assert "moe-differs" not in original
    assert changed.count("differs from the original") == differ > 0
    experts = test.multiselect(key=f"what-if experts {TASK} ('decoder', 1)")
    experts.set_value(list(range(16))).run()
    ended(press(test, "Translate again"), "translating")
    assert "No expert of decoder layer 1" in test.error[0].value
    assert drawn(test) == [original, changed]
    press(test, "Back to the original")
    assert [found.value for found in test.subheader] == names


def test_a_long_translation_is_cancelled_and_the_last_one_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(translating, "AT_ONCE", 4000)
    test = opened("translate")
    ended(press(test, "Translate"), "translating")
    before = test.session_state["translated"]
    test.text_area[0].set_value("A man and a dog run.\n" * 4000).run()
    press(test, "Translate")
    press(test, "Cancel")
    ended(test, "translating")
    assert test.info[0].value == f"Cancelled: {TASK} has translated nothing."
    assert test.session_state["translated"] is before
    assert [b.disabled for b in test.button if b.label == "Translate"] == [False]


def test_a_cancel_keeps_the_sentences_that_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(translating, "AT_ONCE", 2)
    monkeypatch.setattr(translating, "_PATIENCE", 60)
    reported = Job.report

    def report(job: Job, fraction: float, text: str) -> None:
        if "2 of 3 sentences translated" in text or "1 of 2 sentences translated" in text:
            job.cancel()
        else:
            reported(job, fraction, text)

    monkeypatch.setattr(Job, "report", report)
    test = linked(**{"with": [TASK, "captions-dense"]})
    whole = test.text_area[0].value
    test = ended(press(test, "Translate"), "translating")
    said = f"{TASK} has translated 2 of 3 sentences; captions-dense has translated nothing."
    assert test.info[0].value == f"Cancelled: {said}"
    (piece,) = drawn(test)
    assert piece.count('class="moe-source"') == 2 and "moe-token" in piece
    monkeypatch.setattr(translating, "AT_ONCE", 1)
    test.selectbox(key=f"what-if decoder {TASK}").set_value("fra_Latn").run()
    ended(press(test, "Translate again"), "translating")
    assert test.info[0].value == f"Cancelled: {TASK} has translated nothing."
    assert drawn(test) == [piece]
    assert test.text_area[0].value == whole
    assert any("asked before" in caption.value for caption in test.caption)


def test_what_checkpoints_make_of_a_line_stands_in_one_row() -> None:
    html = tokens.side_by_side({"a<b": ["1", "2"], "c": ["3", ""]})
    assert html.startswith('<div class="moe-grid" style="--columns:2">')
    shown = re.findall(r"[^<>]+(?=<)", re.sub(r"<div[^>]*>", "", html))
    assert shown == ["a&lt;b", "1", "c", "3", "a&lt;b", "2"]
    assert tokens.side_by_side({"alone": ["1", "2"]}) == "12"


@pytest.mark.parametrize(
    ("router", "words"),
    [
        (None, None),
        (RouterConfig("token"), None),
        (RouterConfig("sentence"), "routed by sentence: every token of a sentence"),
        (RouterConfig("task", task_key="pair", keys=("a-b",)), "routed by pair of languages"),
    ],
)
def test_why_tokens_have_the_same_experts(router: RouterConfig | None, words: str | None) -> None:
    said = tokens.why_alike(router)
    assert said == words if words is None else said.startswith(words)


@pytest.mark.browser
def test_back_and_forward_restore_what_was_chosen(page: Page, app_url: str) -> None:
    page.goto(app_url)
    text = page.locator("textarea").first
    expect(text).to_have_value(example("eng_Latn"), timeout=60_000)
    for language, code in (("French", "fra_Latn"), ("German", "deu_Latn")):
        page.get_by_role("combobox", name="From").click()
        page.get_by_role("option", name=language).click()
        expect(text).to_have_value(example(code))
        expect(page).to_have_url(re.compile(f"from={code}$"))
    for back, code in ((True, "fra_Latn"), (True, "eng_Latn"), (False, "fra_Latn")):
        page.go_back() if back else page.go_forward()
        expect(text).to_have_value(example(code))
        expect(page.get_by_role("combobox", name="From")).to_have_value(re.compile(code))
